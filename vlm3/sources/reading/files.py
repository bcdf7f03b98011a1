"""Files of data sets, any of which may be missing, cut short, or of another kind: errors name the
file and the way out."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vlm3 import disk
from vlm3.sources.reading.labels import inside

__all__ = [
    "depth_png",
    "grey",
    "inside",
    "json_of",
    "matrix",
    "raster",
    "records",
    "rigid",
    "there",
]


def there(path: Path, way_out: str) -> Path:
    """The path, where it is a file; else FileNotFoundError that says what to do."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: missing; {way_out}")
    return path


def json_of(path: Path, way_out: str = "download the data set's tables again") -> Any:
    """What a json file holds; FileNotFoundError or ValueError, naming it."""
    try:
        return json.loads(disk.text(there(path, way_out)))
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{path}: not whole as json ({error}); {way_out}") from None


def matrix(path: Path, shape: tuple[int, int], way_out: str) -> np.ndarray:
    """A text file of numbers, as an array of this shape; NaN and inf are let through."""
    try:
        found = np.array(disk.text(there(path, way_out)).split(), float)
    except ValueError as error:
        raise ValueError(f"{path}: not a table of numbers ({error}); {way_out}") from None
    if found.size != np.prod(shape):
        raise ValueError(
            f"{path}: needs {shape[0]}x{shape[1]} numbers, has {found.size}; {way_out}"
        )
    return found.reshape(shape)


def rigid(pose: np.ndarray, where: object, off: float = 0.01) -> np.ndarray:
    """4x4 from 3x4 or 4x4 numbers with as many digits as files have: its rotation is the nearest.

    ValueError, naming where, for one that is not finite, or further than `off` from a rotation and
    a translation: a scale, mirrored axes, a transposed matrix, or another one.
    """
    given, found = np.asarray(pose, float), np.eye(4)
    found[: len(given)] = given
    told = f"{where}: not a rotation and a translation: {given.tolist()}"
    if not np.isfinite(found).all() or np.abs(found[3] - [0, 0, 0, 1]).max() > off:
        raise ValueError(told)
    u, stretch, v = np.linalg.svd(found[:3, :3])
    if np.abs(stretch - 1).max() > off:
        raise ValueError(told)
    if np.linalg.det(u @ v) < 0:
        raise ValueError(f"{told}: it is mirrored, so one of its axes has the wrong sign")
    found[:3, :3], found[3] = u @ v, [0, 0, 0, 1]
    return found


def raster(path: Path, way_out: str) -> np.ndarray:
    """The numbers of a picture as stored, (H, W) or (H, W, channels); FileNotFoundError or
    ValueError, naming it."""
    there(path, way_out)
    try:
        with Image.open(path) as picture:
            return np.asarray(picture)
    except Exception as error:  # on broken files Pillow raises nearly anything
        raise ValueError(
            f"{path}: not a picture that can be read whole ({error}); {way_out}"
        ) from None


def grey(path: Path, way_out: str = "download it again") -> np.ndarray:
    """A grey picture of 8, 16 or 32 bits, (H, W), as stored."""
    found = raster(path, way_out)
    if found.ndim != 2:
        raise ValueError(f"{path}: needs one channel, has shape {found.shape}")
    return found


def depth_png(path: Path, units_per_m: float, unknown: Sequence[int] = (0,)) -> np.ndarray:
    """(H, W) float32 in metres from a 16-bit picture, NaN where it holds one of `unknown`.

    ValueError for a picture of 8 bits, which can only be one that is made to be looked at.
    """
    stored = grey(path)
    if stored.dtype.itemsize < 2:
        raise ValueError(
            f"{path}: has 8 bits per pixel, so it is a picture of depth, not depth; "
            "take the 16-bit files of the data set"
        )
    depth_m = stored.astype(np.float32) / np.float32(units_per_m)
    for value in unknown:  # np.isin takes 70 times as long
        depth_m[stored == value] = np.nan
    return depth_m


def records(path: Path, dtype: np.dtype | str, columns: int, way_out: str) -> np.ndarray:
    """(N, columns) numbers of a binary file of whole rows, such as lidar points."""
    size = np.dtype(dtype).itemsize * columns
    if not (length := there(path, way_out).stat().st_size) or length % size:
        raise ValueError(
            f"{path}: {length} bytes are no whole number of points of {size} bytes; {way_out}"
        )
    return np.fromfile(path, dtype).reshape(-1, columns)
