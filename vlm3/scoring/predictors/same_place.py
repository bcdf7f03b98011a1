"""The same place: nothing moved from one image to the other."""

from collections.abc import Sequence
from functools import partial

from vlm3.mixture import Source
from vlm3.scoring.blind import demand
from vlm3.scoring.predictors import Predictor
from vlm3.tasks.task import Task
from vlm3.views import Answer, Sample


def predictor(model: str, source: Source) -> Predictor:
    """model: nothing to choose. ValueError for a task that does not ask for matches."""
    demand(source, "same_place", "match" in source.bound.templates, "questions about matches")
    return Predictor(partial(_say, source.bound), source, "the pixel of the question")


def _say(task: Task, samples: Sequence[Sample]) -> list[list[Answer]]:
    form = task.templates["match"]["answer"]
    return [
        [Answer(form.format(match=f"({x:.0f}, {y:.0f})")) for ((x, y),) in abouts]
        for abouts in ([qa.about for qa in sample.qas] for sample in samples)
    ]
