"""How a model came to look: what book/record/learning.py recorded, as pictures and as numbers."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullLocator

from vlm3 import tasks
from vlm3.pages import figures
from vlm3.pages.palette import BLUE, GREY, ORANGE, RED, SERIES, looks
from vlm3.views import View

_FEW = 1, 2, 3, 5, 7  # labels of each power of ten, where there is not room for all
LOOKS = 0.05  # of the loss: so much dearer with other images, and a model owes something to its own


def runs(results: Mapping, kind: str) -> Sequence[Mapping]:
    """The runs that taught "eyes" or "words", in order."""
    return results["eyes"]["runs"] if kind == "eyes" else results["runs"]


def took(results: Mapping, kind: str) -> str:
    """How long these runs were at it, and where, in words."""
    return " and ".join(
        f"{run['seconds']:,.0f} seconds on {run['device']}" for run in runs(results, kind)
    )


def watched(results: Mapping) -> list[dict]:
    """All validations with their images and with others, of the runs and of the stages, by number
    of samples."""
    found = {each["watched"]["samples"]: each["watched"] for each in results["stages"]}
    found |= {each["samples"]: each for each in results["watched"]}
    return [found[samples] for samples in sorted(found)]


def owed(seen: Mapping, task: str) -> float:
    """The part of the loss that other images add."""
    return seen["others"][task] / seen["images"][task] - 1


def begins(seen: Sequence[Mapping], task: str, share: float = LOOKS) -> tuple[int, int] | None:
    """Between which numbers of samples a task begins to look: at the second, and at the validation
    after it, since one may be luck, other images cost more than that share of the loss. None where
    they never do."""
    looked = [owed(each, task) > share for each in seen]
    for n, (now, then) in enumerate(pairwise(looked)):
        if now and then:
            return (seen[n - 1]["samples"] if n else 0), seen[n]["samples"]
    return None


def between(seen: Sequence[Mapping], task: str) -> str:
    """The same in words."""
    if found := begins(seen, task):
        return f"between {found[0]:,} and {found[1]:,} samples"
    return "not at all"


def losses(results: Mapping) -> list[Axes]:
    """A panel for each task: the loss of unseen samples with their images and with others, against
    the samples learned from, and where looking begins."""
    seen, names = watched(results), list(results["blind"])
    axes = plt.subplots(2, 2, figsize=(7.5, 5), sharex=True)[1].flat
    samples = np.array([each["samples"] for each in seen])
    for ax, task in zip(axes, names, strict=True):
        images, others = (np.array([s[of][task] for s in seen]) for of in ("images", "others"))
        ax.plot(samples, others, "s--", color=RED, ms=3, label="about other images")
        ax.plot(samples, images, "o-", color=BLUE, ms=3, label="about their images")
        ax.fill_between(samples, images, others, color=ORANGE, alpha=0.2)
        if found := begins(seen, task):
            ax.axvspan(max(found[0], samples[0] / 2), found[1], color=GREY, alpha=0.2, lw=0)
        for run in results["runs"][1:]:
            ax.axvline(run["from"], color=GREY, ls=":", lw=1)
        # The first losses, of a model that does not know the form yet, would flatten the rest.
        highest = max(others[1:].max(), images[1:].max())
        ax.set(title=task, xscale="log", ylim=(0, 1.1 * highest))
    for ax in axes[2:]:
        ax.set(xlabel="samples")
    for ax in axes[::2]:
        ax.set(ylabel="loss (nats per token)")
    handles = axes[0].get_legend_handles_labels()
    axes[0].figure.legend(*handles, loc="outside upper center", ncols=2)
    return list(axes)


def depth_stages(view: View, stages: Sequence[Mapping]) -> list[Axes]:
    """A view, its true depth, and what was answered at each stage, in the same colours; white where
    no length was."""
    columns = 3
    rows = -(-(len(stages) + 2) // columns)
    high = 0.5 + 2.3 * rows * view.size[1] / view.size[0]
    fig, axes = plt.subplots(rows, columns, figsize=(7.5, high), squeeze=False)
    limits = {"vmin": np.nanmin(view.depth_m), "vmax": np.nanmax(view.depth_m)}
    maps = {"true depth": view.depth_m}
    for each in stages:
        maps[f"{each['samples']:,} samples"] = np.array(each["depth_m"], float)
    figures.show(view.image, axes[0, 0], "image")
    for ax, (title, metres) in zip(axes.flat[1:], maps.items(), strict=False):
        figures.show(np.full_like(view.image, 255), ax, title)
        drawn = figures.depth(ax, metres, view.size, **limits)
    for ax in axes.flat[1 + len(maps) :]:
        ax.set_visible(False)
    fig.colorbar(drawn, ax=axes, label="depth (m)", shrink=0.7)
    return list(axes.flat)


class Course(NamedTuple):
    """How the error of a task falls: at (K,) samples, (K,) errors with their limits, (K, 2), of a
    95 per cent interval; blind: the error of one who does not look; blank: how many of the stages
    came before the task began to look."""

    samples: np.ndarray
    errors: np.ndarray
    limits: np.ndarray
    blind: float
    blank: int

    @property
    def since(self) -> int:
        """Of which stage the slope is taken, the last one with at most half of all samples if the
        task looked by then, or else the one before the last."""
        half = np.flatnonzero(self.samples <= self.samples[-1] / 2)
        return half[-1] if len(half) and half[-1] >= self.blank else len(self.samples) - 2

    @property
    def slope(self) -> float:
        """The power of the samples with which the error last changed."""
        ratios = [np.log(each[-1] / each[self.since]) for each in (self.errors, self.samples)]
        return ratios[0] / ratios[1]

    def after(self, times: float) -> float:
        """The error after so many times the samples, were the slope to stay: an extrapolation."""
        return self.errors[-1] * times**self.slope


def course(results: Mapping, task: str) -> Course:
    """The error is the headline of a task where small is good, and what it lacks to 1 where not."""
    asked = tasks.get(task)

    def error(scores: Mapping | Sequence) -> np.ndarray:
        found = np.array(scores, float)
        return found if asked.lower_is_better else 1 - found

    stages = results["stages"]
    found = begins(watched(results), task)
    blank = [not found or each["samples"] < found[1] for each in stages]
    return Course(
        np.array([each["samples"] for each in stages]),
        error([each["scores"][task].get(asked.headline, np.nan) for each in stages]),
        np.sort(error([each["interval"][task] for each in stages]), axis=1),
        float(error(results["blind"][task]["scores"][asked.headline])),
        sum(blank),
    )


def at_stages(found: Course) -> dict[str, str]:
    """The errors of a course as a part of a line of a table."""
    pairs = zip(found.samples, found.errors, strict=True)
    return {f"{samples:,} samples": f"{error:.3g}" for samples, error in pairs}


def error_of(task: str) -> str:
    """What `course` calls the error of a task."""
    asked = tasks.get(task)
    return f"{asked.headline} (px)" if asked.lower_is_better else f"1 - {asked.headline}"


def courses(results: Mapping) -> list[Axes]:
    """A panel for each task: its error against the samples, both on logarithmic axes, beside one
    who does not look; dotted, what twice the samples would bring."""
    names = list(results["blind"])
    axes = plt.subplots(2, 2, figsize=(7.5, 5), sharex=True)[1].flat
    for ax, task in zip(axes, names, strict=True):
        found = course(results, task)
        whiskers = np.abs(found.limits.T - found.errors)
        ax.axhline(found.blind, color=GREY, ls="--", lw=1, label="without looking")
        look = {"color": BLUE, "ms": 5, "capsize": 3}
        ax.errorbar(found.samples, found.errors, whiskers, fmt="o-", label="this model", **look)
        ahead = found.samples[-1] * np.array([1, 2])
        ax.plot(ahead, [found.errors[-1], found.after(2)], ":", color=RED)
        ax.plot(ahead[1], found.after(2), "D", color=RED, mfc="none", label="twice the samples")
        ax.set(title=task, xscale="log", yscale="log", ylabel=error_of(task))
        low, high = ax.get_ylim()
        ax.yaxis.set_major_locator(LogLocator(subs=range(1, 10) if high < 4 * low else _FEW))
        ax.yaxis.set_major_formatter("{x:g}")
        ax.yaxis.set_minor_locator(NullLocator())
    for ax in axes[2:]:
        ax.set(xlabel="samples")
    handles = axes[0].get_legend_handles_labels()
    axes[0].figure.legend(*handles, loc="outside upper center", ncols=3)
    return list(axes)


def tower(results: Mapping) -> Axes:
    """The losses of the pre-training, each as a share of what it was at first."""
    ax = plt.subplots(figsize=(6.5, 3))[1]
    points = results["eyes"]["training"]
    steps = [each["step"] for each in points]
    for (name, first), look in looks(points[0]["losses"].items(), (*SERIES, GREY)):
        shares = [each["losses"][name] / first for each in points]
        ax.plot(steps, shares, look.ls, color=look.color, lw=1.5, label=name)
    ax.set(xlabel="step", ylabel="loss, first step = 1", ylim=(0, None))
    ax.figure.legend(loc="outside right center")
    return ax
