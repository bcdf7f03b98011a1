"""Ray casting of toy rooms in torch: a closed room, boxes, upright cylinders and balls, seen by
pinhole cameras.

The world is in metres with y down along gravity: the floor is y = 0, a height h is y = -h, and the
room is centred on x = z = 0. Depth is exact up to float32. There are no shadows and no reflections:
a toy, made to be measured.

Only + - * /, square roots, floors and comparisons of single elements are used, which IEEE 754
defines to the last bit, so a picture depends neither on what else is in the batch nor on how the
work is cut into chunks.
"""

import math
import operator
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import reduce
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from vlm3.geometry import Camera

FLOOR, CEILING, WALL, SOLID = 0, 1, 2, 3  # object ids; solid k of a scene has SOLID + k
SHAPES = ("box", "cylinder", "ball")
CHUNK_PX = {"cpu": 32_768, "gpu": 4_194_304}  # what a core's cache holds; what keeps a GPU busy


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
    """centre and size in metres, size along the solid's own x, y, z; yaw turns boxes only. Shape:
    one of SHAPES."""

    shape: str
    name: str
    centre: tuple[float, float, float]
    size: tuple[float, float, float]
    yaw_deg: float
    skin: Skin


class Scene(NamedTuple):
    """A room of size_m (x, height, z), its solids, skins of floor, ceiling and walls, lamps (x, y,
    z, power)."""

    size_m: tuple[float, float, float]
    solids: tuple[Solid, ...]
    skins: tuple[Skin, Skin, Skin]
    lamps: tuple[tuple[float, float, float, float], ...]
    ambient: float


class Shot(NamedTuple):
    """What a camera sees: depth_m HxW float32 z-depth, ids HxW uint8 object ids, rgb HxWx3 uint8."""

    depth_m: np.ndarray
    ids: np.ndarray
    rgb: np.ndarray


def render(
    scenes: Sequence[Scene],
    cameras: Sequence[Camera],
    poses: Sequence[np.ndarray],
    device: str = "cpu",
    chunk_px: int | None = None,
) -> list[Shot]:
    """One Shot for each scene seen by its camera from its pose (4x4 world_from_cam), in the order
    given.

    Cameras must be inside the room and outside its solids. One CPU core is used: for more, use more
    processes.
    """
    limit = chunk_px or CHUNK_PX["cpu" if torch.device(device).type == "cpu" else "gpu"]
    bands: list[list[Shot]] = [[] for _ in cameras]
    with torch.inference_mode(), _one_thread():
        for members, rows in _chunks(cameras, limit):
            kinds, arrays = _pack(
                *([of[i] for i in members] for of in (scenes, cameras, poses)), rows
            )
            shots = _cast(
                kinds, {name: torch.from_numpy(array).to(device) for name, array in arrays.items()}
            )
            for i, shot in zip(members, shots, strict=True):
                bands[i].append(shot)
    return [Shot(*map(np.concatenate, zip(*shots, strict=True))) for shots in bands]


