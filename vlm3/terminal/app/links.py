"""Results to download: each is a link that holds its file, so that none lies on the server."""

import base64
import html
import io
import json
from collections.abc import Mapping
from typing import Any

import numpy as np


def link(name: str, content: bytes, kind: str) -> str:
    """name: of the file; kind: its media type."""
    data = base64.b64encode(content).decode()
    name = html.escape(name)
    return f'<a class="vlm3-link" download="{name}" href="data:{kind};base64,{data}">{name}</a>'


def json_bytes(facts: Mapping[str, Any]) -> bytes:
    return json.dumps(facts).encode()


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def ply(points: np.ndarray, colours: np.ndarray) -> bytes:
    """(N, 3) points in metres, x right, y down, z forward, and their (N, 3) uint8 colours, in
    Stanford's PLY, binary."""
    kinds = [(name, "<f4") for name in "xyz"] + [(name, "u1") for name in ("red", "green", "blue")]
    vertices = np.empty(len(points), kinds)
    for name, column in zip(vertices.dtype.names, [*points.T, *colours.T], strict=True):
        vertices[name] = column
    sides = "".join(f"property {'float' if n in 'xyz' else 'uchar'} {n}\n" for n, _ in kinds)
    head = (
        f"ply\nformat binary_little_endian 1.0\nelement vertex {len(points)}\n{sides}end_header\n"
    )
    return head.encode() + vertices.tobytes()
