"""What readers look at where two views are compared: matches, their errors, and how two cameras
stand.

Truth is green and a ring or a full line, an answer is red and a cross or a dashed line: two signs
each, for all kinds of colour vision.
"""

from collections.abc import Mapping, Sequence
from itertools import cycle

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from vlm3.geometry import Camera, rays, transform
from vlm3.pages.figures import BLUE, GREEN, GREY, ORANGE, RED, show
from vlm3.tasks.pose import auc
from vlm3.views import View

TRUTH, ANSWER = GREEN, RED
_SERIES = tuple(zip((RED, BLUE, GREY, ORANGE, GREEN), ("-", "--", ":", "-.", "-"), strict=True))
Place = tuple[float, float]


def matches(
    views: Sequence[View],
    uv1: np.ndarray,
    uv2: Sequence[Place | None],
    truth2: np.ndarray | None = None,
) -> list[Axes]:
    """Numbered pixels of view 1, and in view 2 a cross where the answer puts each and a ring where
    it truly is.

    uv1, truth2: (N, 2) pixels of their own view; uv2: the answers, None where there is none. What
    lies outside the image is drawn at its border. A line joins answer and truth; without truths,
    the crosses have the numbers.
    """
    sizes = [view.size[0] / view.size[1] for view in views]  # both as tall as each other
    axes = plt.subplots(1, 2, figsize=(8, 8 / sum(sizes) + 0.3), width_ratios=sizes)[1]
    for view, ax, title in zip(views, axes, ("image 1", "image 2"), strict=True):
        show(view.image, ax, title)
    truths = [None] * len(uv1) if truth2 is None else truth2
    for number, (a, b, t) in enumerate(zip(uv1, uv2, truths, strict=True), 1):
        _dot(axes[0], a, number, "o", BLUE)
        b, t = (None if p is None else np.clip(p, 0, views[1].size) for p in (b, t))
        if b is not None:
            _joined(axes[1], b, b if t is None else t)
            _dot(axes[1], b, number if t is None else "", "x", ANSWER)
        if t is not None:
            _dot(axes[1], t, number, "o", TRUTH)
    return list(axes)


def _joined(ax: Axes, a: np.ndarray, b: np.ndarray) -> None:
    for color, width in (("white", 2.5), (ANSWER, 1)):
        ax.plot(*np.transpose([a, b]), color=color, lw=width)


def _dot(ax: Axes, uv: Place, text: object, marker: str, color: str) -> None:
    """A sign with a white rim, and a number beside it, that stay visible on any photo."""
    ax.plot(*uv, marker, ms=7, mfc="none", mec="white", mew=3.5)
    ax.plot(*uv, marker, ms=7, mfc="none", mec=color, mew=1.6)
    box = {"boxstyle": "round,pad=0.15", "fc": "white", "ec": "none", "alpha": 0.85}
    if text != "":
        ax.annotate(
            str(text), uv, (5, 5), textcoords="offset points", fontsize=7, color="black", bbox=box
        )


def belief(
    view: View, across: np.ndarray, down: np.ndarray, said: Place | None, truth: Place, ax: Axes
) -> Axes:
    """A view with, above it, the probabilities of x and, beside it, those of y; a cross for the
    answer, a ring for the truth.

    across, down: (S,) probabilities of S equal parts of the width and of the height. What lies
    outside the image is drawn at its border.
    """
    show(view.image, ax)
    above, beside = ax.inset_axes((0, 1.03, 1, 0.3)), ax.inset_axes((1.03, 0, 0.25, 1))
    above.stairs(
        across, np.linspace(0, view.size[0], len(across) + 1), fill=True, color=ANSWER, alpha=0.7
    )
    beside.stairs(
        down,
        np.linspace(0, view.size[1], len(down) + 1),
        orientation="horizontal",
        fill=True,
        color=ANSWER,
        alpha=0.7,
    )
    u, v = np.clip(truth, 0, view.size)
    above.axvline(u, color=TRUTH, lw=1.5)
    beside.axhline(v, color=TRUTH, lw=1.5)
    above.set(xlim=(0, view.size[0]), xticks=[], yticks=[])
    beside.set(ylim=(view.size[1], 0), xticks=[], yticks=[])
    _dot(ax, (u, v), "", "o", TRUTH)
    if said is not None:
        _dot(ax, np.clip(said, 0, view.size), "", "x", ANSWER)
    return ax


def error_histogram(
    errors_px: Mapping[str, np.ndarray], width_px: float = 560, ax: Axes | None = None
) -> Axes:
    """Shares of all answers by end-point error, a line for each model; below in pixels, above as
    share of the width.

    errors_px: by name, (N,) pixels of a frame width_px wide, NaN where nothing was answered: that
    share is missing. Errors below the first bin are counted in it.
    """
    ax = ax or plt.subplots(figsize=(7, 3.4))[1]
    edges = np.geomspace(1, 800, 28)
    for (name, errors), (color, style) in zip(errors_px.items(), cycle(_SERIES), strict=False):
        counts, _ = np.histogram(np.maximum(errors, edges[0]), edges)
        ax.stairs(counts / len(errors), edges, color=color, ls=style, lw=1.8, label=name)
    ax.set(
        xscale="log",
        xlabel=f"end-point error (px of a frame {width_px:g} px wide)",
        ylabel="share of answers",
    )
    ax.xaxis.set_major_formatter("{x:g}")
    above = ax.secondary_xaxis(
        "top", functions=(lambda px: px / width_px * 100, lambda part: part * width_px / 100)
    )
    above.set_xlabel("error (% of the width)")
    above.xaxis.set_major_formatter("{x:g}")
    ax.legend(loc="upper left")
    return ax


