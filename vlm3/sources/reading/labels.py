"""What readers of label files share: nothing in a file is trusted before it is checked."""

import sys
from pathlib import Path

import numpy as np

from vlm3 import disk
from vlm3.geometry import Camera

# Depth is kept in float32, where anything smaller or larger would become 0 or infinite.
_SMALLEST_M, _LARGEST_M = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)


def lines(path: Path) -> list[str]:
    """The lines of a text file; ValueError, naming it, where it is none."""
    text = disk.text(path)
    # splitlines also splits where json does not
    return text.removesuffix("\n").split("\n") if text else []


def inside(root: Path, image: object, where: str) -> Path:
    """The file that a label names, there or not; ValueError for none, or one out of the folder."""
    if not isinstance(image, str) or not image or "\0" in image:
        raise ValueError(f"{where}: image must be a path, got {image!r}")
    try:
        path, folder = (root / image).resolve(), root.resolve()
    except (ValueError, OSError, RuntimeError) as error:  # not a file name; a loop of links
        raise ValueError(f"{where}: image must be a path, got {image!r} ({error})") from None
    if not path.is_relative_to(folder):
        raise ValueError(f"{where}: image {image!r} leaves the folder {root}")
    return path


def numbers(values: object, count: int) -> bool:
    """Whether this is a list of so many finite numbers."""
    if not isinstance(values, list):
        return False
    plain = all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values)
    # whole numbers in json may be larger than any float
    return plain and len(values) == count and all(abs(v) <= sys.float_info.max for v in values)


def camera_of(intrinsics: object, where: str) -> Camera:
    """Of [fx, fy, cx, cy, W, H], whose principal point counts from pixel centres; ValueError for
    anything else."""
    if not numbers(intrinsics, 6):
        raise ValueError(f"{where}: intrinsics must be [fx, fy, cx, cy, W, H], got {intrinsics!r}")
    fx, fy, cx, cy, width, height = intrinsics
    try:
        return Camera.from_opencv([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], width, height)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def labelled(
    pixels: object, depth_m: object, camera: Camera, where: str
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
