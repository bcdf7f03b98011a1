"""Questions to which several gave answers that lie furthest apart, and furthest from the truth."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

from vlm3.scoring.collapse import spread
from vlm3.scoring.compare import Folder, alike
from vlm3.tasks.english import Hour
from vlm3.tasks.task import Task

MOST = 3.0  # spreads of the truth: what is wrong by more is no more interesting


class Disagreement(NamedTuple):
    """A question, by its item and its place there, what each said, by the name of the folder, and
    how far that is apart, in spreads of the truth."""

    item: int
    place: int
    said: Mapping[str, tuple[Any, str]]  # value and text
    apart: float


def voices(group: Sequence[Folder]) -> list[Folder]:
    """Whose answers are looked at: those who look and were asked the same as the first of them; of
    a group in which nobody looks, all of these."""
    looking = [folder for folder in group if not folder.blind] or list(group)
    return [folder for folder in looking if alike(folder.questions, looking[0].questions)]


def largest(found: Sequence[Folder], n: int) -> list[Disagreement]:
    """Up to n of `voices`, the largest first and one of each item, so that they show different
    views."""
    scales, by_item = _scales(found[0]), {}
    for item, asked in zip(found[0].items, found[0].records, strict=True):
        for place, answer in enumerate(asked["answers"]):
            pairs = {folder.name: folder.items[item][place] for folder in found}
            apart = _apart(found[0].task, list(pairs.values()), scales[answer["kind"]])
            if item not in by_item or apart > by_item[item][0]:
                by_item[item] = apart, place
    ranked = sorted(by_item, key=lambda item: -by_item[item][0])[:n]
    return [_disagreement(found, item, *by_item[item]) for item in ranked]


def _disagreement(found: Sequence[Folder], item: int, apart: float, place: int) -> Disagreement:
    said = {}
    for folder in found:
        (answers,) = (r["answers"] for r in folder.records if r["item"] == item)
        said[folder.name] = folder.items[item][place][0], answers[place]["text"]
    return Disagreement(item, place, said, apart)


def _scales(folder: Folder) -> dict[str, float]:
    """By kind of question: the standard deviation of the truths, 1 of words."""
    truths = defaultdict(list)
    for asked, pairs in zip(folder.records, folder.items.values(), strict=True):
        for answer, (_, truth) in zip(asked["answers"], pairs, strict=True):
            truths[answer["kind"]].append(folder.task.value(truth))
    found = {kind: spread(folder.task, values) for kind, values in truths.items()}
    return {kind: each if each > 0 else 1.0 for kind, each in found.items()}


def _apart(task: Task, pairs: Sequence[tuple], scale: float) -> float:
    """The mean distance of answers from each other, and that from the truth, added."""
    values, truth = [value for value, _ in pairs], task.value(pairs[0][1])
    each_other = [_distance(task, a, b, scale) for a, b in combinations(values, 2)]
    wrong = [_distance(task, value, truth, scale) for value in values]
    return float(np.mean(each_other or [0.0]) + np.mean(wrong))


def _distance(task: Task, a: Any, b: Any, scale: float) -> float:
    numbers = [None if value is None else task.numbers(value) for value in (a, b)]
    if None in numbers or len(numbers[0]) != len(numbers[1]):
        return float(a != b)
    off = float(np.linalg.norm(np.subtract(*numbers)))
    off = min(off, 12 - off) if isinstance(a, Hour) and isinstance(b, Hour) else off
    return min(off / scale, MOST)
