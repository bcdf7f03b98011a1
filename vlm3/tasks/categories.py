"""The categories of SpatialRGPT-Bench (Cheng et al. 2024): what answers each of them has, and when
one is right."""

import math
from typing import NamedTuple

from vlm3.tasks.english import WHOLE, Hour, Value

OPPOSITES = {
    "left": "right",
    "above": "below",
    "behind": "front",
    "big": "small",
    "tall": "short",
    "wide": "thin",
}
POLES = {
    word: (pole, sign)
    for pole, other in OPPOSITES.items()
    for word, sign in ((pole, 1), (other, -1))
}
BUCKETS = {
    "left": "left_right",
    "above": "below_above",
    "behind": "behind_front",
    "big": "big_small",
    "tall": "tall_short",
    "wide": "wide_thin",
}
LENGTHS = ("distance", "horizontal_distance", "vertical_distance", "width", "height")


class Truth(NamedTuple):
    """The value behind an answer: bool, "first" or "second", metres, or an hour, by its category.

    category: as in SpatialRGPT-Bench: "left_predicate" and "left_choice" (and so on for twelve
    relations), "distance_data" (and four more lengths), "direction". names: what the two objects
    are called, if known.
    """

    category: str
    value: Value
    names: tuple[str, ...] = ()


def kind_of(category: str) -> str:
    """statement, choice, length or clock; ValueError for a category that SpatialRGPT-Bench and this
    book lack."""
    stem, _, suffix = category.rpartition("_") if isinstance(category, str) else ("", "", "")
    kinds = {
        "predicate": ("statement", POLES),
        "choice": ("choice", POLES),
        "data": ("length", LENGTHS),
    }
    kind, known = kinds.get(suffix, ("clock", ("",)) if category == "direction" else ("", ()))
    if stem not in known:
        raise ValueError(
            f"no category {category!r}: it is such as left_predicate, tall_choice, width_data, "
            "direction"
        )
    return kind


def checked(truth: Truth, stated: object) -> Truth:
    """The truth with the types that a file may have taken from it; ValueError, quoting stated, if
    it is none."""
    value = truth.value
    if kind_of(truth.category) == "clock" and type(value) is int and 1 <= value <= 12:
        value = Hour(value)
    if not fits(value, truth.category):
        raise ValueError(f"{stated!r} states no value of category {truth.category!r}")
    return Truth(truth.category, value, tuple(truth.names))


def is_choice(truth: Truth) -> bool:
    """Whether a stated truth is one of the words of a choice, and no sentence to be read."""
    return kind_of(truth.category) == "choice" and truth.value in WHOLE


def bucket_of(category: str) -> str:
    kind, stem = kind_of(category), category.rpartition("_")[0]
    return BUCKETS[POLES[stem][0]] if kind in ("statement", "choice") else stem or category


def fits(value: Value | None, category: str) -> bool:
    kind = kind_of(category)
    if kind == "statement":
        return isinstance(value, bool)
    if kind == "choice":
        return value in ("first", "second")
    if kind == "clock":
        return isinstance(value, Hour)
    number = isinstance(value, (int, float)) and not isinstance(value, (bool, Hour))
    return number and 0 < value < math.inf


def right(value: Value | None, truth: Truth) -> bool:
    if not fits(value, truth.category):
        return False
    kind = kind_of(truth.category)
    if kind == "length":  # both ends count, whatever the last bit of a product says
        return 0.75 - 1e-9 <= value / truth.value <= 1.25 + 1e-9
    return error_of(value, truth) <= 1 if kind == "clock" else value == truth.value


def error_of(value: float, truth: Truth) -> float:
    """Relative error of a length, or hours between two directions on the circle."""
    gap = abs(value - truth.value)
    return min(gap, 12 - gap) if truth.category == "direction" else gap / truth.value
