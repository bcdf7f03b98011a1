"""Score tables as people read them: what `vlm3.scoring.board` found, in words."""

import math
from collections.abc import Callable, Collection, Mapping

from vlm3 import tasks

FEW = 0.05  # share of answers below which a mean over what was answered says nothing
LOW_IS_GOOD = {t.headline for t in map(tasks.get, tasks.NAMES) if t.lower_is_better}
OWN = ("tiny", "mbr:tiny")  # the packaged model, in the decodings that it is asked in
BESIDE = ("shuffled:tiny", "expert", "opencv")
NAMED = 2  # kinds of questions that a cell names


def rows(found: Mapping[str, Mapping], decimals: Mapping[str, int]) -> list[dict[str, str]]:
    """A row of texts for each model, for `vlm3.pages.figures.table`.

    found: a `vlm3.scoring.board.table`, or part of one as recorded; decimals: which scores, in
    their order, and how they are written. Behind the scores stands what each model is above the
    best blind answer, with its interval, and to which questions it says one thing.
    """
    best = {
        score: each["than"]
        for row in found.values()
        for score, each in row.get("above_guessing", {}).items()
    }
    told = []
    for name, row in found.items():
        cells = {"model": name} | {s: _score(row, s, d) for s, d in decimals.items()}
        for score, than in best.items():
            above = row["above_guessing"].get(score)
            cells[f"{score}, better than {than} by"] = _above(above, decimals.get(score, 3))
        told.append(cells | {"answered": f"{row['parsed']:.0%}", "one answer": same(row)})
    return told


def _score(row: Mapping, score: str, decimals: int) -> str:
    if row["parsed"] < FEW and score.endswith(("rel", "deg")):
        return "none"
    return f"{row.get(score, math.nan):.{decimals}f}".replace("nan", "none")


def _above(above: Mapping | None, decimals: int) -> str:
    """Such as "+0.21 (+0.18 to +0.24)"."""
    if above is None or above["by"] != above["by"]:
        return ""
    by, low, high = (f"{above[name]:+.{decimals}f}" for name in ("by", "low", "high"))
    return f"{by} ({low} to {high})"


def same(row: Mapping) -> str:
    """What is said to more than half of the questions of a kind, such as "distance: 0.30 m"."""
    said = [(k, each["most"]) for k, each in row.get("collapse", {}).items() if each["collapsed"]]
    if len(said) > NAMED:
        return f"in {len(said)} kinds"
    return "; ".join(f"{kind}: {most}" for kind, most in said)


def spreads(row: Mapping) -> list[dict[str, str]]:
    """A row for each kind of question whose answers are numbers, or of which most are one: how much
    the answers vary beside the truth, the most frequent one, and how many got it."""
    return [
        {
            "quantity": kind.removesuffix("_data").replace("_", " "),
            "spread of answers": _number(each["spread"]),
            "of the truth": _number(each["spread_of_truth"]),
            "most frequent": each["most"],
            "share": f"{each['share']:.0%}",
            "": "one answer" if each["collapsed"] else "",
        }
        for kind, each in row.get("collapse", {}).items()
    ]


def _number(value: float) -> str:
    return f"{value:.3g}".replace("nan", "")


def aims(
    found: Mapping[str, Mapping[str, Mapping]], wanted: Mapping[tuple[str, str], float]
) -> list[dict[str, str]]:
    """A row for each aim: what it was, what the model reached, and beside it what others do.

    found: by task, a `vlm3.scoring.board.table`; wanted: by task and score.
    """
    rows = []
    for (task, score), aim in wanted.items():
        row = {"task": task, "score": score, "aim": _form(score)(aim)}
        row["met by"] = ", ".join(met(found, task, score, aim)) or "missed"
        rows.append(row | _beside(found[task], score))
    return rows


def on_tests(
    found: Mapping[str, Mapping[str, Mapping[str, Mapping]]], asked: Collection[tuple[str, str]]
) -> list[dict[str, str]]:
    """A row for each score of each test: what the model reached, and beside it what others do.

    found: by the name of the test and by task, a `vlm3.scoring.board.table`; asked: task and score,
    where a test has the task.
    """
    rows = []
    for test, by_task in found.items():
        for task, score in asked:
            if task in by_task:
                row = {"test": test, "task": task, "score": score} | _beside(by_task[task], score)
                above = by_task[task]["tiny"]["above_guessing"][score]
                row["above the best blind by"] = _above(above, 1 if score in LOW_IS_GOOD else 3)
                rows.append(row)
    return rows


