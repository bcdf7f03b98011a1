"""A question about views, drawn with what several answered to it."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vlm3.pages import figures
from vlm3.pages.palette import BLUE, TRUTH, looks
from vlm3.tasks.task import Task
from vlm3.views import QA, Box, View

WIDTH = 90  # letters of a line
LABEL = {"boxstyle": "square,pad=0.2", "fc": "white", "ec": "none", "alpha": 0.9}


def drawn(
    views: Sequence[View], task: Task, qa: QA, said: Mapping[str, tuple[Any, str]], title: str = ""
) -> Figure:
    """The views with what the question names; below them the question, the truth and each answer.

    said: by who said it, the value and the text. Answers that are places in a second view are
    marked there, and the truth beside them.
    """
    names = [f"image {k}" for k in range(1, len(views) + 1)] if len(views) > 1 else [""]
    axes = figures.to_scale(views, names, width=8 if len(views) > 1 else 5)
    _named(axes[0], views[0], task, qa)
    truth = task.value(task.truth(qa))
    if len(views) > 1 and hasattr(task, "place"):
        _places(axes[1], views[1], task, truth, said)
    lines = [*textwrap.wrap(qa.question, WIDTH), f"truth: {task.shown(truth)}"]
    lines += [f"{name}: {_told(task, *each)}" for name, each in said.items()]
    figure = axes[0].figure
    figure.suptitle(title, fontsize=9)
    figure.supxlabel("\n".join(lines), x=0.02, ha="left", fontsize=8)
    return figure


def _told(task: Task, value: Any, text: str) -> str:
    short = textwrap.shorten(text, WIDTH)
    return f"nothing that can be read: {short!r}" if value is None else task.shown(value) or short


def _named(ax: Axes, view: View, task: Task, qa: QA) -> None:
    """The pixels or boxes that a question names, in pixels of the view."""
    for number, about in enumerate(qa.about, 1):
        sides = np.tile(view.size, len(about) // 2)
        place = (np.array(about) + 0.5) / task.templates["scale"] * sides
        if task.subject == "pixels":
            figures.mark(ax, tuple(place), "", BLUE)
        elif task.subject == "boxes":
            low, high = place[:2], np.minimum(np.maximum(place[2:], place[:2] + 1), view.size)
            box = Box(*low, *high)
            figures.outline(ax, [box])
            ax.text(box.xmin, box.ymin, number, fontsize=8, va="bottom", bbox=LABEL)


def _places(
    ax: Axes, view: View, task: Task, truth: Any, said: Mapping[str, tuple[Any, str]]
) -> None:
    figures.mark(ax, _inside(task.place(truth, view.size), view), "truth", TRUTH)
    known = {name: value for name, (value, _) in said.items() if value is not None}
    for k, ((name, value), look) in enumerate(looks(known.items())):
        place = _inside(task.place(value, view.size), view)
        # Away from the borders, and not on each other.
        aside = -10 - 6 * len(name) if place[0] > view.size[0] / 2 else 10
        figures.mark(ax, place, name, look.color, (aside, -14 + 12 * (k % 3)))


def _inside(place: np.ndarray, view: View) -> tuple[float, float]:
    """At the border, where it lies outside."""
    return tuple(np.clip(place, 0, view.size))
