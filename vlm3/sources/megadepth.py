"""MegaDepth: 196 landmarks in the photographs of tourists, with depth from dense reconstructions.

Li and Snavely 2018, Cornell; photographs keep their own terms, the rest is CC BY 4.0. Undistorted
as Dusmanu et al. 2019 (D2-Net) did it, since the photographs that the publisher undistorted come
without cameras:

    Undistorted_SfM/<scene>/images/*.jpg       with sparse/ or sparse-txt/, by COLMAP, PINHOLE
    phoenix/S6/zl548/MegaDepth_v1/<scene>/dense0/depths/*.h5       z-depth, 0 unknown

Traps: scale is that of each reconstruction, and nobody knows it. Of several reconstructions of a
place only the first was undistorted. Small depth files are not depth but masks of what is nearer;
they are told by their size, as D2-Net does, and their photographs are left out with those that have
no depth. People and sky have no depth, and what moved may have a wrong one.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from vlm3.sources.reading import Reader, colmap_files, hdf5, units
from vlm3.sources.reading.colmap_files import Registered
from vlm3.views import View

DEPTHS = "phoenix/S6/zl548/MegaDepth_v1"
MASK_BYTES = 100 * 1024  # below, a file is a mask
ROUNDED_PX = 2  # by which versions of COLMAP may disagree about the size of a photograph
_AGAIN = "download it again"


class Megadepth(Reader):
    """Views with depth and poses, up to the scale of each scene.

    scale_m: metres per unit, for those who measured it in the scenes that they chose: with it views
    are metric.
    """

    layout = f"Undistorted_SfM/<scene> (images, sparse-txt) and {DEPTHS}/<scene>/dense0/depths"
    metric = False

    def __init__(self, root, scenes="*", frames=(0, None), scale_m: float | None = None):
        self.scale_m = units.unit(scale_m)
        self.metric = scale_m is not None
        super().__init__(root, scenes, frames)

    def _frames(self) -> Iterator[Registered]:
        for scene in sorted(self.root.glob("Undistorted_SfM/*")):
            sparse = (scene / name for name in ("sparse", "sparse-txt"))
            model = next((place for place in sparse if colmap_files.holds_model(place)), None)
            depths = self.root / DEPTHS / scene.name / "dense0" / "depths"
            if model and depths.is_dir():
                for shot in colmap_files.registered(model, scene / "images", scene.name):
                    path = depths / f"{Path(shot.photo).stem}.h5"
                    if path.is_file() and path.stat().st_size >= MASK_BYTES:
                        yield replace(shot, depth=str(path))

    def _view(self, frame: Registered) -> View:
        lens, image = frame.lens(), frame.image()
        stored = hdf5.array(Path(frame.depth), "depth", _AGAIN).astype(np.float32)
        if np.abs(np.subtract(stored.shape, image.shape[:2])).max() > ROUNDED_PX:
            raise ValueError(
                f"{frame.depth}: has {stored.shape[1]}x{stored.shape[0]} pixels, its photograph "
                f"{image.shape[1]}x{image.shape[0]}: undistort as D2-Net does"
            )
        depth_m = units.known(lens.depth(stored), self.scale_m)
        pose = units.scaled(frame.world_from_cam(), self.scale_m)
        return View(lens.image(image), lens.camera, depth_m, world_from_cam=pose)
