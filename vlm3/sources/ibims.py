"""The iBims-1 benchmark: 100 indoor photos with depth, dense, or at 100 labelled pixels each.

Koch et al. 2018, TU Munich; for research. Not packaged. Three layouts are read, by what is there:

`ibims1_val.jsonl` and the photos, the sampled labels as published with DepthLM. One json object a
line: `image` (path), `intrinsics` [fx, fy, cx, cy, W, H], `pixel_coords` [[x, y], ...] (whole
pixels) and `depth` [z in metres, ...]. The principal point is taken to count from pixel centres,
from 0, as those who use the file do.

`ibims1_core_mat/<name>.mat`, as the authors publish it: a struct `data` of `rgb`, `depth` (metres,
0 unknown), `calib` (MATLAB's intrinsic matrix, which is the transposed one) and two masks that are
0 where depth must not be trusted, `mask_invalid`, and where something transparent is,
`mask_transp`.

`ibims1_core_raw`: the same as pictures, `rgb/<name>.png`, `depth` (16 bits, 65535 for 50 m), the
masks, and `calib/<name>.txt`, fx, fy, cx, cy with commas.

Depth is z-depth in all three. The authors evaluate planes with pixels that count from 1, as
MATLAB's calibration does; so the principal point of both original layouts lies one pixel further
left and up than that of the label file.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vlm3 import disk
from vlm3.geometry import Camera
from vlm3.sources.photo import read_rgb
from vlm3.sources.reading import Frame, Reader, files, matlab
from vlm3.sources.reading.labels import camera_of, inside, labelled, lines
from vlm3.views import View

PER_M = 65535 / 50  # of the 16-bit pictures
MASKS = "mask_invalid", "mask_transp"
_AGAIN = "download the original data again"


@dataclass(frozen=True, eq=False)
class _Labelled(Frame):
    image: Path
    camera: Camera
    pixels: np.ndarray  # (N, 2) columns and rows
    depth_m: np.ndarray  # (N,)


@dataclass(frozen=True)
class _Original(Frame):
    folder: Path  # with <name>.mat, or with the folders of pictures


class Ibims(Reader):
    """A sequence of views, each with its labels as points, at the centres of the labelled pixels,
    or with dense depth.

    A scene is a photo, such as "kitchen_03". All lines of a label file are checked at once; photos
    are read when asked for. Raises FileNotFoundError or ValueError, naming file and line, for
    anything that is not as above.
    """

    layout = "ibims1_val.jsonl and the photos, or with ibims1_core_mat, or ibims1_core_raw"

    def __init__(
        self, root: str | Path, scenes="*", frames=(0, None), labels: str = "ibims1_val.jsonl"
    ):
        self.labels = labels
        super().__init__(root, scenes, frames)

    def _frames(self) -> Iterator[Frame]:
        path = self.root / self.labels
        if not path.is_file():
            return self._originals(path)
        rows = [self._row(line, f"{path}:{n}") for n, line in enumerate(lines(path), 1)]
        if not rows:
            raise ValueError(f"{path}: no labels in it")
        return iter(rows)

    def _originals(self, path: Path) -> Iterator[_Original]:
        for folder in (self.root, self.root / "ibims1_core_mat", self.root / "ibims1_core_raw"):
            found = sorted(folder.glob("*.mat"))
            if not found and (folder / "depth").is_dir():
                found = sorted((folder / "rgb").glob("*.png"))
            if found:
                return (_Original(file.stem, file.stem, folder) for file in found)
        raise FileNotFoundError(
            f"{path}: no such label file; give the folder that holds {self.labels}, "
            "ibims1_core_mat or ibims1_core_raw"
        )

    def _view(self, frame: Frame) -> View:
        if isinstance(frame, _Labelled):
            return _labelled(frame)
        struct = frame.folder / f"{frame.name}.mat"
        read = _of_struct(struct) if struct.is_file() else _of_pictures(frame.folder, frame.name)
        image, (fx, fy, cx, cy), depth_m, *masks = read
        known = np.logical_and.reduce([depth_m > 0, *(mask > 0 for mask in masks)])
        height, width = image.shape[:2]
        # MATLAB's first pixel has its centre at 1
        camera = Camera(float(fx), float(fy), float(cx) - 0.5, float(cy) - 0.5, width, height)
        return View(image, camera, np.where(known, depth_m, np.nan).astype(np.float32))

    def _row(self, line: str, where: str) -> _Labelled:
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
        camera = camera_of(intrinsics, where)
        path = inside(self.root, image, where)
        if not os.path.isfile(path):  # Path.is_file raises for a name that is too long
            raise FileNotFoundError(f"{where}: image {image!r} is missing in {self.root}")
        name = path.stem
        return _Labelled(name, name, path, camera, *labelled(pixels, depth_m, camera, where))


def _labelled(frame: _Labelled) -> View:
    image = read_rgb(frame.image)
    if image.shape[:2] != (frame.camera.height, frame.camera.width):
        raise ValueError(
            f"{frame.image}: photo is {image.shape[1]}x{image.shape[0]}, "
            f"its label says {frame.camera.width}x{frame.camera.height}"
        )
    return View(image, frame.camera, points=np.column_stack([frame.pixels + 0.5, frame.depth_m]))


def _of_struct(path: Path) -> tuple:
    """(H, W, 3) photo, (fx, fy, cx, cy), (H, W) depth, and masks, of a file of MATLAB."""
    data = matlab.variable(path, "data", _AGAIN)
    try:
        data = data[0, 0]
        image, calib, depth_m, *masks = (data[k] for k in ("rgb", "calib", "depth", *MASKS))
        return image, (calib[0, 0], calib[1, 1], calib[2, 0], calib[2, 1]), depth_m, *masks
    except (ValueError, IndexError) as error:
        raise ValueError(f"{path}: not a photo of iBims-1 ({error}); {_AGAIN}") from None


def _of_pictures(folder: Path, name: str) -> tuple:
    """The same, of pictures."""
    path = files.there(folder / "calib" / f"{name}.txt", _AGAIN)
    try:
        fx, fy, cx, cy = map(float, disk.text(path).replace(",", " ").split())
    except ValueError as error:
        raise ValueError(f"{path}: needs fx, fy, cx, cy ({error}); {_AGAIN}") from None
    image = read_rgb(folder / "rgb" / f"{name}.png")
    depth_m = files.depth_png(folder / "depth" / f"{name}.png", PER_M)
    masks = (files.grey(folder / mask / f"{name}.png", _AGAIN) for mask in MASKS)
    return image, (fx, fy, cx, cy), depth_m, *masks
