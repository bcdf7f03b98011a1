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


class Eyes(NamedTuple):
    """How cameras are held: ranges of their height above the floor in metres, and the tilt.

    first_m: of the first camera of a scene; further_m: of the others; below a ceiling both end 0.3
    and 0.2 m under it. tilt_deg: how far a camera may be rolled, and pitched away from what it
    looks at. one_camera: whether all views of a scene are taken through the same lens.
    """

    first_m: tuple[float, float] = (0.5, 2.1)  # from knee to tall person
    further_m: tuple[float, float] = (0.25, math.inf)
    tilt_deg: float = 8.0
    one_camera: bool = False


class Grade(NamedTuple):
    """How far a further camera stands from the first one, and by how much it may be turned."""

    apart_m: tuple[float, float]
    turn_deg: float


GRADES = {
    "near": Grade((0.15, 0.6), 20),
    "middle": Grade((0.6, 1.0), 30),
    "far": Grade((1.0, 1.5), 45),
    "any": Grade((0.2, 1.5), 40),
}
_TRIES = 200  # then the first camera goes elsewhere


def stands(
    draw: Draw,
    scene: Scene,
    lenses: Sequence[Lens],
    views: int,
    eyes: Eyes,
    grade: Grade,
    turn_deg: Sequence[float] | None = None,
) -> list[tuple[Camera, np.ndarray]]:
    """Cameras and their poses, 4x4 world_from_cam, all looking at about the same spot.

    The spot is on or near a solid. With turn_deg all stand where the first one does, see `_turned`.
    """
    while True:
        first, spot = _first_stand(draw, scene, eyes)
        stands = [(_camera(draw, lenses), _pose(draw, first, spot, eyes.tilt_deg))]
        while len(stands) < views:
            camera, pose = stands[0]
            if not eyes.one_camera:
                camera = _camera(draw, lenses)
            if turn_deg:
                further = _turned(draw, pose, turn_deg)
            else:
                further = _further_pose(draw, scene, first, pose, spot, eyes, grade)
            if further is None:
                break
            stands.append((camera, further))
        else:
            return stands


def _first_stand(draw: Draw, scene: Scene, eyes: Eyes) -> tuple[list[float], list[float]]:
    """A free place in the room and a spot to look at: of three, those that promise most solids."""
    found = [_free_stand(draw, scene, eyes) for _ in range(3)]
    return max(found, key=lambda stand: _in_sight(scene, *stand))


def _free_stand(draw: Draw, scene: Scene, eyes: Eyes) -> tuple[list[float], list[float]]:
    (low, high), room_m = eyes.first_m, scene.size_m[1]
    middle = (0.0, -scene.size_m[1] / 2, 0.0)
    while True:
        target = draw.pick(scene.solids).centre if scene.solids else middle
        spot = [a + draw.between(-0.5, 0.5) for a in target]
        # 0.4 m from every wall
        place = [(draw.unit() - 0.5) * (side - 0.8) for side in scene.size_m]
        place[1] = -draw.between(low, min(high, room_m - 0.3))
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
    eyes: Eyes,
    grade: Grade,
) -> np.ndarray | None:
    """A pose within the grade, nearer to the first camera with every try; None where none fits."""
    low, reach = grade.apart_m
    for _ in range(_TRIES):
        # down to the least, so that few first cameras have to go elsewhere
        reach = low + 0.95 * (reach - low)
        place = _beside(draw, first, low, reach)
        aim = [a + draw.between(-0.3, 0.3) for a in spot]
        free = all(_clearance(solid, place) > 0.25 for solid in scene.solids)
        if free and _inside(scene, place, eyes.further_m) and math.dist(place, aim) > 0.8:
            further = _pose(draw, place, aim, eyes.tilt_deg)
            turned_deg = geometry.rotation_angle_deg(pose[:3, :3].T @ further[:3, :3])
            if turned_deg < grade.turn_deg:
                return further
    return None


def _beside(draw: Draw, first: list[float], low: float, reach: float) -> list[float]:
    """A place low to reach metres from the first, by 17 degrees at most above or below it."""
    length, azimuth = draw.between(low, reach), draw.between(0, 2 * math.pi)
    rise = draw.between(-0.3, 0.3)
    flat = length * math.sqrt(1 - rise * rise)
    x, y, z = first
    return [x + flat * math.sin(azimuth), y + length * rise, z + flat * math.cos(azimuth)]


def _inside(scene: Scene, place: list[float], heights_m: tuple[float, float]) -> bool:
    """Whether a place is well within the room, 0.3 m from walls, 0.2 m from the ceiling, and at
    such a height."""
    (x, y, z), (width, height, depth) = place, scene.size_m
    apart = abs(x) < width / 2 - 0.3 and abs(z) < depth / 2 - 0.3
    return apart and heights_m[0] < -y < min(heights_m[1], height - 0.2)


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
