"""Any network, answering with the most central of its likely answers instead of the likeliest.

Greedy decoding settles a number digit by digit: all of 10 to 19 together may make "1" the first
digit where 9 is the likeliest number, and then 10 is said. `mbr:tiny` follows the likeliest answers
instead (`vlm3.qwen.decode.likely`) and says the one that is nearest to all of them: minimum Bayes
risk decoding (Kumar and Byrne 2004, "Minimum Bayes-Risk Decoding for Statistical Machine
Translation"). Its answers are texts of the network; it takes several times as long.
"""

from collections.abc import Sequence
from functools import partial

import numpy as np

from vlm3.mixture import Source
from vlm3.qwen.decode import likely
from vlm3.qwen.model import VLM
from vlm3.scoring.predictors import Predictor, network
from vlm3.tasks.task import Task
from vlm3.views import QA, Answer, Sample


def predictor(model: str, source: Source, lessons: str = "") -> Predictor:
    """model: as `vlm3.qwen.model.named` takes it, by default tiny; lessons: instead of its own."""
    return of(network.named(model or "tiny", lessons), source)


def of(vlm: VLM, source: Source) -> Predictor:
    """The same of a network in memory."""
    greedy = network.of(vlm, source)
    predict = partial(_answers, vlm, greedy.source.bound, vlm.lesson(source.task).tokens)
    return greedy._replace(predict=predict, identity=f"mbr {greedy.identity}")


def _answers(vlm: VLM, task: Task, longest: int, samples: Sequence[Sample]) -> list[list[Answer]]:
    return [
        [central(task, qa, each) for qa, each in zip(sample.qas, found, strict=True)]
        for sample, found in zip(samples, likely(vlm, samples, longest=longest), strict=True)
    ]


def central(task: Task, qa: QA, answers: Sequence[Answer]) -> Answer:
    """Of several answers to one question the one whose value has the least expected distance to
    those of all.

    answers: best first, with their probabilities. Numbers are apart as far as they differ, several
    of them as vectors do; words and hours are the same or not. Answers that leave out a part of a
    pose do not count beside whole ones. The first answer where none says a value.
    """
    read = [(task.read(qa, answer.text), answer) for answer in answers]
    read = [(value, _numbers(task, value), answer) for value, answer in read if value is not None]
    if not read:
        return answers[0]
    most = max(len(numbers) for _, numbers, _ in read)
    values, numbers, whole = zip(*(each for each in read if len(each[1]) == most), strict=True)
    masses = np.exp([answer.logprob for answer in whole])
    if most:
        apart = np.linalg.norm(np.array(numbers)[:, None] - np.array(numbers), axis=-1)
    else:
        apart = np.array([[float(a != b) for a in values] for b in values])
    return whole[int((apart @ masses).argmin())]


def _numbers(task: Task, value: object) -> Sequence[float]:
    """None of a word, and of an hour, which has neighbours round the clock."""
    return [] if isinstance(value, int) else task.numbers(value) or []
