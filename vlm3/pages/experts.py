"""Experts beside the model: what was published of each, until somebody measures it here."""

from collections.abc import Mapping
from importlib import import_module

from vlm3 import tasks
from vlm3.scoring import predictors
from vlm3.scoring.experts import Expert

Records = Mapping[str, Mapping[str, Mapping[str, Mapping[str, Mapping]]]]
SAMPLES = 100  # that the command below asks about


def known() -> dict[str, Expert]:
    """All experts that `--model` knows, by name."""
    modules = [import_module(f"vlm3.scoring.predictors.{name}") for name in predictors.NAMES]
    return {m.EXPERT.name: m.EXPERT for m in modules if hasattr(m, "EXPERT")}


def command(expert: Expert) -> str:
    """What measures an expert beside those who never look, and records it."""
    asked = " ".join(expert.weights)
    return (
        f"python book/record/scores.py --model {expert.name} --tasks {asked} "
        f"--samples {SAMPLES} --save book/recorded/experts/{expert.name}.json"
    )


def published(paper: Mapping, records: Records) -> list[dict[str, str]]:
    """A row for each task of each expert of which there is no record: what the paper says of it,
    and on which data sets, and the command that measures it here.

    paper: the results of paper.json; records: by name, the results of what `command` saved.
    """
    return [
        {
            "task": task,
            "expert": name,
            "score": paper[task]["score"],
            "published": _cited(paper[task]["rows"], expert.published.get(task)),
            "measured here by": command(expert),
        }
        for name, expert in known().items()
        for task in expert.weights
        if task not in _latest(records.get(name, {}))
    ]


def _cited(rows: Mapping[str, Mapping], row: str | None) -> str:
    """Such as "RoMa: ETH3D 10.01, DTU 11.84, mean 21.88"."""
    if row is None:
        return "not in the paper's tables"
    told = ", ".join(f"{where} {value}" for where, value in rows[row].items() if value is not None)
    return f"{row}: {told}"


def measured(records: Records) -> list[dict[str, str]]:
    """A row for each task of each expert that was measured: its score, that of the best of those
    who do not look, by how much it is better with a 95 per cent interval over scenes, and what it
    has with the images of others.

    records: as for `published`.
    """
    return [
        {"task": task, "expert": row} | _beside(row, models, tasks.get(task).headline)
        for name, record in records.items()
        for task, models in _latest(record).items()
        for row in models
        if row.partition(":")[0] == name  # with the weights that were named
    ]


def _beside(name: str, models: Mapping[str, Mapping], score: str) -> dict[str, str]:
    above, found = models[name]["above_guessing"][score], models[name][score]
    blind, lost = models[above["than"]][score], models[f"shuffled:{name}"][score]
    return {
        "score": score,
        "measured": f"{found:.3g}",
        "best blind": f"{blind:.3g} ({above['than']})",
        "better by": f"{above['by']:+.3g} ({above['low']:+.3g} to {above['high']:+.3g})",
        "with other images": f"{lost:.3g}",
        "questions": f"{models[name]['questions']:,}",
    }


def _latest(record: Mapping[str, Mapping]) -> Mapping[str, Mapping]:
    """By task, of the largest number of samples."""
    return record[max(record, key=int)] if record else {}