@contextmanager
def _one_thread() -> Iterator[None]:
    """For operations of some microseconds, waiting for a second thread costs more than it brings."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _chunks(cameras: Sequence[Camera], limit: int) -> list[tuple[list[int], slice]]:
    """Which views of one size, and which of their rows, to cast together: about limit pixels at
    most."""
    by_size: dict[tuple[int, int], list[int]] = {}
    for i, camera in enumerate(cameras):
        by_size.setdefault(camera.size, []).append(i)
    chunks = []
    for (width, height), members in by_size.items():
        together, band = max(1, limit // (width * height)), min(height, max(1, limit // width))
        groups = [members[k : k + together] for k in range(0, len(members), together)]
        chunks += [
            (group, slice(top, top + band)) for group in groups for top in range(0, height, band)
        ]
    return chunks


def _pack(
    scenes: list[Scene], cameras: list[Camera], poses: list[np.ndarray], rows: slice
) -> tuple[list[str], dict[str, np.ndarray]]:
    """What each slot holds, and the chunk of V views as float32 arrays, computed in float64.

    Slot k holds the same shape in all views. Solids of size 0, which no ray hits, fill up where a
    scene has fewer.
    """
    kinds = [
        shape for shape in SHAPES for _ in range(max(_count(scene, shape) for scene in scenes))
    ]
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
    pose = np.array(poses, float)
    lamps = np.zeros((len(scenes), max(len(scene.lamps) for scene in scenes), 4))
    for v, scene in enumerate(scenes):
        lamps[v, : len(scene.lamps)] = scene.lamps
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
        "lamps": _last(lamps),
        "ambient": _last(np.array([scene.ambient for scene in scenes])),
    }
    return kinds, {name: np.ascontiguousarray(array, np.float32) for name, array in arrays.items()}


def _count(scene: Scene, shape: str) -> int:
    return sum(solid.shape == shape for solid in scene.solids)


def _last(array: np.ndarray) -> np.ndarray:
    """(V, ...) to (..., V, 1, 1): one number per view, to combine with images (V, H, W)."""
    return np.moveaxis(array, 0, -1)[..., None, None]


def _row(scene: Scene, solid: int, number: int) -> list[float]:
    """A line of the table: centre, yaw, half size, round in x and z, round in y, facing, skin,
    object id."""
    if number < SOLID:
        half = [side / 2 for side in scene.size_m]
        return [0, -half[1], 0, 1, 0, *half, 0, 0, -1, *_flat(scene.skins[number]), number]
    shape, _, centre, size, yaw_deg, skin = scene.solids[solid]
    yaw, half = math.radians(yaw_deg), [side / 2 for side in size]
    rounded = shape != "box", shape == "ball"
    return [*centre, math.cos(yaw), math.sin(yaw), *half, *rounded, 1, *_flat(skin), number]


def _flat(skin: Skin) -> list[float]:
    difference = [b - a for a, b in zip(skin.colour, skin.other, strict=True)]
    return [
        *skin.colour,
        *difference,
        *skin.frequency,
        *skin.phase,
        skin.line,
        skin.parity,
        skin.variation,
    ]


def _in_slots(solids: np.ndarray, pose: np.ndarray) -> np.ndarray:
    """(V, S, 12): x and z rows of solid_from_camera, camera centre in the solid's axes, half size."""
    cos, sin, half = solids[..., 3:4], solids[..., 4:5], solids[..., 5:8]
    x, z = pose[:, None, 0, :3], pose[:, None, 2, :3]
    offset = pose[:, None, :3, 3] - solids[..., :3]
    ox, oy, oz = (offset[..., k : k + 1] for k in range(3))
    return np.concatenate(
        [cos * x - sin * z, sin * x + cos * z, cos * ox - sin * oz, oy, sin * ox + cos * oz, half],
        -1,
    )


def _cast(kinds: list[str], p: dict[str, Tensor]) -> list[Shot]:
    rays = _rays(p)
    depth, slot = _room(p, rays)
    for k, (kind, values) in enumerate(zip(kinds, p["slots"], strict=True)):
        near, far = _SPANS[kind](values, rays)
        hit = near.clamp_min_(0) < torch.minimum(far, depth)  # also false for NaN
        depth = torch.where(hit, near, depth)
        slot.masked_fill_(hit, SOLID + k)
    ids, rgb = _shade(p, rays, depth, slot)
    return [Shot(*each) for each in zip(*(t.cpu().numpy() for t in (depth, ids, rgb)), strict=True)]


class _Rays(NamedTuple):
    """x, y of the rays (V, 1, W) and (V, H, 1), whose z is 1, so that a ray's parameter is depth;
    and shared terms."""

    x: Tensor
    y: Tensor
    world: list[Tensor]  # direction
    steep: Tensor  # 1 / world y
    flat2: Tensor  # squared length seen from above
    full2: Tensor  # squared length


def _rays(p: dict[str, Tensor]) -> _Rays:
    x, y, z = world = [_along(row, p["x"], p["y"]) for row in p["axes"]]
    flat2 = x * x + z * z
    return _Rays(p["x"], p["y"], world, 1 / y, flat2, flat2 + y * y)


