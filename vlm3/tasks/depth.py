"""Metric depth: one image, a pixel in words, metres as the answer.

Scores follow DepthLM and VLM3: delta_k is the share of answers within a factor of 1.25**k of the
truth.
"""

import math
from collections.abc import Sequence

import numpy as np

from vlm3.geometry import range_from_depth
from vlm3.reference import PixelText
from vlm3.tasks import numbers, plain
from vlm3.tasks import text as words
from vlm3.views import QA, NothingToAsk, View

Pair = tuple[float | None, float]


def ask(
    views: Sequence[View],
    n: int,
    rng: np.random.Generator,
    kind: str = "z",
    templates: dict | None = None,
) -> list[QA]:
    """Up to n questions about different places of the first view whose depth is known, see
    `View.places`.

    kind: "z" asks for z-depth (along the optical axis), "range" for the distance from the camera
    centre. truth is in metres. NothingToAsk, a ValueError, where it is known nowhere.
    """
    templates = templates or words.packaged("depth")
    if kind not in ("z", "range"):
        raise ValueError(f"kind must be 'z' or 'range', got {kind!r}")
    view = views[0]
    uv, metres = view.places(n, rng)
    if not len(uv):
        raise NothingToAsk("no depth is known in this view: nothing to ask about")
    if kind == "range":
        if view.camera is None:
            raise ValueError("range needs the view's camera")
        metres = range_from_depth(metres, uv, view.camera)
    form = templates[kind]["answer"]
    return [
        unanswered(p, view.size, rng, kind, templates)._replace(
            answer=form.format(value=m), truth=m
        )
        for p, m in zip(uv.tolist(), metres.tolist(), strict=True)
    ]


def question(
    uv: Sequence[float],
    size: tuple[int, int],
    rng: np.random.Generator,
    kind: str = "z",
    templates: dict | None = None,
) -> str:
    """What is asked about one pixel of an image, in words; ValueError for a pixel outside it."""
    return unanswered(uv, size, rng, kind, templates).question


def unanswered(
    uv: Sequence[float],
    size: tuple[int, int],
    rng: np.random.Generator,
    kind: str = "z",
    templates: dict | None = None,
) -> QA:
    """The question about one pixel, whose answer nobody knows."""
    templates = templates or words.packaged("depth")
    point = PixelText(templates["scale"]).encode(tuple(uv), size)
    return QA(
        words.question(templates, kind, rng, point=point),
        "",
        None,
        kind,
        tuple(words.tuples(point)),
    )


def parse(text: str) -> float | None:
    """Metres, from a number with a unit, or a bare one where no unit is named; see
    `vlm3.tasks.numbers.length_m`."""
    return numbers.length_m(plain.said(text))


def read(qa: QA, text: str) -> float | None:
    """The same of an answer to a question, whose pixel it may repeat."""
    return numbers.length_m(words.without(plain.said(text), words.about(qa)))


def score(pairs: Sequence[Pair]) -> dict[str, float]:
    """delta_1, delta_2, delta_3: over all pairs; no answer, or one that is not positive, counts as
    wrong.

    abs_rel (mean abs(p - g) / g) and rmse_m: over the answers that are positive numbers. parsed:
    their share. Variants of delta_1: delta_1_answered leaves out what was not answered (the
    released notebook); delta_1_depthlm takes max(p/g, g/p) < 1.25 of any number but 0, which a
    negative one passes (DepthLM).
    """
    if not pairs:
        raise ValueError("nothing to score: no pairs")
    truth = np.array([g for _, g in pairs], float)
    answer = np.array([math.nan if p is None else p for p, _ in pairs], float)
    good = np.isfinite(answer) & (answer > 0)
    p, g = answer[good], truth[good]
    ratio = np.maximum(p / g, g / p)
    with np.errstate(divide="ignore", invalid="ignore"):
        depthlm = (np.maximum(answer / truth, truth / answer) < 1.25) & (answer != 0)
    hits = {f"delta_{k}": float((ratio < 1.25**k).sum() / len(pairs)) for k in (1, 2, 3)}
    return hits | {
        "abs_rel": _mean(np.abs(p - g) / g),
        "rmse_m": math.sqrt(_mean((p - g) ** 2)),
        "parsed": float(good.mean()),
        "delta_1_answered": _mean(ratio < 1.25),
        "delta_1_depthlm": float(depthlm.mean()),
    }


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else math.nan
