"""The iBims-1 benchmark: 100 indoor photos with 100 depth labels each.

Koch et al. 2018, TU Munich; sampled label file as published with DepthLM. Not packaged: give the
folder that holds `ibims1_val.jsonl` and the photos. One json object a line: `image` (path),
`intrinsics` [fx, fy, cx, cy, W, H], `pixel_coords` [[x, y], ...] (whole pixels) and `depth` [z in
metres, ...].
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vlm3.geometry import Camera
from vlm3.sources.labels import inside, lines, numbers
from vlm3.sources.photo import read_rgb
from vlm3.views import View

# Depth is kept in float32, where anything smaller or larger would become 0 or infinite.
_SMALLEST_M, _LARGEST_M = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)


class _Row(NamedTuple):
    image: Path
    camera: Camera
    pixels: np.ndarray  # (N, 2) columns and rows
    depth_m: np.ndarray  # (N,)


class Ibims:
    """A sequence of views, each with its labels as points, at the centres of the labelled pixels.

    The principal point of the file counts from pixel centres. All lines are checked at once; photos
    are read when asked for. Raises FileNotFoundError or ValueError, naming file and line, for
    anything that is not as above.
    """

    def __init__(self, root: str | Path, labels: str = "ibims1_val.jsonl"):
        self.root = Path(root)
        path = self.root / labels
        if not path.is_file():
            raise FileNotFoundError(
                f"{path}: no such label file; give the folder that holds {labels}"
            )
        self._rows = [self._row(line, f"{path}:{n}") for n, line in enumerate(lines(path), 1)]
        if not self._rows:
            raise ValueError(f"{path}: no labels in it")

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[View]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index: int | slice) -> View | list[View]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        row = self._rows[index]
        image = read_rgb(row.image)
        if image.shape[:2] != (row.camera.height, row.camera.width):
            raise ValueError(
                f"{row.image}: photo is {image.shape[1]}x{image.shape[0]}, "
                f"its label says {row.camera.width}x{row.camera.height}"
            )
        return View(image, row.camera, points=np.column_stack([row.pixels + 0.5, row.depth_m]))

    def _row(self, line: str, where: str) -> _Row:
        try:
            record = json.loads(line)
            values = [record[key] for key in ("image", "intrinsics", "pixel_coords", "depth")]
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{where}: not a json object ({error})") from None
        except (KeyError, TypeError) as error:
            raise ValueError(
                f"{where}: needs image, intrinsics, pixel_coords and depth ({error!r})"
            ) from None
        image, intrinsics, pixels, depth_m = values
        camera = _camera(intrinsics, where)
        path = inside(self.root, image, where)
        if not os.path.isfile(path):  # Path.is_file raises for a name that is too long
            raise FileNotFoundError(f"{where}: image {image!r} is missing in {self.root}")
        return _Row(path, camera, *_labels(pixels, depth_m, camera, where))


def _camera(intrinsics: list, where: str) -> Camera:
    if not numbers(intrinsics, 6):
        raise ValueError(f"{where}: intrinsics must be [fx, fy, cx, cy, W, H], got {intrinsics!r}")
    fx, fy, cx, cy, width, height = intrinsics
    try:
        return Camera.from_opencv([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], width, height)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def _labels(
    pixels: list, depth_m: list, camera: Camera, where: str
) -> tuple[np.ndarray, np.ndarray]:
    """(N, 2) columns and rows, and (N,) z-depth; ValueError for anything else."""
    lists = isinstance(pixels, list) and isinstance(depth_m, list)
    if not lists or len(pixels) != len(depth_m) or not pixels:
        raise ValueError(
            f"{where}: pixel_coords and depth must be lists of the same length, at least 1"
        )
    for pixel, depth in zip(pixels, depth_m, strict=True):
        if not numbers(pixel, 2) or not all(isinstance(p, int) for p in pixel):
            raise ValueError(f"{where}: a pixel must be two whole numbers [x, y], got {pixel!r}")
        if not (0 <= pixel[0] < camera.width and 0 <= pixel[1] < camera.height):
            raise ValueError(
                f"{where}: pixel {pixel} lies outside the {camera.width}x{camera.height} image"
            )
        if not numbers([depth], 1) or not _SMALLEST_M <= depth <= _LARGEST_M:
            raise ValueError(
                f"{where}: depth at pixel {pixel} must be a positive number of metres, "
                f"got {depth!r}"
            )
    return np.array(pixels), np.array(depth_m, float)
