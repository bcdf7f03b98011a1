"""How sure a score is: intervals over the scenes of an evaluation, from its predictions alone.

Scenes are drawn again, with replacement, and all questions of a scene come along: they share its
light, its furniture and its luck. Where nobody says what the scenes are, each item is one. Two
models that were asked the same are compared on the same draws, so that what is hard for both
cancels out.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vlm3.scoring.evaluate import items, scenes, task_of
from vlm3.tasks.task import Task

Items = Mapping[int, Sequence[tuple]]  # by item: (value, truth) of its questions
SLOW = 200  # resamples of a score that has to be computed anew for each of them


class Interval(NamedTuple):
    """A value, and between what limits 95 per cent of its resamples lie."""

    value: float
    low: float
    high: float


def interval(out: str | Path, score: str = "", n: int = 1000, seed: int = 0) -> Interval:
    """A score of a folder of predictions, by default its task's headline.

    n: resamples, at most 200 where a score is no mean over questions or items. ValueError for a
    score that the task does not give.
    """
    task, found = task_of(out), items(out)
    return spanned(*resampled(task, found, score or task.headline, draws(scenes(out), n, seed)))


def difference(
    out_a: str | Path, out_b: str | Path, score: str = "", n: int = 1000, seed: int = 0
) -> Interval:
    """The score of one folder of predictions minus that of another, on the same draws of scenes.

    ValueError where they are not about the same items of the same task.
    """
    (task, a), (other, b) = ((task_of(out), items(out)) for out in (out_a, out_b))
    if type(task) is not type(other) or a.keys() != b.keys():
        raise ValueError(f"{out_a} and {out_b} are not about the same items of the same task")
    # Of two folders, the older one may not know the scenes.
    drawn = draws(min(scenes(out_a), scenes(out_b), key=np.max), n, seed)
    (whole_a, many_a), (whole_b, many_b) = (
        resampled(t, found, score or task.headline, drawn) for t, found in ((task, a), (other, b))
    )
    return spanned(whole_a - whole_b, many_a[: len(many_b)] - many_b[: len(many_a)])


def draws(scenes: np.ndarray, n: int, seed: int) -> np.ndarray:
    """(n, items): how often each item is drawn, as often as its scene is; scenes: (items,), see
    `vlm3.scoring.evaluate.scenes`."""
    if n < 1:
        raise ValueError(f"n must be 1 or more, got {n}")
    size = int(scenes.max()) + 1
    drawn = np.random.default_rng(seed).multinomial(size, np.full(size, 1 / size), n)
    return drawn[:, scenes]


def spanned(whole: float, many: np.ndarray) -> Interval:
    """A score with the limits of its resamples, NaN where none has a value."""
    low, high = np.nanpercentile(many, [2.5, 97.5]) if np.isfinite(many).any() else (np.nan,) * 2
    return Interval(float(whole), float(low), float(high))


def resampled(task: Task, found: Items, name: str, drawn: np.ndarray) -> tuple[float, np.ndarray]:
    """The score of all items, and that of each draw."""
    scores = task.score([pair for pairs in found.values() for pair in pairs])
    if name not in scores:
        raise ValueError(f"no score {name!r}: there are {', '.join(scores)}")
    parts = _parts(task, found, name, scores[name])
    if parts is None:
        return scores[name], np.array([_again(task, found, name, d) for d in drawn[:SLOW]])
    sums, counts = parts
    with np.errstate(invalid="ignore"):
        return scores[name], drawn @ sums / (drawn @ counts)


def _again(task: Task, found: Items, name: str, drawn: np.ndarray) -> float:
    pairs = zip(found.values(), drawn, strict=True)
    return task.score([pair for each, times in pairs for _ in range(times) for pair in each])[name]


def _parts(task: Task, found: Items, name: str, whole: float) -> tuple | None:
    """(items,) sums and counts whose ratio is the score; None where it is no such mean.

    Nearly all scores are means, over questions or over items, of those that have one: which it is
    shows where the mean is the score.
    """
    questions = [[[pair] for pair in pairs] for pairs in found.values()]
    for units in (questions, [[list(pairs)] if pairs else [] for pairs in found.values()]):
        each = [np.array([task.score(unit)[name] for unit in many], float) for many in units]
        sums = np.array([np.nansum(scores) for scores in each])
        counts = np.array([np.isfinite(scores).sum() for scores in each])
        if counts.sum() and np.isclose(sums.sum() / counts.sum(), whole, rtol=1e-9, atol=1e-12):
            return sums, counts
    return None
