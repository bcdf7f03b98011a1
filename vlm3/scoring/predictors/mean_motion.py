"""The usual motion: all pairs of cameras stand to each other as training pairs mostly do.

Angle and distance are medians. Rotation and direction are those of the training pair whose motion,
said of all the others, scores best: a mean of directions that point anywhere is nobody's.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import numpy as np

from vlm3.mixture import Source
from vlm3.scoring.blind import Blind, Say, demand, lessons, middle
from vlm3.scoring.predictors import Predictor
from vlm3.tasks.task import Task
from vlm3.views import QA, Sample

TRIED, AGAINST = 40, 600  # training pairs, and how many others each is held against
SCORED = ("rotation", "direction")  # what the headline is made of


def predictor(model: str, source: Source) -> Predictor:
    """model: nothing to choose. ValueError for another task than pose."""
    demand(source, "mean_motion", source.task == "pose", "questions about poses")
    blind = Blind("mean_motion", partial(_learned, source.bound), lessons(source))
    return Predictor(blind.predict, source, blind.identity)


def _learned(task: Task, samples: Iterator[Sample]) -> Say:
    motions, kinds = [sample.qas for sample in samples], defaultdict(list)
    for qa in sum(motions, ()):
        kinds[qa.kind].append(qa)
    said = {kind: middle(task, qas) for kind, qas in kinds.items()}
    best = max(motions[:TRIED], key=partial(_worth, task, motions[-AGAINST:]))
    return partial(_say, said | {qa.kind: qa.answer for qa in best if qa.kind in SCORED})


def _worth(task: Task, motions: Sequence[Sequence[QA]], motion: Sequence[QA]) -> float:
    said = {qa.kind: task.read(qa, qa.answer) for qa in motion}
    pairs = [(said.get(qa.kind), task.truth(qa)) for qas in motions for qa in qas]
    return float(np.nan_to_num(task.score(pairs)[task.headline], nan=-1))


def _say(said: Mapping[str, str], sample: Sample) -> list[str]:
    return [said.get(qa.kind, "") for qa in sample.qas]
