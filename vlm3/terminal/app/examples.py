"""Photos for visitors who have none at hand, with something to ask about each."""

from collections.abc import Callable
from typing import NamedTuple

from vlm3.sources import photos
from vlm3.sources.calibrate import Focal
from vlm3.terminal.app.photos import KNOWN, Photo
from vlm3.views import View


class Example(NamedTuple):
    """photos: two of one scene; at, boxes: what to ask of the first, as visitors type it."""

    photos: tuple[Photo, Photo]
    at: str
    boxes: str


def motorcycle() -> Example:
    alt = "a motorcycle in a workshop, shelves behind it, seen from the {}"
    views = photos.motorcycle()[:2]
    names = ["motorcycle_left.png", "motorcycle_right.png"]
    return Example(
        _known(names, views, [alt.format("left"), alt.format("right")]),
        "300, 200",
        "110, 150, 430, 470\n430, 90, 640, 330",
    )


def room() -> Example:
    from vlm3.sources.rooms import Rooms

    views = Rooms("medium", "test")[6]
    alt = "a toy room with a crate, a striped pillar and a ball on a chest"
    boxes = "\n".join(", ".join(f"{side:.0f}" for side in box[:4]) for box in views[0].boxes[:2])
    alts = [alt, f"{alt}, from another place"]
    return Example(_known(["toy room 1", "toy room 2"], views, alts), "80, 60", boxes)


def _known(names: list[str], views: tuple[View, ...], alts: list[str]) -> tuple[Photo, ...]:
    return tuple(
        Photo(n, v, Focal(v.camera.fx, origin=KNOWN), "", a)
        for n, v, a in zip(names, views, alts, strict=True)
    )


EXAMPLES: dict[str, Callable[[], Example]] = {"Motorcycle": motorcycle, "Toy room": room}
