"""How the terminal shows answers: as lines for people, and drawn on the photos."""

import textwrap
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from vlm3.tasks.task import Task
from vlm3.views import View

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def aligned(rows: Iterable[Sequence[str]]) -> list[str]:
    """Rows of words as lines whose columns stand below each other."""
    rows = [[textwrap.shorten(word, 160) for word in row] for row in rows]  # models say anything
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(f"{word:{width}}" for word, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def markdown(rows: Iterable[Sequence[str]]) -> list[str]:
    """A head and rows as a table of Markdown."""
    head, *rest = ([word.replace("|", "\\|") for word in row] for row in rows)
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rest)]


def value(task: Task, found: Any) -> str:
    """What an answer comes to."""
    return "-" if found is None else task.shown(found) or "-"


def unit(found: Any) -> str | None:
    """Of a value about objects."""
    from vlm3.tasks.english import Hour  # its patterns take a while to compile

    return "o'clock" if isinstance(found, Hour) else "m" if isinstance(found, float) else None


def depths(answers: Sequence[dict]) -> list[str]:
    """A line for each pixel, below a head."""
    rows = [("pixel", "depth", "sure", "median", "in words")]
    for a in answers:
        sure = "-" if a["sure"] is None else f"{100 * a['sure']:.0f} %"
        metres = [f"{a[name]:.2f} m" if a[name] else "-" for name in ("depth_m", "median_m")]
        rows.append((_point(a["pixel"]), metres[0], sure, metres[1], a["text"]))
    return aligned(rows)


def matches(answers: Sequence[dict]) -> list[str]:
    """A line for each pixel, below a head."""
    rows = [(_point(a["pixel"]), _point(a["match"]), a["text"]) for a in answers]
    return aligned([("pixel", "match", "in words"), *rows])


def _point(uv: Sequence[float] | None) -> str:
    return f"({uv[0]:.5g}, {uv[1]:.5g})" if uv else "-"


def draw_depth(
    view: View, answers: Sequence[dict], metres: np.ndarray | None, stride: int
) -> "Figure":
    """The photo, or a map of squares of `stride` pixels, with the depth of each pixel beside it."""
    from vlm3.pages import figures

    ax = figures.show(view.image) if metres is None else _draw_map(view, metres, stride)
    for a in answers:
        figures.mark(ax, a["pixel"], f"{a['depth_m']:.2f} m" if a["depth_m"] else "-")
    return ax.figure


def _draw_map(view: View, metres: np.ndarray, stride: int):
    from vlm3.pages import figures

    squares = metres.repeat(stride, 0).repeat(stride, 1)
    known = np.full(view.image.shape[:2], np.nan, np.float32)
    known[: squares.shape[0], : squares.shape[1]] = squares
    return figures.depth_map(View(view.image, view.camera, known))


def draw_matches(views: Sequence[View], answers: Sequence[dict]) -> "Figure":
    """Both photos, and lines from pixels to their matches."""
    from vlm3.pages import pairs

    known = [a for a in answers if a["match"]]
    uv1, uv2 = (np.reshape([a[end] for a in known], (-1, 2)) for end in ("pixel", "match"))
    return pairs.joined(views, uv1, uv2).figure


def draw_lines(views: Sequence[View], lines: Sequence[str]) -> "Figure":
    """The photos side by side, and lines of text above the last one."""
    from vlm3.pages import figures

    names = [f"camera {number}" for number in range(1, len(views) + 1)]
    titles = [*names[:-1], "\n".join([names[-1], *lines])]
    return figures.to_scale(views, titles, width=10)[0].figure


def draw_objects(view: View, told: Sequence[tuple[str, str]]) -> "Figure":
    """The photo with numbered boxes, and below it (answer, question) line by line."""
    from vlm3.pages import figures

    ax = figures.boxes(view, [str(n) for n in range(1, len(view.boxes) + 1)])
    lines = [textwrap.fill(f"{a}: {q}", 90, subsequent_indent="   ") for a, q in told]
    ax.set_xlabel("\n".join(lines), loc="left", fontsize=8)
    return ax.figure
