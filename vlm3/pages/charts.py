"""Where answers are right and where they are wrong: one function per kind of chart, in the form of
`vlm3.pages.figures`.

Several models are told apart by colour and by shape. NaN stands for no answer and is left out of
every mean.
"""

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from vlm3.pages.palette import BLUE, GREEN, GREY, MODELS, ORANGE, RED, Look, looks
from vlm3.views import Box

_FEW = 5  # values, fewer of which have no mean
_EDGES = (0.25, 0.5, 1, 2, 4)


class Binned(NamedTuple):
    """Means of values over bins: middles (K,) of what was binned, means (K,), standard errors (K,),
    counts (K,)."""

    middles: np.ndarray
    means: np.ndarray
    errors: np.ndarray
    counts: np.ndarray


def binned(x: np.ndarray, values: np.ndarray, edges: Sequence[float]) -> Binned:
    """Values (N,) averaged over bins of x (N,), lower edges included; bins of fewer than 5 values
    are left out."""
    x, values = np.asarray(x, float), np.asarray(values, float)
    known = np.isfinite(x) & np.isfinite(values)
    place = np.searchsorted(edges, x, "right") - 1
    rows = []
    for k in range(len(edges) - 1):
        here = known & (place == k)
        if (n := here.sum()) >= _FEW:
            some = values[here]
            rows.append((np.median(x[here]), some.mean(), some.std() / np.sqrt(n), n))
    return Binned(*np.array(rows, float).reshape(-1, 4).T)


def by_distance(
    truth_m: np.ndarray,
    found: Mapping[str, np.ndarray],
    edges_m: Sequence[float],
    ylabel: str,
    ax: Axes | None = None,
) -> Axes:
    """A score against how far away things are: its mean in each range of distance, with two
    standard errors.

    truth_m: (N,); found: the score of each question, (N,), by model. The grey numbers count the
    questions.
    """
    ax = ax or plt.subplots(figsize=(6.5, 3.2))[1]
    for (name, values), look in looks(found.items(), MODELS):
        _with_errors(ax, binned(truth_m, values, edges_m), name, look)
    words = {"color": GREY, "fontsize": 7.5, "ha": "center", "va": "bottom"}
    counts = np.histogram(truth_m, edges_m)[0]
    for low, high, count in zip(edges_m[:-1], edges_m[1:], counts, strict=True):
        ax.text((low + high) / 2, 1.01, f"{count}", transform=ax.get_xaxis_transform(), **words)
    ax.set(xlabel="true depth (m)", ylabel=ylabel, xlim=(edges_m[0], edges_m[-1]), xticks=edges_m)
    ax.xaxis.set_major_formatter("{x:g}")
    ax.figure.legend(loc="outside lower center", ncols=len(found))
    return ax


def _with_errors(ax: Axes, some: Binned, name: str, look: Look) -> None:
    """Two standard errors: about 19 times in 20, the true mean lies within."""
    ax.errorbar(some.middles, some.means, 2 * some.errors, label=name, **look._asdict())


def by_place(
    uv: np.ndarray,
    size: tuple[float, float],
    values: np.ndarray,
    cells: tuple[int, int] = (6, 4),
    ax: Axes | None = None,
    label: str = "",
    limits: tuple[float, float] | None = None,
) -> Axes:
    """Means of values (N,) over a grid of places in the image, as colours and as numbers; blank
    where there are few.

    uv: (N, 2) places, counted like size, (width, height); cells: columns and rows; limits: of the
    colours.
    """
    ax = ax or plt.subplots(figsize=(5, 3.4))[1]
    place = np.floor(np.asarray(uv, float) / size * cells).astype(int)
    means = np.full(cells[::-1], np.nan)
    for row, column in np.ndindex(*means.shape):
        here = np.asarray(values, float)[(place == (column, row)).all(1)]
        if np.isfinite(here).sum() >= _FEW:
            means[row, column] = np.nanmean(here)
    low, high = limits or (np.nanmin(means), np.nanmax(means))
    drawn = ax.imshow(means, cmap="cividis", vmin=low, vmax=high, aspect=cells[0] / cells[1] * 0.75)
    for (row, column), mean in np.ndenumerate(means):
        if np.isfinite(mean):
            color = "black" if mean > (low + high) / 2 else "white"
            ax.text(column, row, f"{mean:.2f}", ha="center", va="center", color=color, fontsize=8)
    ax.set(xticks=[], yticks=[])
    ax.grid(False)
    ax.figure.colorbar(drawn, ax=ax, label=label, shrink=0.85)
    return ax


