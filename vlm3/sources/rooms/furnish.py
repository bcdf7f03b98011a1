"""What stands in a toy room and how it is painted: scenes made from random numbers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from vlm3.sources.rooms.scene import Scene, Skin, Solid
from vlm3.sources.rooms.stands import Draw, Eyes, Lens

# Metres, always: what tells the scale of a room to eyes that know these patterns.
METRIC = {"tiles": 0.5, "planks": 0.2, "panels": 1.0, "bands": 0.25, "ceiling": 0.6}
# Each solid of a room has another colour, so that its colour and kind are a name.
COLOURS = {
    "red": (0.80, 0.16, 0.14),
    "orange": (0.95, 0.52, 0.10),
    "yellow": (0.95, 0.85, 0.20),
    "green": (0.20, 0.58, 0.22),
    "turquoise": (0.16, 0.70, 0.68),
    "blue": (0.16, 0.32, 0.78),
    "purple": (0.48, 0.22, 0.62),
    "pink": (0.96, 0.56, 0.70),
    "brown": (0.46, 0.28, 0.15),
    "white": (0.94, 0.94, 0.92),
    "grey": (0.50, 0.51, 0.53),
    "black": (0.12, 0.12, 0.13),
}


class Kind(NamedTuple):
    """What a name stands for: a shape, ranges of width, height and depth in metres, a place.

    place: "floor", "wall" (on the floor, back to a wall), "hung" (on a wall, its bottom at one of
    `bottom`) or "loose" (on the floor or on top of something). often: its share among the kinds.
    """

    shape: str
    width: tuple[float, float]
    height: tuple[float, float]
    depth: tuple[float, float]
    place: str
    often: int = 2
    bottom: tuple[float, float] = (0.0, 0.0)


KINDS = {
    "crate": Kind("box", (0.2, 0.6), (0.2, 0.6), (0.2, 0.6), "loose", 4),
    "ball": Kind("ball", (0.15, 0.7), (0, 0), (0, 0), "loose", 3),
    "can": Kind("cylinder", (0.12, 0.3), (0.15, 0.45), (0, 0), "loose", 3),
    "drum": Kind("cylinder", (0.35, 0.75), (0.4, 1.0), (0, 0), "floor", 3),
    "pillar": Kind("cylinder", (0.2, 0.4), (1.2, 2.1), (0, 0), "floor", 1),
    "chest": Kind("box", (0.7, 1.2), (0.3, 0.6), (0.35, 0.6), "floor", 3),
    "table": Kind("box", (0.9, 1.5), (0.65, 0.8), (0.6, 0.9), "floor", 2),
    "cabinet": Kind("box", (0.6, 1.2), (1.0, 2.0), (0.35, 0.6), "wall", 3),
    "shelf": Kind("box", (0.7, 1.3), (0.05, 0.1), (0.25, 0.35), "hung", 2, (0.8, 1.5)),
    "picture": Kind("box", (0.4, 1.1), (0.3, 0.8), (0.04, 0.06), "hung", 2, (1.0, 1.4)),
    "door": Kind("box", (0.9, 0.9), (2.0, 2.0), (0.08, 0.08), "hung", 1),
    # Of homes: kinds whose sizes people know, so that a name, once recognised, tells the scale.
    "sofa": Kind("box", (1.6, 2.1), (0.75, 0.85), (0.85, 0.95), "wall", 2),
    "bed": Kind("box", (1.9, 2.0), (0.45, 0.55), (0.9, 1.6), "floor", 1),
    "wardrobe": Kind("box", (1.0, 1.5), (1.9, 2.1), (0.55, 0.6), "wall", 2),
    "fridge": Kind("box", (0.6, 0.6), (1.7, 1.9), (0.6, 0.65), "wall", 1),
    "stool": Kind("cylinder", (0.32, 0.4), (0.43, 0.5), (0, 0), "floor", 3),
    "bin": Kind("cylinder", (0.22, 0.3), (0.3, 0.4), (0, 0), "floor", 2),
}


@dataclass(frozen=True)
class Collection:
    """What the rooms of a collection have in common; pairs are ranges.

    number: part of every seed; scenes: of the train split. solids: how many are tried, at most 12,
    one of each colour; what finds no place is left out. eyes: how cameras are held.
    """

    number: int
    scenes: int
    lenses: tuple[Lens, ...]
    kinds: tuple[str, ...]
    solids: tuple[int, int]
    side_m: tuple[float, float]
    height_m: tuple[float, float]
    floors: tuple[str, ...]
    walls: tuple[str, ...]
    lamps: tuple[int, int]
    eyes: Eyes


def furnished(draw: Draw, collection: Collection) -> Scene:
    """A room of a collection, with what stands in it.

    The order of the draws belongs to the seed: another one makes other rooms of the same numbers.
    """
    width, depth = (draw.between(*collection.side_m) for _ in range(2))
    size = width, draw.between(*collection.height_m), depth
    floor = _floor(draw, draw.pick(collection.floors))
    ceiling = _ceiling(draw)
    wall = _wall(draw, draw.pick(collection.walls))
    solids = _solids(draw, collection, size)
    lamps = [_lamp(draw, size) for _ in range(draw.whole(*collection.lamps))]
    # several lamps are weaker each, so that a room with two is not twice as bright
    lamps = [(*place, power / len(lamps) ** 0.5) for *place, power in lamps]
    ambient = draw.between(0.35, 0.55)
    return Scene(size, tuple(solids), (floor, ceiling, wall), tuple(lamps), ambient)


def _solids(draw: Draw, collection: Collection, room: tuple) -> list[Solid]:
    names = [name for name in collection.kinds for _ in range(KINDS[name].often)]
    colours = draw.shuffled(list(COLOURS))
    solids: list[Solid] = []
    for colour in colours[: draw.whole(*collection.solids)]:
        name = draw.pick(names)
        skin = _paint(draw, COLOURS[colour])
        for _ in range(12):  # attempts: then the room counts as full
            solid = _placed(draw, KINDS[name], f"{colour} {name}", skin, room, solids)
            if solid and all(_apart(solid, other) for other in solids):
                solids.append(solid)
                break
    return solids


def _lamp(draw: Draw, room: tuple) -> tuple[float, float, float, float]:
    """(x, y, z, power) of a lamp 15 cm under the ceiling."""
    width, height, depth = room
    x, z = draw.between(-0.4, 0.4) * width, draw.between(-0.4, 0.4) * depth
    return x, 0.15 - height, z, draw.between(0.7, 1.0)


def _placed(
    draw: Draw, kind: Kind, name: str, skin: Skin, room: tuple, solids: list[Solid]
) -> Solid | None:
    """A solid of this kind, not yet checked against its neighbours; None where it cannot go."""
    w, h, d = size = _size(draw, kind)
    bottom = draw.between(*kind.bottom)
    # by the shorter wall, since it is not known yet at which one
    if bottom + h > room[1] - 0.05 or max(w, d) > min(room[0], room[2]) - 0.2:
        return None
    below = [other for other in solids if _carries(other, size)]
    if kind.place == "loose" and below and draw.unit() < 0.5:
        return _on_top(draw, kind, name, skin, size, draw.pick(below), room)
    if kind.place in ("floor", "loose"):
        reach = math.hypot(w, d) / 2 + 0.02
        x, z = (draw.between(reach - side / 2, side / 2 - reach) for side in (room[0], room[2]))
        yaw = draw.between(0, 180) if kind.shape == "box" else 0.0
        return Solid(kind.shape, name, (x, -h / 2, z), size, yaw, skin)
    along_x, side = draw.unit() < 0.5, draw.pick((-1, 1))
    length, across = (room[0], room[2]) if along_x else (room[2], room[0])
    u = draw.between(w / 2 + 0.05 - length / 2, length / 2 - w / 2 - 0.05)
    v = side * (across - d) / 2
    centre = (u, -bottom - h / 2, v) if along_x else (v, -bottom - h / 2, u)
    return Solid(kind.shape, name, centre, size, 0.0 if along_x else 90.0, skin)


def _on_top(
    draw: Draw, kind: Kind, name: str, skin: Skin, size: tuple, below: Solid, room: tuple
) -> Solid | None:
    """A solid on top of another one, which has room for it; None where the ceiling is too low."""
    top = below.centre[1] - below.size[1] / 2
    if size[1] - top > room[1] - 0.1:
        return None
    free = below.size[0] - math.hypot(size[0], size[2])
    slack = max(0.0, free) / 2 if below.shape == "box" else 0.0
    along, yaw = draw.between(-slack, slack), math.radians(below.yaw_deg)
    x, z = below.centre[0] + along * math.cos(yaw), below.centre[2] - along * math.sin(yaw)
    turn = below.yaw_deg if kind.shape == "box" else 0.0
    if kind.shape == "box" and below.shape != "box":
        turn += draw.between(-15, 15)  # a box on a box stands parallel to it, lest it overhang
    return Solid(kind.shape, name, (x, top - size[1] / 2, z), size, turn, skin)


def _size(draw: Draw, kind: Kind) -> tuple[float, float, float]:
    width, height, depth = (draw.between(*side) for side in (kind.width, kind.height, kind.depth))
    if kind.shape == "ball":
        return width, width, width
    return (width, height, width) if kind.shape == "cylinder" else (width, height, depth)


def _carries(solid: Solid, size: tuple[float, float, float]) -> bool:
    """Whether a solid is low and has room on its top for one of this size."""
    width = max(size[0], size[2]) if solid.shape == "box" else math.hypot(size[0], size[2])
    wide = min(solid.size[0], solid.size[2]) > width
    return solid.shape != "ball" and wide and solid.size[1] < 1.3


def _apart(a: Solid, b: Solid) -> bool:
    """Upright cylinders around the two do not meet, nor do, therefore, the solids."""
    # 1e-6: what stands on another one touches it
    level = abs(a.centre[1] - b.centre[1]) >= (a.size[1] + b.size[1]) / 2 - 1e-6
    between = math.hypot(a.centre[0] - b.centre[0], a.centre[2] - b.centre[2])
    return level or between > _radius(a) + _radius(b)


def _radius(solid: Solid) -> float:
    """Of the upright cylinder around a solid."""
    diagonal = math.hypot(solid.size[0], solid.size[2])
    return diagonal / (2 if solid.shape == "box" else 8**0.5)


def _tint(
    draw: Draw, colour: Sequence[float], low: float, high: float
) -> tuple[float, float, float]:
    """The colour, lighter or darker as a whole, its channels shifted a little."""
    light = draw.between(low, high)
    shifted = (light * channel + draw.between(-0.03, 0.03) for channel in colour)
    return tuple(min(1.0, max(0.0, channel)) for channel in shifted)


def _paint(draw: Draw, colour: Sequence[float]) -> Skin:
    """A solid's skin: plain, striped or chequered, in cells of any size; a distractor, no cue."""
    base, phase = _tint(draw, colour, 0.85, 1.1), (draw.unit(), draw.unit(), draw.unit())
    frequency = tuple(1 / draw.between(0.05, 0.4) for _ in range(3))
    # plain twice: half of all solids
    style = draw.pick(("plain", "plain", "stripes", "chequers"))
    if style == "plain":
        return Skin(base)
    if style == "stripes":
        frequency, phase = (0.0, frequency[1], 0.0), (0.5, phase[1], 0.5)
    return Skin(base, _tint(draw, colour, 0.55, 0.8), frequency, phase, parity=1.0)


