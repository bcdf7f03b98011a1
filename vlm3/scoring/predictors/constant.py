"""What can be said without looking: one answer for each kind of question.

The middle of all true numbers, or the most frequent word, over the first samples that are asked
about: in hindsight, but for no score in particular. What a model has to beat to have seen anything.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from functools import partial

import numpy as np

from vlm3.mixture import Source
from vlm3.qwen.decode import Answer
from vlm3.scoring.predictors import Answerer
from vlm3.views import QA, NothingToAsk, Sample

LOOKED_AT = 300  # samples


def answerer(model: str, source: Source) -> Answerer:
    """model: nothing to choose."""
    answers = defaultdict(list)
    for item in range(min(LOOKED_AT, len(source.items))):
        try:
            sample = source.sample(item, "", np.random.default_rng([0, item]))
        except NothingToAsk:
            continue
        for qa in sample.qas:
            answers[_kind(source.task, qa)].append(qa)
    fixed = {kind: _middle(source, qas) for kind, qas in answers.items()}
    return Answerer(partial(_say, source.task, fixed), source, repr(sorted(fixed.items())))


def _say(task: str, fixed: dict[str, str], samples: Sequence[Sample]) -> list[list[Answer]]:
    return [
        [Answer(fixed.get(_kind(task, qa), ""), (0.0,)) for qa in sample.qas] for sample in samples
    ]


def _kind(task: str, qa: QA) -> str:
    """Questions of one kind have answers of one form."""
    return (
        str(qa.truth[0])
        if task == "objects"
        else "-".join(sorted(qa.truth))
        if task == "pose"
        else task
    )


def _middle(source: Source, qas: list[QA]) -> str:
    """The answer whose truth comes nearest to the median of all, number by number; or the most
    frequent one."""
    truths = [_numbers(source.task, qa.truth) for qa in qas]
    if truths[0] is None:
        return Counter(qa.answer for qa in qas).most_common(1)[0][0]
    gaps = np.abs(np.array(truths) - np.median(truths, axis=0)).sum(1)
    return qas[int(gaps.argmin())].answer


def _numbers(task: str, truth: object) -> list[float] | None:
    """A truth as numbers, None where it is a word."""
    if task == "objects":
        value = truth[1]
        return None if isinstance(value, bool | str) else [float(value)]
    if task == "pose":
        return np.hstack([truth[name] for name in sorted(truth) if name != "pair"]).tolist()
    return np.atleast_1d(truth).tolist()