def _beside(models: Mapping[str, Mapping], score: str) -> dict[str, str]:
    """The best of those who do not look, the model in its decodings, and others."""
    blind = models["tiny"]["above_guessing"].get(score, {}).get("than")
    row = {"best blind": f"{_told(models, blind, score)} ({blind})" if blind else ""}
    row |= {name: _told(models, name, score) for name in OWN + BESIDE}
    return row | {"lost with other images": _lost(models, score)}


def _told(models: Mapping[str, Mapping], name: str | None, score: str) -> str:
    value = models.get(name, {}).get(score)
    return "" if value is None else _form(score)(value)


def _lost(models: Mapping[str, Mapping], score: str) -> str:
    above = models["tiny"]["above_guessing"].get(score)
    if above is None:
        return ""
    return f"{lost(models, score):.0%}" if above["low"] > 0 else "not above"


def lost(models: Mapping[str, Mapping], score: str) -> float:
    """Of what the packaged model has above guessing, the part that it loses with the images of
    others; more than 1 where it is then worse than who guesses.

    models: a `vlm3.scoring.board.table`.
    """
    tiny, shuffled = (models[name][score] for name in ("tiny", "shuffled:tiny"))
    return (tiny - shuffled) / (
        tiny - models[models["tiny"]["above_guessing"][score]["than"]][score]
    )


def met(found: Mapping[str, Mapping[str, Mapping]], task: str, score: str, aim: float) -> list[str]:
    """The decodings of the packaged model that reach an aim."""
    reached = {name: found[task][name][score] for name in OWN if name in found[task]}
    low = score in LOW_IS_GOOD
    return [name for name, value in reached.items() if (value <= aim if low else value >= aim)]


def unsure(found: Mapping[str, Mapping[str, Mapping]], scores: Mapping[str, str]) -> list[str]:
    """The tasks in which the packaged model is not surely above the best who does not look: the
    interval of the difference has zero in it or lies below.

    found: by task, a `vlm3.scoring.board.table`; scores: which score of each task.
    """
    above = {task: models["tiny"]["above_guessing"][scores[task]] for task, models in found.items()}
    return [task for task, each in above.items() if each["low"] <= 0]


def judged(
    tests: Mapping[str, Mapping[str, Mapping[str, Mapping]]], scores: Mapping[str, str]
) -> tuple[str, str]:
    """In words, in which tasks of which tests the packaged model is surely above the best who does
    not look, and in which it is not: see `unsure`.

    tests: by the name of the test and by task, a `vlm3.scoring.board.table`.
    """
    places = [(test, task) for test, found in tests.items() for task in found]
    below = {(test, task) for test, found in tests.items() for task in unsure(found, scores)}
    above, rest = (
        ", ".join(f"{task} of {test}" for test, task in places if ((test, task) in below) == no)
        for no in (False, True)
    )
    return above or "none", rest or "none"


def ends(
    where: str, found: Mapping[str, Mapping[str, Mapping]], scores: Mapping[str, str]
) -> list[dict[str, str]]:
    """Of one set of scenes a row for the model, one for the best of those who do not look, and one
    for OpenCV; empty where nobody was asked.

    found: by task, a `vlm3.scoring.board.table`; scores: which score of each task.
    """
    rows = {name: {"scenes": where, "model": name} for name in ("tiny", "best blind", "opencv")}
    for task, score in scores.items():
        models = found.get(task, {"tiny": {"above_guessing": {score: {"than": ""}}}})
        blind = models["tiny"]["above_guessing"][score]["than"]
        for row, name in {"tiny": "tiny", "best blind": blind, "opencv": "opencv"}.items():
            rows[row][f"{task}, {score}"] = _told(models, name, score)
    return list(rows.values())


def _form(score: str) -> Callable[[float], str]:
    return f"{{:.{1 if score in LOW_IS_GOOD else 3}f}}".format
