"""What people type: pixels and boxes as numbers."""

import math
from collections.abc import Sequence


def numbers(words: str, form: str) -> tuple[float, ...]:
    """ "300,200" as numbers. form: such as "u,v", says how many. ValueError for anything else."""
    try:
        found = tuple(map(float, words.split(",")))
    except ValueError:
        found = ()
    if len(found) != form.count(",") + 1 or not all(map(math.isfinite, found)):
        raise ValueError(f"{words!r} is not {form} in pixels")
    return found


def boxes(words: Sequence[str]) -> tuple[tuple[float, ...], ...]:
    """Each "xmin,ymin,xmax,ymax" as numbers."""
    return tuple(numbers(each, "xmin,ymin,xmax,ymax") for each in words)
