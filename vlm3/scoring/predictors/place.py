"""Place alone: what is usual where a question points, in the field of view.

Floors are low in a picture and near, walls are in the middle and far: the median of the true
answers about pixels of training scenes that lay in about the same direction from the camera.
"""

from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import numpy as np

from vlm3.mixture import Source
from vlm3.scoring.blind import Blind, Say, demand, directions, lessons, middle
from vlm3.scoring.predictors import Predictor
from vlm3.tasks.task import Task
from vlm3.views import QA, Sample

NEIGHBOURS, SHARE = 100, 20  # questions in the nearest directions, at most one in so many of all


class Asked(NamedTuple):
    """rays: (N, 2) directions; qas: the N questions about them, of one kind."""

    rays: np.ndarray
    qas: list[QA]


def predictor(model: str, source: Source) -> Predictor:
    """model: nothing to choose. ValueError for a task whose questions name no pixel."""
    demand(source, "place", source.bound.subject == "pixels", "questions about pixels")
    blind = Blind("place", partial(_learned, source.bound), lessons(source))
    return Predictor(blind.predict, source, blind.identity)


def _learned(task: Task, samples: Iterator[Sample]) -> Say:
    places, qas = defaultdict(list), defaultdict(list)
    for sample in samples:
        for qa, ray in zip(sample.qas, _rays(task, sample), strict=True):
            places[qa.kind].append(ray)
            qas[qa.kind].append(qa)
    known = {kind: Asked(np.array(places[kind]), qas[kind]) for kind in qas}
    return partial(_say, task, known)


def _rays(task: Task, sample: Sample) -> np.ndarray:
    places = [qa.about[0] for qa in sample.qas]
    return directions(places, task.templates["scale"], sample.views[0])


def _say(task: Task, known: dict[str, Asked], sample: Sample) -> list[str]:
    texts = []
    for qa, ray in zip(sample.qas, _rays(task, sample), strict=True):
        asked = known.get(qa.kind)
        if asked is None:
            texts.append("")
            continue
        off = np.linalg.norm(asked.rays - ray, axis=1)
        count = max(1, min(NEIGHBOURS, len(off) // SHARE))
        near = np.argsort(off, kind="stable")[:count]
        texts.append(middle(task, [asked.qas[i] for i in near]))
    return texts
