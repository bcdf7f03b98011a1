"""What a toy room is made of, and many rooms as arrays, for `vlm3.sources.rooms`.

The world is in metres with y down along gravity: the floor is y = 0, a height h is y = -h, and the
room is centred on x = z = 0.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import product
from typing import NamedTuple

import numpy as np

from vlm3.geometry import Camera

Part = tuple[slice, slice, slice]  # of images (V, H, W): all views, some rows, some columns
HAIR = 1e-3  # by how much x / z a ray in float32 passes a solid, and more: a tenth of a pixel
NEAR_M = 0.01  # what is nearer than this along the axis of a camera counts as behind it
_CORNERS = np.array(list(product((-1.0, 1.0), repeat=3)))
FLOOR, CEILING, WALL, SOLID = 0, 1, 2, 3  # object ids; solid k of a scene has SOLID + k
SHAPES = ("box", "cylinder", "ball")


class Skin(NamedTuple):
    """A texture in space: cells of 1 / frequency metres in the solid's own axes, phase in cells.

    A pixel's colour lies between colour and other: at `other` on the lines, which take the share
    `line` of a cell, else at parity x (0 or 1, as on a chessboard) + variation x (0 to 1, by cell).
    Frequency 0 switches an axis off.
    """

    colour: tuple[float, float, float]
    other: tuple[float, float, float] = (0.0, 0.0, 0.0)
    frequency: tuple[float, float, float] = (0.0, 0.0, 0.0)
    phase: tuple[float, float, float] = (0.5, 0.5, 0.5)
    line: float = 0.0
    parity: float = 0.0
    variation: float = 0.0


class Solid(NamedTuple):
    """centre and size in metres, size along the solid's own x, y, z; yaw turns boxes only.

    shape: one of SHAPES.
    """

    shape: str
    name: str
    centre: tuple[float, float, float]
    size: tuple[float, float, float]
    yaw_deg: float
    skin: Skin


class Scene(NamedTuple):
    """A room of size_m (x, height, z), its solids, and its light.

    skins: of floor, ceiling and walls; lamps: (x, y, z, power) each; ambient: light all round.
    """

    size_m: tuple[float, float, float]
    solids: tuple[Solid, ...]
    skins: tuple[Skin, Skin, Skin]
    lamps: tuple[tuple[float, float, float, float], ...]
    ambient: float


def as_arrays(
    scenes: list[Scene], cameras: list[Camera], poses: list[np.ndarray], rows: slice
) -> tuple[list[str], list[Part], dict[str, np.ndarray]]:
    """What each slot holds, the part of the images in which it may be seen, and a chunk of V views
    as float32 arrays, computed in float64.

    cameras: of one size; rows: which rows of their images. Slot k holds the same shape in all
    views, so that all rays of a chunk meet it in one operation. Solids of size 0, which no ray
    hits, fill up where a scene has fewer.
    """
    most = {shape: max(_count(scene, shape) for scene in scenes) for shape in SHAPES}
    kinds = [shape for shape in SHAPES for _ in range(most[shape])]
    table, pose = _table(scenes, kinds), np.array(poses, float)
    u, v = (np.arange(side) + 0.5 for side in cameras[0].size)
    arrays = {
        "x": np.array([(u - c.cx) / c.fx for c in cameras])[:, None, :],
        "y": np.array([(v - c.cy) / c.fy for c in cameras])[:, rows, None],
        "axes": _last(pose[:, :3, :3]),
        "origin": _last(pose[:, :3, 3]),
        "room": _last(np.array([scene.size_m for scene in scenes]) / 2),
        "slots": _last(_in_slots(table[:, SOLID:], pose)),
        "table": np.moveaxis(table, -1, 0).reshape(table.shape[-1], -1),
        "first": _last(np.arange(len(scenes)) * table.shape[1]),
        "lamps": _last(_lamps(scenes)),
        "ambient": _last(np.array([scene.ambient for scene in scenes])),
    }
    parts = [_part(arrays["x"], arrays["y"], *each) for each in _silhouettes(table, pose)]
    arrays = {name: np.ascontiguousarray(each, np.float32) for name, each in arrays.items()}
    return kinds, parts, arrays


def _silhouettes(table: np.ndarray, pose: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Of each slot the least and the largest x / z and y / z of the box around its solid in each
    view, two of (V, 2); infinite where it reaches behind the camera."""
    solids = table[:, SOLID:, None]  # (V, S, 1, columns)
    own = _CORNERS * solids[..., 5:8]
    cos, sin = solids[..., 3], solids[..., 4]
    turned = [cos * own[..., 0] + sin * own[..., 2], own[..., 1]]
    turned.append(cos * own[..., 2] - sin * own[..., 0])
    world = np.stack(turned, -1) + solids[..., :3] - pose[:, None, None, :3, 3]
    x, y, z = np.moveaxis(world @ pose[:, None, :3, :3], -1, 0)  # (V, S, 8)
    front = (z > NEAR_M).all(-1, keepdims=True)
    places = np.stack([x, y], -1) / np.where(front, z, 1)[..., None]
    low, high = (
        np.where(front, ends, far)
        for ends, far in ((places.min(2), -np.inf), (places.max(2), np.inf))
    )
    return zip(low.swapaxes(0, 1), high.swapaxes(0, 1), strict=True)


