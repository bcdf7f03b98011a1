"""Any reconstruction by COLMAP: photographs, their cameras and poses, and the points it found.

Schönberger and Frahm 2016; the photographs keep their own terms. A folder, or each folder in it,
holds

    images/                     or another folder of photographs
    sparse/0/                   or sparse/, or the files right here, or another folder
        cameras.bin, images.bin, points3D.bin      or .txt, of any version of COLMAP

Traps: files have cam_from_world, with w first in quaternions. A reconstruction has no scale of its
own, so views are metric only where `scale_m` says how long a unit is. Of several pieces sparse/0,
sparse/1, ... only the first is read: each has a world of its own. Photographs come through a lens
that bends; here they are undistorted, see `vlm3.sources.reading.lenses`. Those that were not
registered, or are not in their folder, are left out.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from vlm3.sources.reading import Reader, colmap_files, units
from vlm3.sources.reading.colmap_files import Registered
from vlm3.views import View

MODELS = "sparse/0", "sparse", "."


class Colmap(Reader):
    """Views with poses and with the depth of points that were found in them.

    A scene is a folder with a model; frames are in the order of their names. model, images: the
    folders of the model and of the photographs, as seen from that of the scene; without a model,
    the first of sparse/0, sparse and the scene's own. scale_m: metres per unit; None, where nobody
    knows: then views are not metric.
    """

    layout = "sparse/0 (cameras and images, .bin or .txt) and images, or with folders of both"
    metric = False

    def __init__(
        self,
        root,
        scenes="*",
        frames=(0, None),
        model: str | None = None,
        images: str = "images",
        scale_m: float | None = None,
    ):
        self.model, self.images = model, images
        self.scale_m = units.unit(scale_m)
        self.metric = scale_m is not None
        super().__init__(root, scenes, frames)

    def _frames(self) -> Iterator[Registered]:
        for folder in [self.root] if self._model(self.root) else sorted(self.root.iterdir()):
            if model := self._model(folder):
                scene = folder.resolve().name
                yield from colmap_files.registered(model, folder / self.images, scene)

    def _model(self, folder: Path) -> Path | None:
        models = MODELS if self.model is None else (self.model,)
        places = (folder / name for name in models)
        return next((place for place in places if colmap_files.holds_model(place)), None)

    def _view(self, frame: Registered) -> View:
        lens = frame.lens()
        points = colmap_files.points(frame, lens.camera)
        if points is not None:
            points *= np.array([1, 1, self.scale_m])
        pose = units.scaled(frame.world_from_cam(), self.scale_m)
        return View(lens.image(frame.image()), lens.camera, points=points, world_from_cam=pose)
