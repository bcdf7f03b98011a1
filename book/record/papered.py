"""Rooms papered with photographs: pieces of them on floors, walls and solids.

`papered:Papered` in the file of a mixture. Rendered rooms are painted plainly, so colours say where
a surface ends; here, as in the world, they do not.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from offices import OFFICES
from PIL import Image

from vlm3.geometry import Camera, pixel_centres, transform, unproject
from vlm3.sources.rgbd import Rgbd
from vlm3.sources.rooms import Rooms
from vlm3.sources.rooms.raycast import SOLID, Shot

SURFACES = SOLID + 12  # of a room at most
PAPER_PX = 90, 60  # of a photograph as paper
METRES = 0.7, 4.0  # that it spans


class Papered(Rooms):
    """Scenes as `Rooms` has them, of homes or, as "offices", larger ones with more in them.

    photographs: arguments of `Rgbd`, one for each folder; share: of the scenes that are papered.
    """

    def __init__(
        self,
        photographs: Sequence[Mapping],
        collection: str = "homes",
        split: str = "train",
        views: int = 2,
        grade: str = "near",
        share: float = 0.8,
        lenses: Sequence[Sequence] | None = None,
    ):
        named = OFFICES if collection == "offices" else collection
        super().__init__(named, split, views, lenses=lenses, grade=grade)
        self.photographs, self.share = photographs, share
        self.papers = [Rgbd(**each) for each in photographs]

    @property
    def _arguments(self) -> str:
        return repr((super()._arguments, self.photographs, self.share))

    def shots(self, indices: Sequence[int]) -> tuple[tuple[list, list, list], list[Shot]]:
        """As those of `Rooms`, papered; all views of a scene alike."""
        drawn, shots = super().shots(indices)
        numbers = [index for index in indices for _ in range(self.views)]
        each = zip(numbers, *drawn[1:], shots, strict=True)
        return drawn, [self._papered(*one) for one in each]

    def _papered(self, index: int, camera: Camera, pose: np.ndarray, shot: Shot) -> Shot:
        rng = np.random.default_rng([self.seed, index, 1])
        if rng.random() >= self.share:
            return shot
        points = transform(pose, unproject(pixel_centres(camera), shot.depth_m, camera))
        light = shot.rgb.mean(-1, keepdims=True) / 128
        rgb = shot.rgb.astype(np.float32)
        for surface in range(SURFACES):  # the same draws, whichever of them are seen
            paper, axes, strength = self._paper(rng), _axes(rng), rng.random()
            seen = shot.ids == surface
            colours = _at(paper, points[seen] @ axes) * light[seen]
            rgb[seen] += strength * (colours - rgb[seen])
        return shot._replace(rgb=rgb.clip(0, 255).round().astype(np.uint8))

    def _paper(self, rng: np.random.Generator) -> np.ndarray:
        reader = self.papers[rng.integers(len(self.papers))]
        return _read(reader.frames[rng.integers(len(reader))].photo)


@lru_cache(1000)
def _read(path: Path) -> np.ndarray:
    with Image.open(path) as photo:
        return np.asarray(photo.convert("RGB").resize(PAPER_PX), np.float32)


def _axes(rng: np.random.Generator) -> np.ndarray:
    """(3, 2): from metres in the world to pixels of a paper, which is laid through it at random."""
    turned = np.linalg.qr(rng.normal(size=(3, 3)))[0][:, :2]
    return turned * PAPER_PX[0] / np.exp(rng.uniform(*np.log(METRES)))


def _at(paper: np.ndarray, places: np.ndarray) -> np.ndarray:
    """(N, 3) colours of a paper at (N, 2) pixels; beyond its edges it is mirrored."""
    side = np.array(PAPER_PX)
    folded = np.abs((places + side) % (2 * side) - side).astype(int).clip(max=side - 1)
    return paper[folded[:, 1], folded[:, 0]]
