"""Where the cameras of a room stand and through what lenses they look, for `vlm3.sources.rooms`."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from vlm3 import geometry
from vlm3.geometry import Camera
from vlm3.sources.rooms.scene import Scene, Solid


class Draw:
    """Random numbers made from uniform ones alone, whose stream NumPy keeps stable."""

    def __init__(self, rng: np.random.Generator):
        self.unit = rng.random

    def between(self, low: float, high: float) -> float:
        return low + (high - low) * self.unit()

    def whole(self, low: int, high: int) -> int:
        return low + int(self.unit() * (high - low + 1))

    def pick(self, items: Sequence):
        return items[int(self.unit() * len(items))]

    def shuffled(self, items: Sequence) -> list:
        # not rng.shuffle, whose stream may change with NumPy's version
        return [item for _, item in sorted((self.unit(), item) for item in items)]


class Lens(NamedTuple):
    """A family of cameras: size in pixels, ranges of horizontal viewing angle and of fy / fx.

    shift: how far the principal point may be off the middle, as a share of each side.
    """

    width: int
    height: int
    hfov_deg: tuple[float, float]
    stretch: tuple[float, float] = (1.0, 1.0)
    shift: float = 0.0


def stands(
    draw: Draw,
    scene: Scene,
    lenses: Sequence[Lens],
    views: int,
    tilt_deg: float,
    turn_deg: Sequence[float] | None = None,
) -> list[tuple[Camera, np.ndarray]]:
    """Cameras and their poses, 4x4 world_from_cam, all looking at about the same spot.

    The spot is on or near a solid. With turn_deg all stand where the first one does, see `_turned`.
    """
    first, spot = _first_stand(draw, scene)
    stands = [(_camera(draw, lenses), _pose(draw, first, spot, tilt_deg))]
    while len(stands) < views:
        camera, pose = _camera(draw, lenses), stands[0][1]
        if turn_deg:
            further = _turned(draw, pose, turn_deg)
        else:
            further = _further_pose(draw, scene, first, pose, spot, tilt_deg)
        stands.append((camera, further))
    return stands


def _first_stand(draw: Draw, scene: Scene) -> tuple[list[float], list[float]]:
    """A free place in the room and a spot to look at: of three, those that promise most solids."""
    found = [_free_stand(draw, scene) for _ in range(3)]
    return max(found, key=lambda stand: _in_sight(scene, *stand))


def _free_stand(draw: Draw, scene: Scene) -> tuple[list[float], list[float]]:
    middle = (0.0, -scene.size_m[1] / 2, 0.0)
    while True:
        target = draw.pick(scene.solids).centre if scene.solids else middle
        spot = [a + draw.between(-0.5, 0.5) for a in target]
        # 0.4 m from every wall, and from knee to tall person: 0.5 to 2.1 m above the floor
        place = [(draw.unit() - 0.5) * (side - 0.8) for side in scene.size_m]
        place[1] = -draw.between(0.5, min(2.1, scene.size_m[1] - 0.3))
        free = all(_clearance(solid, place) > 0.45 for solid in scene.solids)
        if free and 1.2 <= math.dist(place, spot) <= 5:
            return place, spot


def _in_sight(scene: Scene, place: list[float], spot: list[float]) -> int:
    """How many solids are more than 1 m away and less than 28 degrees off the way to the spot."""
    way, far = [b - a for a, b in zip(place, spot, strict=True)], math.dist(place, spot)
    seen = 0
    for solid in scene.solids:
        distance = math.dist(place, solid.centre)
        along = sum(w * (c - a) for w, c, a in zip(way, solid.centre, place, strict=True))
        seen += distance > 1 and along > 0.88 * far * distance  # the cosine of 28 degrees
    return seen


def _further_pose(
    draw: Draw,
    scene: Scene,
    first: list[float],
    pose: np.ndarray,
    spot: list[float],
    tilt_deg: float,
) -> np.ndarray:
    """0.2 to 1.5 m from the first camera, turned by at most 40 degrees, nearer with every try."""
    reach = 1.5
    while True:
        # down to 0.2 m, so that an attempt succeeds in the end wherever the first camera stands
        reach = 0.2 + 0.95 * (reach - 0.2)
        place = _beside(draw, first, reach)
        aim = [a + draw.between(-0.3, 0.3) for a in spot]
        free = all(_clearance(solid, place) > 0.25 for solid in scene.solids)
        if free and _inside(scene, place) and math.dist(place, aim) > 0.8:
            further = _pose(draw, place, aim, tilt_deg)
            if geometry.rotation_angle_deg(pose[:3, :3].T @ further[:3, :3]) < 40:
                return further


def _beside(draw: Draw, first: list[float], reach: float) -> list[float]:
    """A place 0.2 m to reach away from the first, by 17 degrees at most above or below it."""
    length, azimuth = draw.between(0.2, reach), draw.between(0, 2 * math.pi)
    rise = draw.between(-0.3, 0.3)
    flat = length * math.sqrt(1 - rise * rise)
    x, y, z = first
    return [x + flat * math.sin(azimuth), y + length * rise, z + flat * math.cos(azimuth)]


def _inside(scene: Scene, place: list[float]) -> bool:
    """Whether a place is well within the room: 0.3 m from walls, 0.2 m from floor and ceiling."""
    (x, y, z), (width, height, depth) = place, scene.size_m
    apart = abs(x) < width / 2 - 0.3 and abs(z) < depth / 2 - 0.3
    return apart and 0.25 < -y < height - 0.2


def _turned(draw: Draw, pose: np.ndarray, turn_deg: Sequence[float]) -> np.ndarray:
    """The same place, turned by at most these yaw, pitch and roll either way."""
    turn = geometry.rotation_from_ypr(*(draw.between(-most, most) for most in turn_deg))
    turned = pose.copy()
    turned[:3, :3] = pose[:3, :3] @ turn
    return turned


def _pose(draw: Draw, place: list[float], spot: list[float], tilt_deg: float) -> np.ndarray:
    """4x4 world_from_cam: at place, looking towards spot, a few degrees off, and tilted."""
    x, y, z = (b - a for a, b in zip(place, spot, strict=True))
    yaw, pitch = math.degrees(math.atan2(x, z)), math.degrees(math.atan2(-y, math.hypot(x, z)))
    # neither straight down at the floor nor up at the ceiling
    pitch = min(30.0, max(-40.0, pitch + draw.between(-tilt_deg, tilt_deg)))
    yaw, roll = yaw + draw.between(-8, 8), draw.between(-tilt_deg, tilt_deg)
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = geometry.rotation_from_ypr(yaw, pitch, roll), place
    return pose


def _clearance(solid: Solid, place: Sequence[float]) -> float:
    """Distance in metres from a place to the box around a solid, 0 inside."""
    yaw = math.radians(solid.yaw_deg)
    x, y, z = (a - b for a, b in zip(place, solid.centre, strict=True))
    own = x * math.cos(yaw) - z * math.sin(yaw), y, x * math.sin(yaw) + z * math.cos(yaw)
    beyond = (max(0.0, abs(a) - side / 2) for a, side in zip(own, solid.size, strict=True))
    return math.hypot(*beyond)


def _camera(draw: Draw, lenses: Sequence[Lens]) -> Camera:
    lens = draw.pick(lenses)
    fx = lens.width / 2 / math.tan(math.radians(draw.between(*lens.hfov_deg)) / 2)
    cx, cy = (side * (0.5 + draw.between(-lens.shift, lens.shift)) for side in lens[:2])
    return Camera(fx, fx * draw.between(*lens.stretch), cx, cy, lens.width, lens.height)
