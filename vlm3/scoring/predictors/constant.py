"""What can be said without looking: one answer for each kind of question.

The middle of all true numbers, or the most frequent word, over the first samples that are asked
about: in hindsight, but for no score in particular. What a model has to beat to have seen anything.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial

import numpy as np

from vlm3.mixture import Source
from vlm3.scoring.predictors import Predictor
from vlm3.tasks.task import Task
from vlm3.views import QA, Answer, NothingToAsk, Sample

LOOKED_AT = 300  # samples


def predictor(model: str, source: Source) -> Predictor:
    """model: nothing to choose."""
    asked = defaultdict(list)
    for item in range(min(LOOKED_AT, len(source.items))):
        with suppress(NothingToAsk):
            for qa in source.sample(item, "", np.random.default_rng([0, item])).qas:
                asked[qa.kind].append(qa)
    fixed = {kind: _middle(source.bound, qas) for kind, qas in asked.items()}
    return Predictor(partial(_say, fixed), source, repr(sorted(fixed.items())))


def _say(fixed: Mapping[str, str], samples: Sequence[Sample]) -> list[list[Answer]]:
    return [[Answer(fixed.get(qa.kind, "")) for qa in sample.qas] for sample in samples]


def _middle(task: Task, qas: Sequence[QA]) -> str:
    """The answer whose truth comes nearest to the median of all, number by number; or, of words,
    the most frequent one."""
    truths = [task.numbers(task.truth(qa)) for qa in qas]
    if truths[0] is None:
        return Counter(qa.answer for qa in qas).most_common(1)[0][0]
    # An answer that was given, rather than the median itself: its form is right by construction.
    gaps = np.abs(np.array(truths) - np.median(truths, axis=0)).sum(1)
    return qas[int(gaps.argmin())].answer
