"""DTU: 124 things on a table, each from 49 or 64 places that a robot reached, as MVSNet packs them.

Aanæs et al. 2016, Technical University of Denmark; depth and this layout by Yao et al. 2018
(MVSNet). For research; cite both. The folder, `mvs_training/dtu` of the download:

    Cameras/00000000_cam.txt        of the full photographs, 1600x1200
    Cameras/train/00000000_cam.txt  of the small depth maps, 160x128
    Rectified/scan1_train/rect_001_3_r5000.png   640x512; or scan1, 1600x1200; 3 is the lighting
    Depths/scan1_train/depth_map_0000.pfm        160x128; or scan1, 1600x1200
    Depths_raw/scan1/depth_map_0000.pfm          1600x1200, a download of its own

Photographs count from 1, cameras and depth maps from 0. Lengths are millimetres, poses
cam_from_world. `depth_visual_0000.png` beside a depth map is dark where it is not to be trusted.
Small photographs are the full ones at half the size, cut to their middle; small depth maps hold
every fourth pixel of them, and here each pixel gets the depth of the nearest of those. With
Depths_raw, small photographs have depth of their own at every pixel, so that is taken first.

Things here are some 10 cm deep: tolerances made for rooms, such as those of
`vlm3.tasks.correspondence.covisible`, take their backs for seen. UFM's for DTU, in a mixture:

    [sources.dtu.options.tolerances]
    tolerance_m = 0.012
    temperature_m = 0.012
    relative_tolerance = 0.01
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vlm3.geometry import Camera
from vlm3.sources.photo import read_rgb
from vlm3.sources.reading import Frame, Reader, files, mvsnet, units
from vlm3.views import View

FULL, SMALL, SPARSE = (1600, 1200), (640, 512), (160, 128)  # pixels
MM = 0.001
_SCAN = re.compile(r"(scan\d+)(_train)?")
_PHOTO = re.compile(r"rect_(\d{3})_(\d)_r5000\.png")
_TRUSTED = 10  # of 255, in depth_visual


@dataclass(frozen=True)
class _Frame(Frame):
    photo: Path
    number: int  # of its camera and its depth map
    small: bool


class Dtu(Reader):
    """Views with poses, and depth where the folder has it.

    A scene is a scan, such as scan1, whatever the size of its photographs. lightings: which of the
    seven, 0 to 6, of each place; 3 is the one that MVSNet is validated on.
    """

    layout = "Cameras, Rectified and Depths (mvs_training/dtu of MVSNet's download)"

    def __init__(self, root, scenes="*", frames=(0, None), lightings: Sequence[int] = (3,)):
        self.lightings = tuple(lightings)
        if not self.lightings or not set(self.lightings) <= set(range(7)):
            raise ValueError(f"lightings are whole numbers from 0 to 6, got {lightings!r}")
        super().__init__(root, scenes, frames)

    def _frames(self) -> Iterator[_Frame]:
        folders = (self.root / "Rectified").glob("scan*")
        # scan2 before scan10
        for folder in sorted(folders, key=lambda path: (len(path.name), path.name)):
            if scan := _SCAN.fullmatch(folder.name):
                yield from self._photos(folder, scan[1], bool(scan[2]))

    def _photos(self, folder: Path, scene: str, small: bool) -> Iterator[_Frame]:
        for path in sorted(folder.iterdir()):
            found = _PHOTO.fullmatch(path.name)
            if found and int(found[2]) in self.lightings:
                yield _Frame(scene, f"{folder.name}/{path.stem}", path, int(found[1]) - 1, small)

    def _view(self, frame: _Frame) -> View:
        image = read_rgb(frame.photo)
        if image.shape[1::-1] != (size := SMALL if frame.small else FULL):
            raise ValueError(
                f"{frame.photo}: {image.shape[1]}x{image.shape[0]} pixels, DTU's have "
                f"{size[0]}x{size[1]}, which its cameras are for: take MVSNet's download"
            )
        folder = self.root / "Cameras" / ("train" if frame.small else "")
        matrix, pose = mvsnet.camera(folder / f"{frame.number:08d}_cam.txt", MM)
        camera = _small(matrix) if frame.small else Camera.from_opencv(matrix, *FULL)
        return View(image, camera, self._depth(frame), world_from_cam=pose)

    def _depth(self, frame: _Frame) -> np.ndarray | None:
        for folder in (f"Depths_raw/{frame.scene}", f"Depths/{frame.photo.parent.name}"):
            path = self.root / folder / f"depth_map_{frame.number:04d}.pfm"
            if path.is_file():
                return _fitted(_trusted(path), frame.small, path)
        return None


def _small(matrix: np.ndarray) -> Camera:
    """The camera of a small photograph, from the matrix of its depth map, a quarter as large."""
    (fx, _, cx), (_, fy, cy) = 4 * matrix[:2]
    # half a pixel of the full photograph, which is twice as large, where its matrix was measured
    return Camera(fx, fy, cx + 0.25, cy + 0.25, *SMALL)


def _trusted(path: Path) -> np.ndarray:
    """(H, W) metres, NaN where the mask beside the file is dark."""
    depth_m = units.known(mvsnet.pfm(path), MM)
    visual = path.with_name(path.name.replace("depth_map", "depth_visual")).with_suffix(".png")
    if visual.is_file() and (mask := files.grey(visual)).shape == depth_m.shape:
        depth_m[mask <= _TRUSTED] = np.nan
    return depth_m


def _fitted(depth_m: np.ndarray, small: bool, path: Path) -> np.ndarray:
    """Depth at the pixels of the photograph."""
    size = depth_m.shape[::-1]
    if size == FULL and not small:
        return depth_m
    if size == FULL:  # pixel i of half the size is pixel 2i, and 80 and 44 of those are cut off
        return np.ascontiguousarray(depth_m[88:1112:2, 160:1440:2])
    if size == SPARSE and small:  # pixel i is pixel 4i of the photograph
        columns, rows = (np.minimum((np.arange(n) + 2) // 4, n // 4 - 1) for n in SMALL)
        return depth_m[rows[:, None], columns]
    raise ValueError(f"{path}: depth of {size[0]}x{size[1]} pixels, which no photograph of DTU has")
