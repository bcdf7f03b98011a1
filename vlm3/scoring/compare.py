"""Several evaluations side by side: who is better, by how much, and how sure that is.

Folders of one task and one data set stand in one table. A difference is told only between those
who were asked the same questions: about the same items, the same pixels, with the same truths. What
a score is worth shows beside who did not look, see `vlm3.scoring.blind`.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from vlm3.scoring import again, board, bootstrap, evaluate
from vlm3.scoring.bootstrap import Items
from vlm3.scoring.collapse import collapse
from vlm3.tasks.task import Task

RESAMPLES = 1000
ERRORS = ("epe", "error", "rel", "rmse")  # in the names of scores of which low ones are good
FEW = 10  # scenes, of which fewer give limits that are rough themselves


class Folder:
    """A finished evaluation; ValueError for one that is not."""

    def __init__(self, out: str | Path):
        self.out, self.config = Path(out), evaluate.config_of(out)
        self.scores = evaluate.score(out)
        self.model = self.config["model"]
        self.name = self.model  # in a table, see `tables`

    @property
    def blind(self) -> bool:
        return self.model in board.BLIND

    @property
    def asked(self) -> Mapping:
        return self.config["asked"][self.config["source"]]

    @property
    def about(self) -> str:
        """Task, views and options as text; folders that differ in it are not compared."""
        origin = self.asked.get("origin") or self.config["source"]
        return json.dumps([self.config["task"], origin, self.asked.get("options")], sort_keys=True)

    @cached_property
    def task(self) -> Task:
        return evaluate.task_of(self.out)

    @cached_property
    def records(self) -> list[dict]:
        return evaluate.predictions(self.out)

    @cached_property
    def items(self) -> Items:
        return evaluate.items(self.out)

    @cached_property
    def scenes(self) -> np.ndarray:
        return evaluate.scenes(self.out)

    @cached_property
    def questions(self) -> list:
        """What was asked, without the words and the answers."""
        return [
            [each["item"], [[a["kind"], a["about"], a["truth"]] for a in each["answers"]]]
            for each in self.records
        ]


def opened(outs: Sequence[str | Path]) -> list[Folder]:
    """Finished evaluations; ValueError for one that is not finished, and for one named twice."""
    paths = [Path(out).resolve() for out in outs]
    if twice := [out for out, path in zip(outs, paths, strict=True) if paths.count(path) > 1]:
        raise ValueError(f"{twice[0]} is named twice")
    return [Folder(out) for out in outs]


def grouped(folders: Sequence[Folder]) -> list[list[Folder]]:
    """Those of one task and one data set, in the order in which they come."""
    found: dict[str, list[Folder]] = {}
    for folder in folders:
        found.setdefault(folder.about, []).append(folder)
    for group in found.values():
        models = [folder.model for folder in group]
        for folder in group:
            several = models.count(folder.model) > 1
            folder.name = f"{folder.model} ({folder.out.name})" if several else folder.model
    return list(found.values())


def with_blind(group: Sequence[Folder]) -> list[Folder]:
    """A group with those who do not look, asked the same questions, in folders beside the first;
    what is there already is not asked again. ValueError where the source cannot be made again."""
    if any(folder.blind for folder in group):
        return list(group)
    first = group[0]
    source, told = again.source_of(first.out), first.config
    names = ("task", "source", "samples", "questions", "seed")
    config = evaluate.Evaluation(
        **{name: told[name] for name in names}, out=first.out.parent, progress=False
    )
    rows = [name for name in board.models("", source) if name in board.BLIND]
    return [*group, *map(Folder, board.ask(config, rows, source).values())]


def alike(a: object, b: object) -> bool:
    """Whether two questions, or lists of them, are the same: kinds, places and truths, these as far
    as machines agree."""
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(alike, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        # The name of a pair is a digest of all digits of its pose.
        return a.keys() == b.keys() and all(alike(a[k], b[k]) for k in a if k != "pair")
    numbers = all(isinstance(x, int | float) and not isinstance(x, bool) for x in (a, b))
    return math.isclose(a, b, rel_tol=1e-5, abs_tol=1e-6) if numbers else a == b


def table(
    group: Sequence[Folder], scores: Sequence[str] = (), to: str = "first", seed: int = 0
) -> dict:
    """All that is compared in one group, plain enough for JSON.

    scores: by default those of `vlm3.scoring.board.compared`; to: "first" or "best", whom others
    are held against. Of each row and score: `value`, and `low` and `high`, between which 95 per
    cent of the resamples lie; `better`, than whom and by how much, more than 0 whichever way the
    score counts; `above_guessing`, the same against the best of those who do not look. Both are
    None where there is nobody else who was asked the same.
    """
    first, names = group[0], list(scores or board.compared(group[0].out))
    rows = [
        {"model": f.name, "folder": str(f.out), "blind": f.blind, "scores": {}}
        | {"questions": f.scores["questions"], "answered": f.scores["parsed"]}
        for f in group
    ]
    same = [[alike(a.questions, b.questions) for b in group] for a in group]
    for name in names:
        for row, found in zip(rows, _column(group, same, name, to, seed), strict=True):
            row["scores"][name] = found
    return {
        "task": first.config["task"],
        "source": first.config["source"],
        "samples": len(first.records),
        "drawn": _drawn([f for f, like in zip(group, same[0], strict=True) if like]),
        "to": to,
        "rows": rows,
        "notes": list(_notes(group, same[0])),
    }


def _column(
    group: Sequence[Folder], same: Sequence[Sequence[bool]], name: str, to: str, seed: int
) -> list[dict]:
    """What is told of one score, of each folder."""
    everybody, way = range(len(group)), sign(group[0].task, name)
    many = [
        _resampled(folder, name, [group[j].scenes for j in everybody if same[k][j]], seed)
        for k, folder in enumerate(group)
    ]
    worth = [way * whole if whole == whole else -math.inf for whole, _ in many]
    reference = 0 if to == "first" else max(everybody, key=worth.__getitem__)
    found = []
    for k in everybody:
        blind = [j for j in everybody if group[j].blind and same[k][j]]
        best = max(blind, key=worth.__getitem__, default=None)
        rivals = {
            "better": reference if reference != k and same[k][reference] else None,
            "above_guessing": None if group[k].blind else best,
        }
        told = {
            what: None if j is None else {"than": group[j].name} | _by(many[k], many[j], way)
            for what, j in rivals.items()
        }
        found.append(bootstrap.spanned(*many[k])._asdict() | told)
    return found


def sign(task: Task, name: str) -> int:
    """1 where high is good, -1 where low is."""
    low = name == task.headline and task.lower_is_better
    return -1 if low or any(part in name for part in ERRORS) else 1


def _resampled(
    folder: Folder, name: str, scenes: Sequence[np.ndarray], seed: int
) -> tuple[float, np.ndarray]:
    """scenes: as those know them who were asked the same; an older folder may not."""
    drawn = bootstrap.draws(min(scenes, key=np.max), RESAMPLES, seed)
    return bootstrap.resampled(folder.task, folder.items, name, drawn)


def _by(mine: tuple, other: tuple, way: int) -> dict:
    (whole_a, many_a), (whole_b, many_b) = mine, other
    size = min(len(many_a), len(many_b))
    found = bootstrap.spanned(way * (whole_a - whole_b), way * (many_a[:size] - many_b[:size]))
    return {"by": found.value, "low": found.low, "high": found.high}


def _drawn(group: Sequence[Folder]) -> dict:
    """What is drawn again and again, and how many there are."""
    scenes = min((folder.scenes for folder in group), key=np.max)
    known = int(scenes.max()) + 1 < len(scenes)
    return {"what": "scenes" if known else "items", "n": int(scenes.max()) + 1}


def _notes(group: Sequence[Folder], same: Sequence[bool]) -> Iterator[str]:
    """What a reader must know beside the numbers; same: who was asked what the first was."""
    if others := [folder.name for folder, each in zip(group, same, strict=True) if not each]:
        yield (
            f"{', '.join(others)}: asked about other items, other pixels or in other units than "
            f"{group[0].name}, so no difference to it is told"
        )
    if not any(folder.blind for folder in group):
        elsewhere = (
            "its source cannot be asked from its folder (made in Python, or with answers of "
            "others), so name the predictions of somebody blind who was asked the same, too"
        )
        way_out = "add --blind" if group[0].asked.get("origin") else elsewhere
        yield f"nobody here answers without looking, so no score shows what it is worth: {way_out}"
    told = {record.get("scene") for folder in group for record in folder.records}
    if told == {None}:
        yield "intervals are over items: nothing here says which of them share a scene"
    elif len(told) == 1:
        yield "intervals are over items, all of one scene: of others they say little"
    elif len(told) < FEW:
        yield f"only {len(told)} scenes: the intervals are rough"
    for folder in group:
        for kind, said in collapse(folder.out).items():
            if said.collapsed and not folder.blind:
                yield f"{folder.name} says {said.most} to {said.share:.0%} of {kind} questions"