def recalls(errors: Mapping[str, np.ndarray], most: float, ax: Axes | None = None) -> Axes:
    """The share of all answers whose error is below t, for t up to `most`; NaN and infinite errors
    never are."""
    ax = ax or plt.subplots(figsize=(6.5, 3.2))[1]
    for (name, found), (color, style) in zip(errors.items(), cycle(_SERIES), strict=False):
        ax.plot(
            *_recall(found, most), color=color, ls=style, lw=1.8, label=name, drawstyle="steps-post"
        )
    ax.set(xlim=(0, most), ylim=(0, 1.02), ylabel="share below it")
    ax.legend(loc="upper left")
    return ax


def _recall(errors: np.ndarray, most: float) -> tuple[np.ndarray, np.ndarray]:
    """(t, share of errors up to t) at every step, from 0 to most."""
    found = np.asarray(errors, float)
    steps = np.sort(found[found < most])
    shares = np.arange(1, len(steps) + 1) / len(found)
    return np.r_[0, steps, most], np.r_[0, shares, shares[-1:] if len(steps) else 0]


def areas(errors_deg: np.ndarray, threshold: int, ax: Axes | None = None) -> Axes:
    """Two areas under one recall curve: bars as high as recall is at the end of each degree, and
    the curve itself."""
    ax = ax or plt.subplots(figsize=(5, 3.2))[1]
    counts, edges = np.histogram(
        errors_deg, np.arange(threshold + 1)
    )  # the last bin is closed, as in `auc`
    shares, title = (
        counts.cumsum() / len(errors_deg),
        {b: auc(errors_deg, threshold, b) for b in (True, False)},
    )
    ax.stairs(shares, edges, fill=True, color=BLUE, alpha=0.25, label=f"binned: {title[True]:.3f}")
    t, recall = _recall(errors_deg, threshold)
    ax.fill_between(t, recall, step="post", fc="none", ec=ANSWER, hatch="///", lw=0, alpha=0.6)
    ax.plot(
        t, recall, color=ANSWER, lw=1.8, drawstyle="steps-post", label=f"exact: {title[False]:.3f}"
    )
    ax.set(
        xlim=(0, threshold),
        ylim=(0, None),
        xlabel="error (degrees)",
        ylabel="share of pairs below it",
    )
    ax.legend(loc="upper left")
    return ax


def trend(
    x: np.ndarray, ys: Mapping[str, np.ndarray], bins: int = 6, ax: Axes | None = None
) -> Axes:
    """Median (line) and quartiles (band) of each y, in bins of x that hold equally many points;
    NaNs are left out."""
    ax = ax or plt.subplots(figsize=(6.5, 3.2))[1]
    for (name, y), (color, style) in zip(ys.items(), cycle(_SERIES), strict=False):
        points = np.array([x, y], float)
        points = points[:, np.isfinite(points).all(0)]
        parts = np.array_split(points[:, points[0].argsort(kind="stable")], bins, axis=1)
        middle = [np.median(part[0]) for part in parts]
        low, half, high = np.array([np.percentile(part[1], (25, 50, 75)) for part in parts]).T
        ax.fill_between(middle, low, high, color=color, alpha=0.15, lw=0)
        ax.plot(middle, half, style, marker="o", ms=4, color=color, label=name)
    ax.legend()
    return ax


def floor_plan(
    truth: np.ndarray | None, answer: np.ndarray | None, camera: Camera, ax: Axes | None = None
) -> Axes:
    """Two cameras from above, camera 1 looking up the page: where camera 2 is, and where it is said
    to be.

    truth, answer: 4x4 cam1_from_cam2, None for one that is not known. Wedges show the viewing angle
    of the camera.
    """
    ax = ax or plt.subplots(figsize=(3.2, 3.4))[1]
    known = [pose for pose in (truth, answer) if pose is not None]
    size = 0.5 * max(0.3, *(float(np.linalg.norm(pose[[0, 2], 3])) for pose in known))
    named = {
        "camera 1": (np.eye(4), "black", "-"),
        "truth": (truth, TRUTH, "-"),
        "answer": (answer, ANSWER, "--"),
    }
    for name, (pose, color, style) in named.items():
        if pose is not None:
            ax.plot(*_wedge(pose, camera, size), style, color=color, lw=1.8, label=name)
            ax.plot(*pose[[0, 2], 3], "o", color=color, ms=5)
    ax.set(aspect="equal", xlabel="right (m)", ylabel="forward (m)")
    ax.set_adjustable("datalim")
    return ax


def _wedge(pose: np.ndarray, camera: Camera, size_m: float) -> np.ndarray:
    """(2, 4) x and z of what a camera sees on its middle row, from its centre and back."""
    rim = rays(np.array([[0, camera.cy], [camera.width, camera.cy]]), camera) * size_m
    left, right = transform(pose, rim)[:, [0, 2]]
    apex = pose[[0, 2], 3]
    return np.array([apex, left, right, apex]).T
