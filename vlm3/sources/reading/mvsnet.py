"""Cameras and depth maps in the files of MVSNet (Yao et al. 2018), in which others come, too."""

import re
from pathlib import Path

import numpy as np

from vlm3 import disk
from vlm3.geometry import invert
from vlm3.sources.reading import files, units

_AGAIN = "download the data set again"
_HEAD = re.compile(rb"Pf\s+(\d+)\s+(\d+)\s+([-+.\deE]+)\r?\n")


def camera(path: Path, unit_m: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Intrinsics (3, 3), principal point counted from pixel centres, and 4x4 world_from_cam.

    The file says "extrinsic" and 16 numbers, cam_from_world in units of unit_m metres, "intrinsic"
    and 9 numbers, then the range of depths that MVSNet searches, which is left alone: some
    published ones are negative.
    """
    words = disk.text(files.there(path, _AGAIN)).split()
    try:
        if words[:1] + words[17:18] != ["extrinsic", "intrinsic"]:
            raise ValueError("its words are not in their places")
        numbers = np.array(words[1:17] + words[18:27], float)
        matrix = numbers[16:].reshape(3, 3)
    except ValueError as error:
        raise ValueError(
            f"{path}: needs extrinsic, 4x4 numbers, intrinsic, 3x3 numbers ({error}); {_AGAIN}"
        ) from None
    return matrix, units.scaled(invert(files.rigid(numbers[:16].reshape(4, 4), path)), unit_m)


def pfm(path: Path) -> np.ndarray:
    """(H, W) float32 as a grey PFM file stores it, top row first."""
    stored = files.there(path, _AGAIN).read_bytes()
    if not (head := _HEAD.match(stored)):
        raise ValueError(f"{path}: not a grey PFM file, which begins with Pf; {_AGAIN}")
    width, height = int(head[1]), int(head[2])
    if (length := len(stored) - head.end()) != (whole := 4 * width * height):
        raise ValueError(
            f"{path}: {width}x{height} pixels are {whole} bytes, has {length}; {_AGAIN}"
        )
    order = "<f4" if float(head[3]) < 0 else ">f4"
    bottom_first = np.frombuffer(stored, order, offset=head.end()).reshape(height, width)
    return bottom_first[::-1].astype(np.float32)
