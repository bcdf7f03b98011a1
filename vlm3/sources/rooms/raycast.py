"""Ray casting in torch: closed rooms with boxes, upright cylinders and balls, for pinhole cameras.

What a scene is, and its axes, stands in `vlm3.sources.rooms.scene`. Depth is exact up to float32.
There are no shadows and no reflections: a toy, made to be measured.

Only + - * /, square roots, floors and comparisons of single elements are used, which IEEE 754
defines to the last bit, so a picture depends neither on what else is in the batch nor on how the
work is cut into chunks.
"""

import operator
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import reduce
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from vlm3.geometry import Camera
from vlm3.sources.rooms.scene import (
    CEILING,
    FLOOR,
    SOLID,
    WALL,
    Part,
    Scene,
    Skin,
    Solid,
    as_arrays,
)

# With all that a caller of `render` needs to make a scene and to read a shot.
__all__ = ["CEILING", "FLOOR", "SOLID", "WALL", "Scene", "Shot", "Skin", "Solid", "render"]
CHUNK_PX = {"cpu": 16_384, "gpu": 4_194_304}  # what a core's cache holds; what keeps a GPU busy


class Shot(NamedTuple):
    """What a camera sees: depth_m HxW float32 z-depth, ids HxW uint8, rgb HxWx3 uint8."""

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
    """One Shot for each scene, seen by its camera from its pose (4x4 world_from_cam), in order.

    Cameras must be inside the room and outside its solids. One CPU core is used: for more, use more
    processes.
    """
    limit = chunk_px or CHUNK_PX["cpu" if torch.device(device).type == "cpu" else "gpu"]
    bands: list[list[Shot]] = [[] for _ in cameras]
    with torch.inference_mode(), _one_thread():
        for members, rows in _chunks(cameras, limit):
            chosen = ([of[i] for i in members] for of in (scenes, cameras, poses))
            kinds, parts, arrays = as_arrays(*chosen, rows)
            p = {name: torch.from_numpy(array).to(device) for name, array in arrays.items()}
            shots = _cast(kinds, parts, p)
            for i, shot in zip(members, shots, strict=True):
                bands[i].append(shot)
    return [Shot(*map(np.concatenate, zip(*shots, strict=True))) for shots in bands]