def _part(x: np.ndarray, y: np.ndarray, low: np.ndarray, high: np.ndarray) -> Part:
    """Where in the images (V, H, W) rays lie between low and high in some view; x (V, 1, W) and y
    (V, H, 1): of the rays; low, high: (V, 2)."""
    low, high = low - HAIR, high + HAIR
    sides = []
    for rays, k in ((y[:, :, 0], 1), (x[:, 0], 0)):
        inside = np.flatnonzero(((rays >= low[:, k, None]) & (rays <= high[:, k, None])).any(0))
        sides.append(slice(inside[0], inside[-1] + 1) if len(inside) else slice(0, 0))
    return slice(None), *sides


def _count(scene: Scene, shape: str) -> int:
    return sum(solid.shape == shape for solid in scene.solids)


def _table(scenes: Sequence[Scene], kinds: list[str]) -> np.ndarray:
    """(V, SOLID + slots, columns of `_row`) of floors, ceilings, walls and what fills the slots."""
    table = np.zeros((len(scenes), SOLID + len(kinds), len(_row(scenes[0], 0, FLOOR))))
    table[..., 3] = 1  # cosine of the yaw
    for v, scene in enumerate(scenes):
        used = {shape: SOLID + kinds.index(shape) for shape in set(kinds)}
        for number in range(SOLID + len(scene.solids)):
            slot = number
            if number >= SOLID:
                shape = scene.solids[number - SOLID].shape
                slot, used[shape] = used[shape], used[shape] + 1
            table[v, slot] = _row(scene, number - SOLID, number)
    return table


def _lamps(scenes: Sequence[Scene]) -> np.ndarray:
    """(V, lamps, 4), with lamps of power 0 where a scene has fewer."""
    lamps = np.zeros((len(scenes), max(len(scene.lamps) for scene in scenes), 4))
    for v, scene in enumerate(scenes):
        lamps[v, : len(scene.lamps)] = scene.lamps
    return lamps


def _last(array: np.ndarray) -> np.ndarray:
    """(V, ...) to (..., V, 1, 1): one number per view, to combine with images (V, H, W)."""
    return np.moveaxis(array, 0, -1)[..., None, None]


def _row(scene: Scene, solid: int, number: int) -> list[float]:
    """A line of the table, of 27 numbers.

    Centre (3), cosine and sine of the yaw, half size (3), whether round in x and z, and in y,
    facing, skin (15), object id.
    """
    # the room is a box that is seen from inside: its normals face inwards, hence -1
    if number < SOLID:
        half = [side / 2 for side in scene.size_m]
        return [0, -half[1], 0, 1, 0, *half, 0, 0, -1, *_flat(scene.skins[number]), number]
    shape, _, centre, size, yaw_deg, skin = scene.solids[solid]
    yaw, half = math.radians(yaw_deg), [side / 2 for side in size]
    rounded = shape != "box", shape == "ball"
    return [*centre, math.cos(yaw), math.sin(yaw), *half, *rounded, 1, *_flat(skin), number]


def _flat(skin: Skin) -> list[float]:
    difference = [b - a for a, b in zip(skin.colour, skin.other, strict=True)]
    shares = skin.line, skin.parity, skin.variation
    return [*skin.colour, *difference, *skin.frequency, *skin.phase, *shares]


def _in_slots(solids: np.ndarray, pose: np.ndarray) -> np.ndarray:
    """(V, S, 12): x and z rows of solid_from_camera, camera centre in its axes, half size."""
    cos, sin, half = solids[..., 3:4], solids[..., 4:5], solids[..., 5:8]
    x, z = pose[:, None, 0, :3], pose[:, None, 2, :3]
    offset = pose[:, None, :3, 3] - solids[..., :3]
    ox, oy, oz = (offset[..., k : k + 1] for k in range(3))
    rows = cos * x - sin * z, sin * x + cos * z
    return np.concatenate([*rows, cos * ox - sin * oz, oy, sin * ox + cos * oz, half], -1)
