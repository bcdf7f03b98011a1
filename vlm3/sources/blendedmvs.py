"""BlendedMVS and BlendedMVG: 502 places and things, photographed, and rendered from their meshes.

Yao et al. 2020, HKUST and Altizure; CC BY 4.0. Each scene is a folder, named by 24 digits of its
project:

    <scene>/blended_images/00000000.jpg       768x576 or 2048x1536; 00000000_masked.jpg beside it
    <scene>/cams/00000000_cam.txt             MVSNet's: cam_from_world
    <scene>/rendered_depth_maps/00000000.pfm  z-depth, 0 where the mesh has nothing

Scale is that of each reconstruction, and nobody knows it: `depth_m` and poses fit each other, not
the world, so `metric` is False. Some meshes end, and with them the depth of a view, even all of it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vlm3.geometry import Camera
from vlm3.sources.photo import read_rgb
from vlm3.sources.reading import Frame, Reader, mvsnet, units
from vlm3.views import View


@dataclass(frozen=True)
class _Frame(Frame):
    folder: Path
    number: str


class Blendedmvs(Reader):
    """Views with depth and poses, up to the scale of each scene.

    scale_m: metres per unit, for those who measured it in the scenes that they chose: with it views
    are metric.
    """

    layout = "folders that hold blended_images, cams and rendered_depth_maps"
    metric = False

    def __init__(self, root, scenes="*", frames=(0, None), scale_m: float | None = None):
        self.scale_m = units.unit(scale_m)
        self.metric = scale_m is not None
        super().__init__(root, scenes, frames)

    def _frames(self) -> Iterator[_Frame]:
        for photos in sorted(self.root.glob("*/blended_images")):
            scene = photos.parent.name
            for path in sorted(photos.glob("*.jpg")):
                if path.stem.isdigit():  # the others are masked
                    yield _Frame(scene, f"{scene}/{path.stem}", photos.parent, path.stem)

    def _view(self, frame: _Frame) -> View:
        image = read_rgb(frame.folder / "blended_images" / f"{frame.number}.jpg")
        cam = frame.folder / "cams" / f"{frame.number}_cam.txt"
        matrix, pose = mvsnet.camera(cam, self.scale_m)
        camera = Camera.from_opencv(matrix, image.shape[1], image.shape[0])
        stored = mvsnet.pfm(frame.folder / "rendered_depth_maps" / f"{frame.number}.pfm")
        depth_m = units.known(stored, self.scale_m)
        return View(image, camera, depth_m, world_from_cam=pose)