@contextmanager
def _one_thread() -> Iterator[None]:
    """For operations of some microseconds, waiting for a second thread costs more than it saves."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _chunks(cameras: Sequence[Camera], limit: int) -> list[tuple[list[int], slice]]:
    """Which views of one size to cast together, and which of their rows: about limit pixels."""
    by_size: dict[tuple[int, int], list[int]] = {}
    for i, camera in enumerate(cameras):
        by_size.setdefault(camera.size, []).append(i)
    chunks = []
    for (width, height), members in by_size.items():
        together, band = max(1, limit // (width * height)), min(height, max(1, limit // width))
        groups = [members[k : k + together] for k in range(0, len(members), together)]
        bands = [slice(top, top + band) for top in range(0, height, band)]
        chunks += [(group, rows) for group in groups for rows in bands]
    return chunks


def _cast(kinds: list[str], parts: list[Part], p: dict[str, Tensor]) -> list[Shot]:
    """A Shot of each view; kinds, parts, p: as `as_arrays` gives them."""
    rays = _rays(p)
    depth, slot = _room(p, rays)
    for k, (kind, values, part) in enumerate(zip(kinds, p["slots"], parts, strict=True), SOLID):
        # Most solids are small in the picture, and the rest of its rays need not meet them.
        near, far = _SPANS[kind](values, rays.of(part))
        seen = depth[part]
        hit = near.clamp_min_(0) < torch.minimum(far, seen)  # also false for NaN
        seen.copy_(torch.where(hit, near, seen))
        slot[part].masked_fill_(hit, k)
    ids, rgb = _shade(p, rays, depth, slot)
    return [Shot(*each) for each in zip(*(t.cpu().numpy() for t in (depth, ids, rgb)), strict=True)]


class _Rays(NamedTuple):
    """x, y of the rays (V, 1, W) and (V, H, 1), and terms that all solids share.

    z is 1 in the camera's axes, so that a ray's parameter is depth.
    """

    x: Tensor
    y: Tensor
    world: Tensor  # (3, V, H, W), direction
    steep: Tensor  # 1 / world y
    flat2: Tensor  # squared length seen from above
    full2: Tensor  # squared length

    def of(self, part: Part) -> "_Rays":
        """Those of a part of the pictures."""
        _, rows, columns = part
        x, y = self.x[..., columns], self.y[:, rows]
        return _Rays(x, y, self.world[(slice(None), *part)], *(t[part] for t in self[3:]))


def _rays(p: dict[str, Tensor]) -> _Rays:
    x, y, z = world = _along(p["axes"].transpose(0, 1), p["x"], p["y"])
    flat2 = x * x + z * z
    return _Rays(p["x"], p["y"], world, 1 / y, flat2, flat2 + y * y)


def _along(row: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """(..., V, H, W) components of all rays; row: of the rotation from the camera, (3, ..., V, 1,
    1)."""
    return row[0] * x + (row[1] * y + row[2])


def _slab(origin: Tensor, half: Tensor, inverse: Tensor) -> tuple[Tensor, Tensor]:
    """Depths at which rays of direction 1 / inverse enter and leave -half < coordinate < half."""
    a, b = (-half - origin) * inverse, (half - origin) * inverse
    return torch.minimum(a, b), torch.maximum(a, b)


def _room(p: dict[str, Tensor], rays: _Rays) -> tuple[Tensor, Tensor]:
    """Depth and slot (FLOOR, CEILING or WALL) at which rays leave the room."""
    (x, y, z), (w, h, d) = p["origin"], p["room"]
    wall = torch.minimum(_slab(x, w, 1 / rays.world[0])[1], _slab(z, d, 1 / rays.world[2])[1])
    level = _slab(y + h, h, rays.steep)[1]  # y + h: the middle of the room is at -h
    slot = torch.where(rays.steep > 0, float(FLOOR), float(CEILING))
    return torch.minimum(wall, level), slot.masked_fill_(wall < level, WALL)


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
    """Span inside the radius, from the ray's point nearest to the middle.

    The textbook's discriminant would subtract squares of distances, too coarse in float32.
    """
    middle = -_dot(origin, direction) / squared
    miss = [o + middle * d for o, d in zip(origin, direction, strict=True)]
    # an empty span is a miss
    reach = ((radius * radius - _dot(miss, miss)) / squared).clamp_min_(0).sqrt_()
    return middle - reach, middle + reach


def _dot(a: Sequence[Tensor], b: Sequence) -> Tensor:
    return reduce(operator.add, map(operator.mul, a, b))


# The depths at which a ray enters and leaves a solid of each shape.
_SPANS = {"box": _box, "cylinder": _cylinder, "ball": _ball}


def _shade(p: dict[str, Tensor], rays: _Rays, depth: Tensor, slot: Tensor) -> tuple[Tensor, Tensor]:
    """ids (V, H, W) and rgb (V, H, W, 3), uint8, of what was hit."""
    # one look-up for all views: their tables lie behind each other
    index = (slot + p["first"]).int().flatten()
    columns = p["table"].index_select(1, index).unflatten(1, depth.shape)
    (cos, sin), half, (wide, tall, facing) = columns[3:5], columns[5:8], columns[8:11]
    point = p["origin"] + depth * rays.world
    x, y, z = point - columns[:3]
    own = torch.stack([cos * x - sin * z, y, sin * x + cos * z])
    nx, ny, nz = _normal(own / half, wide, tall)
    normal = torch.stack([cos * nx + sin * nz, ny, cos * nz - sin * nx]) * facing
    light = reduce(operator.add, [_lamp(lamp, point, normal) for lamp in p["lamps"]], p["ambient"])
    mix = _mix(own, columns[17:20], columns[20:23], *columns[23:26])
    colours = (columns[11:14] + columns[14:17] * mix) * light
    rgb = colours.clamp_(0, 1).mul_(255).add_(0.5).to(torch.uint8).movedim(0, -1).contiguous()
    return columns[26].to(torch.uint8), rgb


def _normal(q: Tensor, wide: Tensor, tall: Tensor) -> list[Tensor]:
    """Outward normals in the solid's axes at q (3, V, H, W), the point over the half size.

    wide: 1 for what is round seen from above; tall: 1 for balls. Masks instead of branches: several
    times faster.
    """
    # 1e-9, since in the middle of a cylinder's lid the radius is 0
    (x, y, z), sign = q.abs(), q.sign()
    radius, edged = (x * x + z * z).sqrt_(), 1 - wide
    lid = (y >= wide * radius + edged * torch.maximum(x, z)) * (1 - tall)
    across, around = edged * (x >= z), wide / (radius + tall * (1 - radius) + 1e-9)
    nx = q[0] * around + across * sign[0]
    nz = q[2] * around + (edged - across) * sign[2]
    side = 1 - lid
    return [nx * side, lid * sign[1] + tall * q[1], nz * side]


def _lamp(lamp: Tensor, point: Tensor, normal: Tensor) -> Tensor:
    """Lambert's law, falling off gently with the distance."""
    to = lamp[:3] - point
    squared = _dot(to, to)
    cosine = _dot(to, normal).clamp_min_(0) / squared.sqrt()
    # not the square law, which would leave the far end of a large room black
    return lamp[3] * cosine / (1 + 0.08 * squared)


def _mix(
    own: Tensor, frequency: Tensor, phase: Tensor, line: Tensor, parity: Tensor, variation: Tensor
) -> Tensor:
    """(V, H, W) from 0, the skin's colour, to 1, its other colour; as `Skin` says."""
    cells = own * frequency + phase
    whole = cells.floor()
    parts = reduce(torch.minimum, cells - whole)
    half = reduce(operator.add, whole) * 0.5
    odd = (half - half.floor()) * 2
    # powers of 1 / 1.3247, the plastic number, as in the R2 sequence: neighbours differ in shade
    scatter = _dot(whole, (0.7549, 0.5698, 0.4302))
    return torch.where(parts < line, 1.0, parity * odd + variation * (scatter - scatter.floor()))
