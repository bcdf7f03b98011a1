"""Boxes alone: what the numbers of the boxes say about the objects in them.

What is higher up in a picture is mostly farther away, and a wide box holds mostly a wide object.
From training scenes a ridge regression on what the boxes measure in the field of view learns each
relation, each length and both parts of the clock direction.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import partial
from typing import NamedTuple

import numpy as np

from vlm3.mixture import Source
from vlm3.scoring.blind import Blind, Say, demand, directions, lessons
from vlm3.scoring.predictors import Predictor
from vlm3.tasks.categories import POLES, Truth, kind_of
from vlm3.tasks.task import Task
from vlm3.views import QA, Sample

RIDGE = 100.0  # in questions: what it takes to believe that a feature matters as much as it varies
LOWEST = 0.15  # slope below the horizon from which on the foot of a box tells its distance


class Fit(NamedTuple):
    """A linear map of standardised features: middle, scale (F,); weights (F, T); mean (T,)."""

    middle: np.ndarray
    scale: np.ndarray
    weights: np.ndarray
    mean: np.ndarray

    def __call__(self, features: np.ndarray) -> np.ndarray:
        return (features - self.middle) / self.scale @ self.weights + self.mean


def predictor(model: str, source: Source) -> Predictor:
    """model: nothing to choose. ValueError for a task whose questions name no boxes."""
    demand(source, "boxes", source.task == "objects", "questions about objects")
    blind = Blind("boxes", partial(_learned, source.bound), lessons(source))
    return Predictor(blind.predict, source, blind.identity)


def _learned(task: Task, samples: Iterator[Sample]) -> Say:
    told, given = defaultdict(list), defaultdict(dict)
    for sample in samples:
        for qa in sample.qas:
            truth, boxes = task.truth(qa), _boxes(task, qa, sample)
            given[qa.kind].setdefault(truth.value, qa.answer)
            told[_about(qa.kind)].append((features(boxes), _target(truth)))
            if len(boxes) == 2:  # the same fact, told from the other object
                sign = 1 if kind_of(qa.kind) == "length" else -1
                told[_about(qa.kind)].append((features(boxes[::-1]), sign * _target(truth)))
    fits = {about: _fitted(*map(np.array, zip(*each, strict=True))) for about, each in told.items()}
    return partial(_say, task, fits, given)


def _about(category: str) -> str:
    """What is learned as one: left and right, whether stated or chosen."""
    stem = category.rpartition("_")[0]
    return POLES[stem][0] if kind_of(category) in ("statement", "choice") else category


def _boxes(task: Task, qa: QA, sample: Sample) -> np.ndarray:
    """(1 or 2, 4) left, top, right and bottom edges as slopes in the field of view."""
    corners = np.reshape(qa.about, (-1, 2))
    return directions(corners, task.templates["scale"], sample.views[0]).reshape(-1, 4)


def features(boxes: np.ndarray) -> np.ndarray:
    """(F,) what one or two boxes (N, 4) measure, and all products of two such numbers."""
    each = [_measured(*box) for box in boxes]
    numbers = np.concatenate(each)
    if len(each) == 2:
        gap = np.abs(each[1] - each[0])
        apart = np.append(gap[[0, 1, 6, 7]], [np.hypot(*gap[:2]), np.hypot(*gap[6:8])])
        numbers = np.concatenate([numbers, np.log(apart + 0.05)])
    i, j = np.triu_indices(len(numbers))
    return np.concatenate([numbers, numbers[i] * numbers[j]])


def _measured(left: float, top: float, right: float, bottom: float) -> np.ndarray:
    x, y = (left + right) / 2, (top + bottom) / 2
    wide, tall = max(right - left, 1e-3), max(bottom - top, 1e-3)
    away = 1 / max(bottom, LOWEST)  # of what stands on the floor, in heights of the camera
    sizes = np.log([wide, tall, away, wide * away, tall * away])
    return np.array([x, y, bottom, top, *sizes[:2], away, x * away, *sizes[2:]])


def _target(truth: Truth) -> np.ndarray:
    """(T,) what is regressed: 1 or -1, the logarithm of a length, sine and cosine of an hour."""
    match kind_of(truth.category):
        case "length":
            return np.log([truth.value])
        case "clock":
            return np.array([np.sin(truth.value * np.pi / 6), np.cos(truth.value * np.pi / 6)])
    return np.array([_sign(truth.category) * (1 if truth.value in (True, "first") else -1)])


def _sign(category: str) -> int:
    return POLES[category.rpartition("_")[0]][1]


def _fitted(features: np.ndarray, targets: np.ndarray) -> Fit:
    middle, scale, mean = features.mean(0), features.std(0) + 1e-9, targets.mean(0)
    unit = (features - middle) / scale
    inner = unit.T @ unit + RIDGE * np.eye(unit.shape[1])
    return Fit(middle, scale, np.linalg.solve(inner, unit.T @ (targets - mean)), mean)


def _say(task: Task, fits: Mapping[str, Fit], given: Mapping, sample: Sample) -> list[str]:
    texts = []
    for qa in sample.qas:
        fit, answers = fits.get(_about(qa.kind)), given.get(qa.kind)
        found = fit(features(_boxes(task, qa, sample))) if answers else None
        texts.append(_text(qa.kind, found, answers) if answers else "")
    return texts


def _text(category: str, found: np.ndarray, answers: Mapping) -> str:
    """The answer, of those that were given, whose value comes nearest to what was found."""

    def off(value: float | bool | str) -> float:
        return float(np.linalg.norm(_target(Truth(category, value)) - found))

    return answers[min(answers, key=off)]
