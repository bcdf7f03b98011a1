"""Metric depth: one image, a pixel in words, metres as the answer.

Scores follow DepthLM and VLM3: delta_k is the share of answers within a factor of 1.25**k of the
truth.
"""

import math
from collections.abc import Sequence

import numpy as np

from vlm3.geometry import range_from_depth
from vlm3.tasks import numbers, plain
from vlm3.tasks import text as words
from vlm3.tasks.task import Task, demand_some, mean
from vlm3.views import QA, NothingToAsk, View


class Depth(Task):
    """Metric depth at a pixel: z-depth along the optical axis, or range from the camera centre."""

    headline = "delta_1"

    def ask(
        self, views: Sequence[View], n: int, rng: np.random.Generator, kind: str = "z"
    ) -> list[QA]:
        """Up to n questions about different places of the first view whose depth is known, see
        `View.places`.

        kind: "z" asks for z-depth (along the optical axis), "range" for the distance from the
        camera centre. truth is in metres. NothingToAsk where depth is known nowhere.
        """
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
        form, asked = self.templates[kind]["answer"], self.unanswered(views, rng, uv, kind)
        return [
            qa._replace(answer=form.format(value=m), truth=m)
            for qa, m in zip(asked, metres.tolist(), strict=True)
        ]

    def unanswered(
        self,
        views: Sequence[View],
        rng: np.random.Generator,
        about: Sequence[Sequence[float]] = (),
        kind: str = "z",
    ) -> list[QA]:
        """A question about each of (N, 2) pixels of the first view."""
        return self._about_pixels(kind, views[0], rng, about)

    def read(self, qa: QA, text: str) -> float | None:
        """Metres, from a number with a unit, or a bare one where no unit is named; the question's
        pixel, which an answer may repeat, is none. See `vlm3.tasks.numbers.length_m`."""
        return numbers.length_m(words.without(plain.said(text), qa.about))

    def score(self, pairs: Sequence[tuple[float | None, float]]) -> dict[str, float]:
        """delta_1, delta_2, delta_3: over all pairs; no answer, or one that is not positive, counts
        as wrong.

        abs_rel (mean abs(p - g) / g) and rmse_m: over the answers that are positive numbers.
        parsed: their share. Variants of delta_1: delta_1_answered leaves out what was not answered
        (the released notebook); delta_1_depthlm takes max(p/g, g/p) < 1.25 of any number but 0,
        which a negative one passes (DepthLM).
        """
        demand_some(pairs)
        truth = np.array([g for _, g in pairs], float)
        answer = np.array([math.nan if p is None else p for p, _ in pairs], float)
        good = np.isfinite(answer) & (answer > 0)
        p, g = answer[good], truth[good]
        # The published scores differ in what they do with answers that are no depth.
        ratio = np.maximum(p / g, g / p)
        with np.errstate(divide="ignore", invalid="ignore"):
            depthlm = (np.maximum(answer / truth, truth / answer) < 1.25) & (answer != 0)
        hits = {f"delta_{k}": float((ratio < 1.25**k).sum() / len(pairs)) for k in (1, 2, 3)}
        return hits | {
            "abs_rel": mean(np.abs(p - g) / g),
            "rmse_m": math.sqrt(mean((p - g) ** 2)),
            "parsed": float(good.mean()),
            "delta_1_answered": mean(ratio < 1.25),
            "delta_1_depthlm": float(depthlm.mean()),
        }

    def shown(self, value: float) -> str:
        return f"{value:.2f} m"
