"""Answers that have become one: how much they vary beside the truth, and what is said most.

A network that has not learned to look says what is usual. Its scores may look fair, since what is
usual is often nearly right; that it says the same of everything shows here.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vlm3.scoring import evaluate
from vlm3.tasks.task import Task

HALF = 0.5  # of the questions: who says one thing more often than that has stopped to look


class Said(NamedTuple):
    """What was said to the questions of one kind.

    spread, spread_of_truth: standard deviations, in the units of the task, of several numbers the
    root of their mean square; NaN for words. most: the most frequent answer, in words; share: how
    many of all questions got it; collapsed: whether these are more than half, or, where half of the
    right answers are one (yes), more than half-way from there to all of them.
    """

    questions: int
    spread: float
    spread_of_truth: float
    most: str
    share: float
    collapsed: bool


def collapse(out: str | Path) -> dict[str, Said]:
    """By kind of question, from a folder's predictions."""
    task, kinds = evaluate.task_of(out), defaultdict(list)
    for record, pairs in zip(evaluate.predictions(out), evaluate.items(out).values(), strict=True):
        for answer, (said, truth) in zip(record["answers"], pairs, strict=True):
            kinds[answer["kind"]].append((said, task.value(truth)))
    return {kind: _said(task, pairs) for kind, pairs in sorted(kinds.items())}


def _said(task: Task, pairs: Sequence[tuple[Any, Any]]) -> Said:
    given = [value for value, _ in pairs if value is not None]
    truths = [truth for _, truth in pairs]
    if not given:
        return Said(len(pairs), np.nan, spread(task, truths), "", 0.0, False)
    (most, count), *_ = Counter(map(repr, given)).most_common(1)
    (_, usual), *_ = Counter(map(repr, truths)).most_common(1)
    share, usual = count / len(pairs), usual / len(pairs)
    limit = HALF if usual < HALF else (1 + usual) / 2
    value = next(value for value in given if repr(value) == most)
    spreads = spread(task, given), spread(task, truths)
    # One question, or one that has a single right answer, says nothing.
    collapsed = len(pairs) > 1 and share > limit
    return Said(len(pairs), *spreads, task.shown(value), share, collapsed)


def spread(task: Task, values: Sequence[Any]) -> float:
    """The standard deviation of values, see `Said`; NaN where one of them is a word."""
    numbers = [task.numbers(value) for value in values]
    if any(each is None for each in numbers):
        return float("nan")
    # An answer that states some of the fields only cannot be held against the others.
    length = Counter(map(len, numbers)).most_common(1)[0][0]
    whole = np.array([each for each in numbers if len(each) == length])
    return float(np.sqrt(whole.var(0).mean()))
