"""A folder of photos with 16-bit depth: a data set, as a reader would add it. Nothing else knows
of it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from vlm3.geometry import Camera
from vlm3.sources.photo import read_rgb
from vlm3.views import View


class DepthFolder(Sequence):
    """Views of name.jpg with name.png beside it, z-depth in millimetres, 0 where unknown."""

    def __init__(self, root: str, focal_px: float):
        self.photos, self.focal_px = sorted(Path(root).glob("*.jpg")), focal_px

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, index: int) -> View:
        image = read_rgb(self.photos[index])
        depth_m = np.array(Image.open(self.photos[index].with_suffix(".png")), np.float32) / 1000
        height, width = depth_m.shape
        camera = Camera(self.focal_px, self.focal_px, width / 2, height / 2, width, height)
        return View(image, camera, np.where(depth_m > 0, depth_m, np.nan))