def ratios(
    found: Mapping[str, np.ndarray],
    right: tuple[float, float] = (0.8, 1.25),
    ax: Axes | None = None,
) -> Axes:
    """How answers are spread around the truth: (N,) answer / truth by model, on a logarithmic axis.

    right: between these an answer counts as right, drawn as a band. What lies beyond a factor of 4
    is put at the ends.
    """
    ax = ax or plt.subplots(figsize=(6.5, 3))[1]
    ax.axvspan(*right, color=GREEN, alpha=0.15, label="counts as right")
    edges = np.geomspace(_EDGES[0], _EDGES[-1], 33)
    for (name, values), look in looks(found.items(), MODELS):
        values = np.clip(np.asarray(values, float), edges[0] * 1.001, edges[-1] * 0.999)
        shares = 100 * np.histogram(values[np.isfinite(values)], edges)[0] / max(1, len(values))
        ax.stairs(shares, edges, color=look.color, ls=look.ls, lw=2, label=name)
    ax.set(xscale="log", xlim=(edges[0], edges[-1]))
    ax.set(xlabel="answer / truth", ylabel="share of the questions (%)")
    _plain(ax, _EDGES)
    ax.figure.legend(loc="outside lower center", ncols=len(found) + 1)
    return ax


def _plain(ax: Axes, ticks: Sequence[float], which: str = "x") -> None:
    """A logarithmic axis that is labelled like any other."""
    for name in which:
        axis = getattr(ax, f"{name}axis")
        axis.set_major_locator(FixedLocator(ticks))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter("{x:g}")


def against(
    truth: np.ndarray,
    found: Mapping[str, np.ndarray],
    right: tuple[float, float] = (0.8, 1.25),
    unit: str = "m",
    ax: Axes | None = None,
) -> Axes:
    """Answers (N,) against the truth (N,), a point each, on logarithmic axes; in the band an answer
    counts as right."""
    ax = ax or plt.subplots(figsize=(4.6, 4.2))[1]
    known = np.concatenate([np.asarray(values, float) for values in (truth, *found.values())])
    known = known[known > 0]  # the others have no place on a logarithmic axis
    ends = np.array([known.min() / 1.15, known.max() * 1.15])
    band = {"color": GREEN, "alpha": 0.15, "label": "counts as right"}
    ax.fill_between(ends, ends * right[0], ends * right[1], **band)
    ax.plot(ends, ends, color=GREEN, lw=1)
    for (name, values), look in looks(found.items(), MODELS):
        ax.plot(truth, values, look.marker, color=look.color, ms=4, mew=0, alpha=0.5)
        # Many points are pale, one in the legend must not be.
        ax.plot([], [], look.marker, color=look.color, ms=5, mew=0, label=name)
    ax.set(xscale="log", yscale="log", xlim=ends, ylim=ends)
    ax.set(xlabel=f"truth ({unit})", ylabel=f"answer ({unit})")
    ticks = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50)
    _plain(ax, [tick for tick in ticks if ends[0] <= tick <= ends[1]], "xy")
    ax.figure.legend(loc="outside lower center", ncols=2)
    return ax


def distribution(
    values: np.ndarray,
    probabilities: np.ndarray,
    marks: Mapping[str, float],
    unit: str = "m",
    ax: Axes | None = None,
) -> Axes:
    """A number as a distribution: a bar for each value, and named marks on the axis, such as its
    mean."""
    ax = ax or plt.subplots(figsize=(6.5, 2.8))[1]
    ax.vlines(values, 0, 100 * np.asarray(probabilities), color=BLUE, lw=3)
    top = 100 * np.max(probabilities)
    signs = cycle(zip((ORANGE, RED, GREEN, GREY), "vdo*", strict=True))
    for n, ((name, value), (color, sign)) in enumerate(zip(marks.items(), signs, strict=False)):
        look = {"color": color, "marker": sign, "ls": "", "ms": 8, "mec": "black", "mew": 0.5}
        ax.plot(value, top * (1.1 + 0.1 * n), label=f"{name}, {value:.2f}", **look)
    ax.set(xlabel=f"answer ({unit})", ylabel="probability (%)")
    ax.set_ylim(0, top * (1.15 + 0.1 * len(marks)))
    ax.figure.legend(loc="outside right center", fontsize=8.5)
    return ax


def reliability(
    found: Mapping[str, tuple[np.ndarray, np.ndarray]], bins: int = 8, ax: Axes | None = None
) -> Axes:
    """How often answers are right against how sure they are said to be: on the diagonal, confidence
    is honest.

    found: (said, right) by name, (N,) probabilities and (N,) bool. Each point stands for as many
    answers, with two standard errors; the strokes below are the confidences themselves.
    """
    ax = ax or plt.subplots(figsize=(4.4, 4.2))[1]
    ax.plot([0, 1], [0, 1], color=GREEN, lw=1.5, label="honest")
    for n, ((name, (said, right)), look) in enumerate(looks(found.items(), MODELS)):
        said, right = np.asarray(said, float), np.asarray(right, float)
        edges = np.quantile(said, np.linspace(0, 1, bins + 1))
        edges[-1] += 1e-9  # bins leave out their upper edge, and the surest answer is on the last
        _with_errors(ax, binned(said, right, edges), name, look)
        below = np.full(len(said), -0.03 - 0.03 * n)
        ax.plot(said, below, "|", color=look.color, ms=5, alpha=0.3)
    ax.set(xlabel="said probability of being right", ylabel="share that is right")
    ax.set(xlim=(0, 1), ylim=(-0.03 - 0.03 * len(found), 1), aspect="equal")
    ax.figure.legend(loc="outside lower center", ncols=len(found) + 1)
    return ax


