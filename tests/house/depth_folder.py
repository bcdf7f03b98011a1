"""A folder of photos with 16-bit depth: a data set, as a reader would add it. Nothing else knows
of it."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from vlm3.geometry import Camera
from vlm3.sources.photo import read_rgb
from vlm3.sources.reading import Frame, Reader, files
from vlm3.views import View


class DepthFolder(Reader):
    """Views of name.jpg with name.png beside it, z-depth in millimetres, 0 where unknown; each
    folder is a scene."""

    layout = "name.jpg with name.png beside it, or with folders of them"

    def __init__(
        self,
        root: str | Path,
        scenes: str | Sequence[str] = "*",
        frames: Sequence[int | None] = (0, None),
        focal_px: float = 525.0,
    ):
        self.focal_px = focal_px
        super().__init__(root, scenes, frames)

    def _frames(self) -> Iterator[Frame]:
        for photo in sorted(self.root.rglob("*.jpg")):
            name = photo.relative_to(self.root).with_suffix("").as_posix()
            yield Frame(scene=photo.parent.name, name=name)

    def _view(self, frame: Frame) -> View:
        image = read_rgb(self.root / f"{frame.name}.jpg")
        height, width = image.shape[:2]
        camera = Camera(self.focal_px, self.focal_px, width / 2, height / 2, width, height)
        depth_m = files.depth_png(self.root / f"{frame.name}.png", units_per_m=1000)
        return View(image, camera, depth_m)
