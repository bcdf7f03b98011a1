"""ScanNet v2, as its own SensReader (`reader.py`) writes it out of `.sens` files.

Dai et al. 2017, Stanford and TU Munich; its terms of use, research only. Each folder, such as
`scene0000_00`, holds `color/0.jpg` (1296x968; 640x480 in a few scans), `depth/0.png` (640x480,
16 bits, millimetres, 0 unknown), `pose/0.txt` (4x4 world_from_cam, x right, y down, z forward,
metres, -inf where tracking was lost) and `intrinsic/intrinsic_color.txt`, `intrinsic_depth.txt`
(4x4, principal point counted from pixel centres).

- Depth was laid on the colour camera by the publisher, in pixels of its own: it is looked up where
  the ray of each colour pixel meets it (nearest), so that the photograph stays as it is. Both show
  nearly the same, but not the same shape: stretching one over the other is off by up to 2 pixels
  at the top and the bottom. `extrinsic_*.txt` are identities; the numbers of `scene0000_00.txt`
  are those before all this, and are not for these files.
- Poses come from tracking, a few centimetres off where it drifted; photographs have a rolling
  shutter, and what their lens bends is unknown.
- A scan is a scene, with a world of its own. `scene0000_01` shows the room of `scene0000_00`
  again: `place`, for splits, is `scene0000`.
- Instances are labelled on meshes, and are not read.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vlm3.geometry import Camera
from vlm3.sources.photo import read_rgb
from vlm3.sources.reading import Frame, Reader, files
from vlm3.views import View

UNITS_PER_M = 1000
EXPORT = "export it: reader.py --filename {}.sens --export_{}"


@dataclass(frozen=True)
class _Frame(Frame):
    place: str
    scan: Path
    number: int


class Scannet(Reader):
    """Views with depth, and poses where tracking was not lost."""

    layout = "scene0000_00 and so on, each with color, depth, pose, intrinsic as SensReader has it"

    def _frames(self) -> Iterator[_Frame]:
        alone = (self.root / "color").is_dir()
        for scan in [self.root] if alone else sorted(self.root.iterdir()):
            if (scan / "color").is_dir():
                name = scan.resolve().name
                place = re.sub(r"_\d\d$", "", name)
                for number in _numbers(scan / "color"):
                    yield _Frame(name, f"{name}/{number}", place, scan, number)

    def _view(self, frame: _Frame) -> View:
        image = read_rgb(frame.scan / "color" / f"{frame.number}.jpg")
        camera = _camera(frame, "color", image)
        path = frame.scan / "depth" / f"{frame.number}.png"
        files.there(path, EXPORT.format(frame.scene, "depth_images"))
        stored = files.depth_png(path, UNITS_PER_M)
        depth_m = _seen_from(camera, stored, _camera(frame, "depth", stored))
        return View(image, camera, depth_m, world_from_cam=_pose(frame))


def _numbers(folder: Path) -> list[int]:
    with os.scandir(folder) as entries:
        stems = (entry.name.removesuffix(".jpg") for entry in entries)
        return sorted(int(stem) for stem in stems if stem.isdecimal())


def _camera(frame: _Frame, kind: str, picture: np.ndarray) -> Camera:
    path = frame.scan / "intrinsic" / f"intrinsic_{kind}.txt"
    numbers = files.matrix(path, (4, 4), EXPORT.format(frame.scene, "intrinsics"))
    return Camera.from_opencv(numbers[:3, :3], picture.shape[1], picture.shape[0])


def _pose(frame: _Frame) -> np.ndarray | None:
    path = frame.scan / "pose" / f"{frame.number}.txt"
    pose = files.matrix(path, (4, 4), EXPORT.format(frame.scene, "poses"))
    return files.rigid(pose, path) if np.isfinite(pose).all() else None


def _seen_from(camera: Camera, depth_m: np.ndarray, of: Camera) -> np.ndarray:
    """(H, W) z-depth at the pixels of a camera, from that of another in the same place."""
    # columns and rows by themselves, since neither camera is turned
    x = (np.arange(camera.width) + 0.5 - camera.cx) / camera.fx
    y = (np.arange(camera.height) + 0.5 - camera.cy) / camera.fy
    columns = np.floor(x * of.fx + of.cx).astype(int)
    rows = np.floor(y * of.fy + of.cy).astype(int)
    found = depth_m[rows.clip(0, of.height - 1)[:, None], columns.clip(0, of.width - 1)]
    found[(rows < 0) | (rows >= of.height)] = np.nan
    found[:, (columns < 0) | (columns >= of.width)] = np.nan
    return found