_FLOORING = (0.78, 0.72, 0.62), (0.62, 0.44, 0.28), (0.55, 0.57, 0.60), (0.66, 0.70, 0.62)


def _floor(draw: Draw, pattern: str) -> Skin:
    """Tiles and planks come in METRIC sizes; a carpet's chequers have any size, to distract."""
    colour = draw.pick(_FLOORING)
    base, other = _tint(draw, colour, 0.8, 1.1), _tint(draw, colour, 0.4, 0.7)
    phase = (draw.unit(), 0.5, draw.unit())
    if pattern == "plain":
        return Skin(base)
    if pattern == "planks":
        across, along = 1 / METRIC["planks"], 1 / (6 * METRIC["planks"])
        frequency = (across, 0.0, along) if draw.unit() < 0.5 else (along, 0.0, across)
        return Skin(base, other, frequency, phase, variation=0.7)
    cell = METRIC["tiles"] if pattern == "tiles" else draw.between(0.15, 1.2)
    frequency = (1 / cell, 0.0, 1 / cell)
    if pattern == "tiles" and draw.unit() < 0.5:
        return Skin(base, other, frequency, phase, line=0.06, variation=0.3)
    return Skin(base, other, frequency, phase, parity=0.8, variation=0.2)


def _ceiling(draw: Draw) -> Skin:
    base = _tint(draw, (0.92, 0.92, 0.90), 0.85, 1.0)
    other = _tint(draw, base, 0.8, 0.9)
    frequency = (1 / METRIC["ceiling"], 0.0, 1 / METRIC["ceiling"])
    return Skin(base, other, frequency, (draw.unit(), 0.5, draw.unit()), line=0.05)


def _wall(draw: Draw, pattern: str) -> Skin:
    """Panels and bands come in METRIC sizes; patches have any size and are a distractor."""
    colour = [draw.between(0.6, 0.95) for _ in range(3)]
    base, other = _tint(draw, colour, 0.9, 1.05), _tint(draw, colour, 0.6, 0.8)
    x, y, z = (draw.unit() for _ in range(3))
    if pattern == "plain":
        return Skin(base)
    if pattern == "panels":
        frequency = (1 / METRIC["panels"], 0.0, 1 / METRIC["panels"])
        return Skin(base, other, frequency, (x, 0.5, z), line=0.05)
    if pattern == "bands":
        return Skin(base, other, (0.0, 1 / METRIC["bands"], 0.0), (0.5, y, 0.5), parity=0.8)
    cell = draw.between(0.1, 0.8)
    return Skin(base, other, (1 / cell,) * 3, (x, y, z), variation=0.8)