def _along(row: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """(V, H, W) one component of all rays; row: that of the rotation from the camera, (3, V, 1, 1)."""
    return row[0] * x + (row[1] * y + row[2])


def _slab(origin: Tensor, half: Tensor, inverse: Tensor) -> tuple[Tensor, Tensor]:
    """Depths at which rays of direction 1 / inverse enter and leave -half < coordinate < half."""
    a, b = (-half - origin) * inverse, (half - origin) * inverse
    return torch.minimum(a, b), torch.maximum(a, b)


def _room(p: dict[str, Tensor], rays: _Rays) -> tuple[Tensor, Tensor]:
    """Depth and slot (FLOOR, CEILING or WALL) at which rays leave the room."""
    (x, y, z), (w, h, d) = p["origin"], p["room"]
    wall = torch.minimum(_slab(x, w, 1 / rays.world[0])[1], _slab(z, d, 1 / rays.world[2])[1])
    level = _slab(y + h, h, rays.steep)[1]
    slot = torch.where(rays.steep > 0, float(FLOOR), float(CEILING)).masked_fill_(
        wall < level, WALL
    )
    return torch.minimum(wall, level), slot


def _box(v: Tensor, rays: _Rays) -> tuple[Tensor, Tensor]:
    near, far = _slab(v[7], v[10], rays.steep)
    for origin, half, row in ((v[6], v[9], v[0:3]), (v[8], v[11], v[3:6])):
        enter, leave = _slab(origin, half, 1 / _along(row, rays.x, rays.y))
        near, far = torch.maximum(near, enter), torch.minimum(far, leave)
    return near, far


def _cylinder(v: Tensor, rays: _Rays) -> tuple[Tensor, Tensor]:
    bottom, top = _slab(v[7], v[10], rays.steep)
    near, far = _round([v[6], v[8]], [rays.world[0], rays.world[2]], rays.flat2, v[9])
    return torch.maximum(near, bottom), torch.minimum(far, top)


def _ball(v: Tensor, rays: _Rays) -> tuple[Tensor, Tensor]:
    return _round([v[6], v[7], v[8]], rays.world, rays.full2, v[9])


def _round(
    origin: list[Tensor], direction: list[Tensor], squared: Tensor, radius: Tensor
) -> tuple[Tensor, Tensor]:
    """Span inside the radius, from the point nearest to the middle, which keeps float32 exact
    enough."""
    middle = -_dot(origin, direction) / squared
    miss = [o + middle * d for o, d in zip(origin, direction, strict=True)]
    reach = (
        ((radius * radius - _dot(miss, miss)) / squared).clamp_min_(0).sqrt_()
    )  # an empty span is a miss
    return middle - reach, middle + reach


def _dot(a: Sequence[Tensor], b: Sequence) -> Tensor:
    return reduce(operator.add, map(operator.mul, a, b))


_SPANS = {"box": _box, "cylinder": _cylinder, "ball": _ball}


def _shade(p: dict[str, Tensor], rays: _Rays, depth: Tensor, slot: Tensor) -> tuple[Tensor, Tensor]:
    """ids (V, H, W) and rgb (V, H, W, 3), uint8, of what was hit."""
    index = (slot + p["first"]).int().flatten()
    columns = [column.index_select(0, index).view(depth.shape) for column in p["table"]]
    centre, (cos, sin), half, (wide, tall, facing) = (
        columns[:3],
        columns[3:5],
        columns[5:8],
        columns[8:11],
    )
    point = [o + depth * d for o, d in zip(p["origin"], rays.world, strict=True)]
    x, y, z = map(operator.sub, point, centre)
    own = [cos * x - sin * z, y, sin * x + cos * z]
    nx, ny, nz = _normal([a / h for a, h in zip(own, half, strict=True)], wide, tall)
    normal = [(cos * nx + sin * nz) * facing, ny * facing, (cos * nz - sin * nx) * facing]
    light = reduce(operator.add, [_lamp(lamp, point, normal) for lamp in p["lamps"]], p["ambient"])
    mix = _mix(own, columns[17:20], columns[20:23], *columns[23:26])
    colours = [(a + b * mix) * light for a, b in zip(columns[11:14], columns[14:17], strict=True)]
    rgb = torch.stack([c.clamp_(0, 1).mul_(255).add_(0.5).to(torch.uint8) for c in colours], -1)
    return columns[26].to(torch.uint8), rgb


def _normal(q: list[Tensor], wide: Tensor, tall: Tensor) -> list[Tensor]:
    """Outward normals in the solid's axes at q, the point over the half size.

    wide: 1 for what is round seen from above; tall: 1 for balls. Masks instead of branches: several
    times faster.
    """
    x, y, z = (a.abs() for a in q)
    radius, edged = (x * x + z * z).sqrt_(), 1 - wide
    lid = (y >= wide * radius + edged * torch.maximum(x, z)) * (1 - tall)
    across, around = edged * (x >= z), wide / (radius + tall * (1 - radius) + 1e-9)
    nx = q[0] * around + across * q[0].sign()
    nz = q[2] * around + (edged - across) * q[2].sign()
    side = 1 - lid
    return [nx * side, lid * q[1].sign() + tall * q[1], nz * side]


def _lamp(lamp: Tensor, point: list[Tensor], normal: list[Tensor]) -> Tensor:
    """Lambert's law, falling off gently with the distance."""
    to = [a - b for a, b in zip(lamp[:3], point, strict=True)]
    squared = _dot(to, to)
    cosine = _dot(to, normal).clamp_min_(0) / squared.sqrt()
    return lamp[3] * cosine / (1 + 0.08 * squared)


def _mix(
    own: list, frequency: list, phase: list, line: Tensor, parity: Tensor, variation: Tensor
) -> Tensor:
    """(V, H, W) from 0, the skin's colour, to 1, its other colour."""
    cells = [a * f + b for a, f, b in zip(own, frequency, phase, strict=True)]
    whole = [a.floor() for a in cells]
    parts = reduce(torch.minimum, map(operator.sub, cells, whole))
    half = reduce(operator.add, whole) * 0.5
    odd = (half - half.floor()) * 2
    scatter = _dot(whole, (0.7549, 0.5698, 0.4302))
    return torch.where(parts < line, 1.0, parity * odd + variation * (scatter - scatter.floor()))
