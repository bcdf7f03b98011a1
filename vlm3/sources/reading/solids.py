"""Boxes in space, as data sets annotate them, on a photograph."""

from itertools import product

import numpy as np

from vlm3.geometry import Camera
from vlm3.views import Box

NEAR_M = 0.1
SHOWN = 0.3  # of a box's outline must lie in the image
SIGNS = np.array(list(product((-1, 1), repeat=3)))  # of the corners
EDGES = np.array([(a, b) for a in range(8) for b in range(a) if (SIGNS[a] != SIGNS[b]).sum() == 1])


def on_image(
    cam_from_box: np.ndarray,
    size_m: tuple[float, float, float],
    up: int,
    name: str,
    camera: Camera,
    shown: float = SHOWN,
) -> Box | None:
    """The Box of a solid one, None where too little of it is in the image.

    cam_from_box: 4x4 rigid, from the box's own frame, whose origin is its middle; size_m: its
    extent along its own x, y and z; up: which of these stands upright. The Box bounds the part of
    the solid that lies in front of the camera, clipped to the image; its size_m are width (the
    longer horizontal side), height and depth as `Box` has them. What hides it is not known here.
    """
    uv = _outline(cam_from_box, np.array(size_m, float) / 2, camera)
    if uv is None:
        return None
    low, high = uv.min(0), uv.max(0)
    inner_low, inner_high = np.clip(low, 0, camera.size), np.clip(high, 0, camera.size)
    area, whole = np.prod(inner_high - inner_low), np.prod(high - low)
    if not area > shown * whole:
        return None
    sides = [side for axis, side in enumerate(size_m) if axis != up]
    size = (max(sides), size_m[up], min(sides))
    centre = tuple(np.asarray(cam_from_box, float)[:3, 3].tolist())
    return Box(*inner_low.tolist(), *inner_high.tolist(), name, centre, tuple(map(float, size)))


def _outline(cam_from_box: np.ndarray, half: np.ndarray, camera: Camera) -> np.ndarray | None:
    """(N, 2) pixels of the corners, and of where edges come to the front of the camera."""
    corners = SIGNS * half @ cam_from_box[:3, :3].T + cam_from_box[:3, 3]
    a, b = corners[EDGES].transpose(1, 0, 2)
    cut = (a[:, 2] > NEAR_M) != (b[:, 2] > NEAR_M)
    a, b = a[cut], b[cut]
    crossings = a + (b - a) * (NEAR_M - a[:, 2:]) / (b[:, 2:] - a[:, 2:])
    found = np.concatenate([corners[corners[:, 2] > NEAR_M], crossings])
    if not len(found):
        return None
    return found[:, :2] / found[:, 2:] * [camera.fx, camera.fy] + [camera.cx, camera.cy]
