"""What a wrong focal length does to answers: the same images and labels, said to be seen through
another lens.

An image alone cannot tell a lens of ratio times the focal length from a scene stretched along the
optical axis: u = f X / Z is (ratio f) X / (ratio Z). Who looks only at the image, and takes the
wrong focal length for granted, answers about that scene, in which widths and heights are right and
all that lies along the axis is ratio times as long (`stretched`). Of two views this is so as far as
they look the same way; small turns to the side and up come out 1 / ratio times as large, since they
are read off a shift in pixels.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from vlm3.geometry import pixel_centres
from vlm3.mixture import Source
from vlm3.scoring import board, evaluate
from vlm3.scoring.evaluate import Evaluation
from vlm3.tasks.correspondence import covisible
from vlm3.views import Pair, View

TURNS = "yaw_deg", "pitch_deg", "rotation_angle_deg"  # read off a shift of the image
STEP = "right", "down", "forward"  # the parts of a direction
SIGNED = "yaw_deg", "pitch_deg", "roll_deg", *STEP


class Claimed(Sequence):
    """Views of some items with a focal length `ratio` times the true one.

    Images, depth, points, poses and what boxes hold stay as they are, so that answers are held
    against the truth. matched: items of two views are Pairs, whose matches the true cameras made:
    the claimed ones would move them.
    """

    def __init__(self, items: Sequence, ratio: float, matched: bool = False):
        if not 0 < ratio < math.inf:
            raise ValueError(f"ratio is a number above 0, got {ratio!r}")
        self.items, self.ratio, self.matched = items, ratio, matched
        self.metric = getattr(items, "metric", True)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> View | Pair | tuple[View, ...]:
        item = self.items[index]
        if isinstance(item, View):
            return lens(item, self.ratio)
        if self.matched and not isinstance(item, Pair):
            item = Pair(*item[:2], *_matches(*item[:2]))
        views = [lens(view, self.ratio) for view in item[:2]]
        return item._replace(view1=views[0], view2=views[1]) if self.matched else tuple(views)


def lens(view: View, ratio: float) -> View:
    """The same pixels and labels, said to be taken with `ratio` times the focal length."""
    camera = view.camera
    return replace(view, camera=replace(camera, fx=ratio * camera.fx, fy=ratio * camera.fy))


def _matches(view1: View, view2: View) -> tuple[np.ndarray, np.ndarray]:
    """uv1, uv2 (N, 2): all pixel centres of view 1 that both views see, by the true cameras."""
    uv1 = pixel_centres(view1.camera)[np.isfinite(view1.depth_m)]
    uv2, seen = covisible(view1, view2, uv1)
    return uv1[seen], uv2[seen]


def claimed(source: Source, ratio: float) -> Source:
    """The same source, its cameras said to have `ratio` times their focal length."""
    items = Claimed(source.items, ratio, source.bound.takes_matches)
    return replace(source, items=items, origin={**source.origin, "focal_ratio": ratio})


def measured(config: Evaluation, source: Source, ratios: Sequence[float]) -> dict[str, Any]:
    """What a model says of a source with each of these focal lengths, and what it is worth.

    config: as for `board.ask`, its out the folder of all predictions. Returns the task's headline
    and further scores by name (`scores`), those of who never looks, with the true focal length
    (`blind`), and by ratio (`ratios`) the model's, what it has above guessing (`board.table`), what
    `expected` foresees of its answers and of perfect ones, and its `gains`.
    """
    true = claimed(source, 1.0)
    blind = board.ask(config, [row for row in board.models("", source) if row in board.BLIND], true)
    outs = {r: board.ask(config, [config.model], claimed(source, r))[config.model] for r in ratios}
    first = board.ask(config, [config.model], true)[config.model]
    names = board.compared(first)
    found = {
        str(r): _found(first, out, blind, r, names) | {"sizes": _sizes(claimed(source, r))}
        for r, out in outs.items()
    }
    worth = {name: _some(evaluate.score(out), names) for name, out in blind.items()}
    return {"scores": names, "blind": worth, "ratios": found}


def _found(first: Path, out: Path, blind: Mapping[str, Path], ratio: float, names: list) -> dict:
    """Of one ratio; first: the folder of the true focal length."""
    row = board.table({**blind, "model": out})["model"]
    foreseen = {
        what: _some(expected(first, ratio, perfect), names)
        for what, perfect in (("expected", False), ("perfect", True))
    }
    above = {"above_guessing": row["above_guessing"], "questions": row["questions"]}
    return {"model": _some(row, names), **above, **foreseen, "gains": gains(out)}


def _sizes(source: Source) -> list[str]:
    """Width x height of the first views, each once."""
    sizes = [source.views(k)[0].size for k in range(min(8, len(source.items)))]
    return sorted({f"{width}x{height}" for width, height in sizes})


def _some(scores: Mapping[str, float], names: list[str]) -> dict[str, float]:
    return {name: scores[name] for name in names}


def stretched(value: Any, ratio: float, kind: str) -> Any:
    """What an answer becomes where the focal length is `ratio` times too long, None as it is.

    kind: of the question, as `vlm3.tasks` has them. Depths grow with the ratio; of a pose, turns
    shrink (the whole angle as if there were no roll) and the part of the direction along the axis
    grows; matches and what is asked of objects stay. That is not so of distances that have a part
    along the axis, between objects or cameras, which a number alone does not tell.
    """
    if isinstance(value, Mapping):
        turns = {name: part / ratio for name, part in value.items() if name in TURNS}
        way = {name: _along(part, ratio) for name, part in value.items() if name == "direction"}
        return {**value, **turns, **way}
    return value * ratio if kind in ("z", "range") and value is not None else value


def _along(direction: Sequence[float], ratio: float) -> tuple[float, ...]:
    """(3,) unit vector, stretched along the axis."""
    way = np.array(direction) * [1, 1, ratio]
    return tuple((way / np.linalg.norm(way)).tolist())


def expected(out: str | Path, ratio: float, perfect: bool = False) -> dict[str, float]:
    """Scores of a folder's answers, asked with the true focal length, if each became `stretched`;
    perfect: of right answers instead."""
    task = evaluate.task_of(out)
    return task.score(
        [
            (stretched(task.value(truth) if perfect else said, ratio, kind), truth)
            for kind, said, truth in _answers(out)
        ]
    )


def gains(out: str | Path) -> dict[str, float]:
    """By quantity, how large answers are beside the truth: 1 where they are neither too large nor
    too small.

    Of positive numbers the median of answer / truth; of parts of poses that have a sign the slope
    of the answers over the truth, in least squares through 0. NaN where nothing was answered.
    """
    task, found = evaluate.task_of(out), defaultdict(list)
    for kind, said, truth in _answers(out):
        right = task.value(truth)
        if said is not None and isinstance(right, (float, Mapping)):
            given, known = _parts(kind, said), _parts(kind, right)
            for name in given.keys() & known.keys():
                found[name].append((given[name], known[name]))
    return {name: _gain(np.array(pairs, float), name in SIGNED) for name, pairs in found.items()}


def _parts(kind: str, value: Any) -> dict[str, float]:
    """A value as numbers by their names."""
    if not isinstance(value, Mapping):
        return {kind: value}
    parts = {name: part for name, part in value.items() if name != "direction"}
    return parts | dict(zip(STEP, value.get("direction", ()), strict=False))


def _gain(pairs: np.ndarray, signed: bool) -> float:
    """pairs: (N, 2) answers and truths."""
    answers, truths = pairs.T
    if signed:
        return float(answers @ truths / (truths @ truths))
    good = (answers > 0) & (truths > 0)
    return float(np.median(answers[good] / truths[good])) if good.any() else math.nan


def _answers(out: str | Path) -> list[tuple[str, Any, Any]]:
    """kind, answer and truth of every question."""
    kinds = [a["kind"] for record in evaluate.predictions(out) for a in record["answers"]]
    return [(kind, *pair) for kind, pair in zip(kinds, evaluate.pairs(out), strict=True)]
