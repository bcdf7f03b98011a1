"""Colours, and signs beside them, so that nothing is told apart by colour alone."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import cycle
from typing import Any, NamedTuple

# Okabe and Ito's colours for all kinds of colour vision.
BLUE, ORANGE, GREEN, RED, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#6b6b6b"
TRUTH, ANSWER = GREEN, RED

# In which order things take their colours depends on what else the picture shows.
SERIES = BLUE, ORANGE, GREEN, RED
MODELS = BLUE, ORANGE, GREY, GREEN, RED  # beside a green band in which an answer counts as right
ANSWERS = ANSWER, BLUE, GREY, ORANGE, TRUTH  # beside pictures where answers are red and truth green
ON_PHOTOS = RED, BLUE, GREEN, ORANGE  # most photos hold little red
CAMERAS = BLUE, ANSWER, TRUTH, ORANGE

MARKERS = tuple("os^Dv")
LINES = "-", "--", "-.", ":"


class Look(NamedTuple):
    """How a series is drawn, in the words of matplotlib."""

    color: str
    marker: str
    ls: str


def looks(
    series: Iterable, colors: Sequence[str] = SERIES, lines: Sequence[str] = LINES
) -> Iterator[tuple[Any, Look]]:
    """Each of some series with a look of its own; where they outnumber the colours, those come
    again."""
    return zip(series, map(Look, cycle(colors), cycle(MARKERS), cycle(lines)), strict=False)