def bars(
    found: Mapping[str, Mapping[str, float]],
    xlabel: str,
    counts: Mapping[str, int] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """A bar for each model in each category, {category: {model: share}}, from 0 to 1.

    counts: questions by category; then the bars carry two standard errors of such a share.
    """
    models = list(dict.fromkeys(model for row in found.values() for model in row))
    ax = ax or plt.subplots(figsize=(6.5, 0.9 + (0.12 + 0.17 * len(models)) * len(found)))[1]
    thick, errors = 0.8 / len(models), None
    for k, (name, look) in enumerate(looks(models, MODELS)):
        shares = np.array([row.get(name, np.nan) for row in found.values()])
        if counts:
            asked = np.array([counts[category] for category in found])
            errors = 2 * np.sqrt(shares * (1 - shares) / np.maximum(asked, 1))
        rows = np.arange(len(found)) + (k - (len(models) - 1) / 2) * thick
        whiskers = {"xerr": errors, "error_kw": {"lw": 1, "ecolor": "black"}}
        ax.barh(rows, shares, thick, color=look.color, label=name, **whiskers)
    ax.set(xlabel=xlabel, xlim=(0, 1), yticks=range(len(found)), yticklabels=list(found))
    ax.invert_yaxis()
    ax.grid(False, axis="y")
    ax.figure.legend(loc="outside upper center", ncols=len(models))
    return ax


def clock(boxes: Sequence[Box], here: int, there: int, ax: Axes | None = None) -> Axes:
    """Objects with known centres on a floor plan, and a clock around one of them with a hand to
    another.

    The camera stands at the bottom and looks up the page, to 12 o'clock. Metres, the camera taken
    to be level.
    """
    ax = ax or plt.subplots(figsize=(4.4, 4.4))[1]
    plan = np.array([(box.centre_m[0], box.centre_m[2]) for box in boxes])
    far = np.linalg.norm(plan[there] - plan[here])
    for hour in range(1, 13):
        way = np.array([np.sin(np.radians(30 * hour)), np.cos(np.radians(30 * hour))])
        words = {"ha": "center", "va": "center", "fontsize": 7, "color": GREY}
        ax.text(*(plan[here] + 0.55 * far * way), f"{hour}", **words)
    ax.add_patch(plt.Circle(plan[here], 0.65 * far, fill=False, ec=GREY))
    ax.annotate("", plan[there], plan[here], arrowprops={"arrowstyle": "->", "color": RED, "lw": 2})
    for k, (box, place) in enumerate(zip(boxes, plan, strict=True)):
        ax.plot(*place, "o", color=RED if k in (here, there) else BLUE, ms=6, mec="white")
        ax.annotate(box.name, place, (5, 4), textcoords="offset points", fontsize=8)
    ax.plot(0, 0, "^", color="black", ms=10)
    ax.annotate("camera", (0, 0), (8, -3), textcoords="offset points", fontsize=8)
    ax.set(aspect="equal", xlabel="x, right (m)", ylabel="z, forward (m)")
    ax.margins(0.12)
    return ax


def hours(found: Mapping[str, np.ndarray], ax: Axes | None = None) -> Axes:
    """How far directions are off: (N,) hours by model, from -6 to 6, as shares around a clock; at
    the top none."""
    ax = ax or plt.subplots(figsize=(4.4, 4), subplot_kw={"projection": "polar"})[1]
    ax.set(theta_zero_location="N", theta_direction=-1)
    ax.bar(0, 1, np.radians(90), color=GREEN, alpha=0.15, label="counts as right")
    around, width, highest = np.radians(30 * np.arange(12)), np.radians(30 * 0.8 / len(found)), 0.0
    for k, ((name, errors), look) in enumerate(looks(found.items(), MODELS)):
        errors = np.asarray(errors, float)
        counts = np.bincount(errors[np.isfinite(errors)].astype(int) % 12, minlength=12)
        shares = counts / max(1, len(errors))  # of all questions, those without an answer too
        places = around + (k - (len(found) - 1) / 2) * width
        ax.bar(places, shares, width, color=look.color, label=name)
        highest = max(highest, shares.max())
    ax.set(xticks=around, ylim=(0, highest * 1.05))
    ax.set_xticklabels(["0 h", *(f"{h - 12 if h > 6 else h:+d}" for h in range(1, 12))])
    ax.yaxis.set_major_locator(MaxNLocator(3))
    ax.set_rlabel_position(100)
    ax.figure.legend(loc="outside lower center", ncols=2)
    return ax
