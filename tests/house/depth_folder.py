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
        if not self.photos:
            raise FileNotFoundError(f"{root}: no *.jpg in it")

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, index: int) -> View:
        path = self.photos[index]
        image, depth = read_rgb(path), np.array(Image.open(path.with_suffix(".png")))
        if depth.shape != image.shape[:2]:
            raise ValueError(f"{path}: depth is {depth.shape}, the photo {image.shape}")
        height, width = depth.shape
        camera = Camera(self.focal_px, self.focal_px, width / 2, height / 2, width, height)
        return View(image, camera, np.where(depth > 0, depth / 1000, np.nan))
