"""Made items of sources: light to import, so that processes of their own can make them, too."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from vlm3.geometry import Camera, rotation_from_ypr
from vlm3.sources.reading import Frame
from vlm3.views import Box, Pair, View


class Made(Sequence):
    """Slanted walls with poses and boxes, named as a reader names them; `several` views an item."""

    def __init__(self, size: int, several: int = 1, fails: tuple[int, ...] = ()):
        self.size, self.several, self.fails, self.opened = size, several, fails, []
        names = [
            tuple(Frame(f"room {k % 3}", f"{k}/{j}") for j in range(several)) for k in range(size)
        ]
        self.frames = [name if several > 1 else name[0] for name in names]

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, k: int) -> View | tuple[View, ...]:
        self.opened.append(k)
        if k in self.fails:
            raise OSError(f"photo {k} is gone")
        views = tuple(wall(k, j) for j in range(self.several))
        return views if self.several > 1 else views[0]


class Paired(Made):
    """Pairs that know which pixels show the same points."""

    def __getitem__(self, k: int) -> Pair:
        uv = np.random.default_rng(k).uniform(1, 55, (60, 2))
        return Pair(wall(k, 0), wall(k, 1), uv, uv[::-1])


def wall(k: int, j: int = 0) -> View:
    """64x56 pixels, fx != fy, a wall two to five metres away with a hole in what is known of it."""
    rng = np.random.default_rng([k, j])
    depth_m = np.tile(np.linspace(2, 5, 64, dtype=np.float32), (56, 1)) + np.float32(k / 100)
    depth_m[10:20, 10:30] = np.nan
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation_from_ypr(0.5 * j, 0, 0), (0.02 * j, 0, 0)
    boxes = (
        Box(3, 4, 40, 50, "crate", (0.1, 0.2, 3.0), (1.0, 2.0, float("nan"))),
        Box(5, 6.5, 30, 20, "ball"),
    )
    image = rng.integers(0, 256, (56, 64, 3), dtype=np.uint8)
    camera = Camera(80.0, 76.0, 31.2, 27.9, 64, 56)
    return View(image, camera, depth_m, world_from_cam=pose, boxes=boxes)


def write_frames(root: Path, count: int) -> Path:
    """Photographs as `Rgbd` reads them."""
    root.mkdir()
    (root / "camera-intrinsics.txt").write_text("80 0 30.7 0 76 27.4 0 0 1")
    for k in range(count):
        Image.fromarray(wall(k).image).save(root / f"frame-{k:06}.color.png")
        millimetres = np.nan_to_num(1000 * wall(k).depth_m).astype(np.uint16)
        Image.fromarray(millimetres).save(root / f"frame-{k:06}.depth.png")
    return root
