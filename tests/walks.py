"""Walks through rooms with a pillar, whose depth is known exactly: a made data set, to find pairs
in."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np

from vlm3.geometry import Camera, pixel_centres, rays, rotation_from_ypr
from vlm3.sources.curation.pairs import index
from vlm3.sources.reading import Frame, Reader
from vlm3.views import View

WALK = "tests.walks:Walk"
CAMERA = Camera(100, 100, 64, 48, 128, 96)
ROOM = np.array([6.0, 3.0, 5.0]) / 2
PILLAR = np.array([0.6, 3.0, 0.6]) / 2


class Walk(Reader):
    """Rooms of the same shape, in each a walk of so many frames, every one with exact depth."""

    layout = "nothing: its frames are made"

    def __init__(self, root, scenes="*", frames=(0, None), rooms=2, steps=40, broken=(), seed=0):
        self.rooms, self.steps, self.broken, self.seed = rooms, steps, broken, seed
        super().__init__(root, scenes, frames)

    def _frames(self):
        for room in range(self.rooms):
            yield from (Frame(f"room{room}", f"room{room}/{k:05}") for k in range(self.steps))

    def _view(self, frame):
        if frame.name in self.broken:
            raise ValueError("cut short")
        room, k = int(frame.scene[4:]), int(frame.name.split("/")[1])
        pose = stand(np.random.default_rng([self.seed, room, k]))
        camera = CAMERA.resized(64, 48)
        depth_m = depth_of(pose, camera)
        return View(np.zeros((48, 64, 3), np.uint8), camera, depth_m, world_from_cam=pose)


class Unscaled(Walk):
    """In millimetres, as if nobody knew."""

    metric = False

    def _view(self, frame):
        view = super()._view(frame)
        pose = view.world_from_cam.copy()
        pose[:3, 3] *= 1000
        return replace(view, depth_m=view.depth_m * 1000, world_from_cam=pose)


def stand(rng: np.random.Generator) -> np.ndarray:
    """4x4 world_from_cam: somewhere on a ring about the pillar, looking about inwards."""
    angle, radius = rng.uniform(0, 2 * np.pi), rng.uniform(1.2, 2.2)
    pose = np.eye(4)
    pose[:3, 3] = radius * math.sin(angle), rng.uniform(-0.4, 0.4), radius * math.cos(angle)
    yaw = math.degrees(angle) + 180 + rng.uniform(-40, 40)
    pose[:3, :3] = rotation_from_ypr(yaw, rng.uniform(-10, 10), 0)
    return pose


def cast_rays(pose: np.ndarray, way: np.ndarray) -> np.ndarray:
    """How far (..., 3) directions in camera coordinates reach, in lengths of their own: z-depth if
    their z is 1."""
    way = way @ pose[:3, :3].T
    with np.errstate(divide="ignore"):
        walls = ((np.sign(way) * ROOM - pose[:3, 3]) / way).min(-1)
        enter, leave = ((side - pose[:3, 3]) / way for side in (-PILLAR, PILLAR))
    near, far = np.minimum(enter, leave).max(-1), np.maximum(enter, leave).min(-1)
    return np.where((near < far) & (near > 0), near, walls)


def depth_of(pose: np.ndarray, camera: Camera = CAMERA) -> np.ndarray:
    return cast_rays(pose, rays(pixel_centres(camera), camera)).astype(np.float32)


def quick(reader: Reader, path: Path, processes: int = 1, **how) -> Path:
    return index(reader, path, processes=processes, progress=False, **{"grid": 24} | how)


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in (path / "pairs.jsonl").read_text().splitlines()]
