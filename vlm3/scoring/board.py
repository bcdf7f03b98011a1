"""The score table of a task: a model beside all that it has to beat, and how sure that is."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import nan
from pathlib import Path

from vlm3.mixture import Source
from vlm3.scoring import bootstrap, evaluate, predictors
from vlm3.scoring.collapse import collapse
from vlm3.scoring.evaluate import Evaluation

BLIND = ("constant", "place", "same_place", "mean_motion", "boxes")
CLASSICAL = ("opencv",)


def models(model: str, source: Source, others: Sequence[str] = ()) -> list[str]:
    """The rows of a table: who answers blindly and classically what this source asks, others, the
    model with shuffled images, the model."""
    return [*_able(BLIND + CLASSICAL, source), *_able(others, source), f"shuffled:{model}", model]


def _able(names: Sequence[str], source: Source) -> list[str]:
    """Those of some predictors that answer what a source asks."""
    return [name for name in names if _answers(name, source)]


def _answers(name: str, source: Source) -> bool:
    try:
        return bool(predictors.get(name, source))
    except ValueError:  # as it says itself
        return False


def ask(
    config: Evaluation, rows: Sequence[str] = (), source: Source | None = None
) -> dict[str, Path]:
    """Evaluate all rows of a table, by default those of `models`; their folders by name.

    config: its model is the one in question, its out the folder of all. What was asked of the same
    model about the same source is not asked again: other weights or lessons have another folder.
    source: made in Python, instead of the one that the configuration names.
    """
    source, outs = source or evaluate.named(config), {}
    for model in rows or models(config.model, source):
        found = predictors.get(model, source, config.lessons)
        told = repr((config.source, source.origin, source.wordings, found.identity, config.seed))
        digest = hashlib.sha256(told.encode()).hexdigest()[:8]
        name = re.sub(r"\W+", "-", f"{config.samples}-{config.task}-{model}").strip("-")
        outs[model] = config.out / f"{name}-{digest}"
        evaluate.evaluate(replace(config, model=model, out=outs[model]), source, found)
    return outs


def table(outs: Mapping[str, Path]) -> dict[str, dict]:
    """By model: its scores, `above_guessing` and `collapse`, from folders of predictions alone.

    above_guessing: of each score of `compared`, than which blind answer, the best one by this very
    score, and by how much the model is better (`by`, more than 0 whichever way the score counts)
    with the limits of a 95 per cent interval over items (`low`, `high`); not of those that are
    blind, and empty without any. collapse: by kind of question, `vlm3.scoring.collapse.Said`, where
    answers are numbers or all the same.
    """
    found = {model: evaluate.score(out) for model, out in outs.items()}
    for model, out in outs.items():
        rivals = {} if model in BLIND else {n: o for n, o in outs.items() if n in BLIND}
        above = {score: _above(out, rivals, found, score) for score in compared(out) if rivals}
        said = {kind: s._asdict() for kind, s in collapse(out).items() if _telling(s)}
        found[model] = found[model] | {"above_guessing": above, "collapse": said}
    return found


def compared(out: Path) -> list[str]:
    """The scores that models are compared by: the task's headline, and further ones."""
    task = evaluate.task_of(out)
    return [task.headline, *task.further]


def _above(out: Path, rivals: Mapping[str, Path], found: Mapping, score: str) -> dict:
    task = evaluate.task_of(out)
    sign = -1 if task.lower_is_better and score == task.headline else 1
    worth = {name: sign * found[name][score] for name in rivals}
    best = max(worth, key=lambda name: -float("inf") if worth[name] != worth[name] else worth[name])
    value, *limits = bootstrap.difference(out, rivals[best], score)
    low, high = sorted(sign * limit for limit in limits) if value == value else (nan, nan)
    return {"than": best, "by": sign * value, "low": low, "high": high}


def _telling(said) -> bool:
    return said.collapsed or said.spread_of_truth == said.spread_of_truth
