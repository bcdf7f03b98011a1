"""Which way surfaces face: a fifth task, as a reader would add it. Nothing else knows of it."""

import re
from collections.abc import Sequence

import numpy as np

from vlm3.geometry import pixel_centres, unproject
from vlm3.tasks.plain import said
from vlm3.tasks.task import Task
from vlm3.views import QA, NothingToAsk, View

WORDS = ("left", "right", "up", "down", "the camera")
AXES = np.array([(-1, 0, 0), (1, 0, 0), (0, -1, 0), (0, 1, 0), (0, 0, -1)])


class Normal(Task):
    """Which way a surface faces at a pixel of a photo, in words."""

    headline = "right"

    def ask(self, views: Sequence[View], n: int, rng: np.random.Generator) -> list[QA]:
        facing = facing_of(views[0])
        uv, _ = views[0].places(n, rng, facing >= 0)
        if not len(uv):
            raise NothingToAsk("no depth is known around any pixel of this view")
        words = [WORDS[facing[int(v), int(u)]] for u, v in uv]
        form, asked = self.templates["facing"]["answer"], self.unanswered(views, rng, uv)
        return [
            qa._replace(answer=form.format(value=word), truth=word)
            for qa, word in zip(asked, words, strict=True)
        ]

    def unanswered(
        self, views: Sequence[View], rng: np.random.Generator, about: Sequence = ()
    ) -> list[QA]:
        return self._about_pixels("facing", views[0], rng, about)

    def read(self, qa: QA, text: str) -> str | None:
        named = [word for word in WORDS if re.search(rf"\b{word}\b", said(text))]
        return named[0] if len(named) == 1 else None

    def score(self, pairs: Sequence[tuple[str | None, str]]) -> dict[str, float]:
        right = np.mean([value == truth for value, truth in pairs])
        parsed = np.mean([value is not None for value, _ in pairs])
        return {"right": float(right), "parsed": float(parsed)}


def facing_of(view: View) -> np.ndarray:
    """HxW, which of WORDS is nearest to the normal of each pixel; -1 where none is known."""
    points = unproject(pixel_centres(view.camera), view.depth_m, view.camera)
    down, right = np.gradient(points, axis=(0, 1))
    normals = np.cross(down, right)
    known = np.isfinite(normals).all(-1)
    return np.where(known, (np.nan_to_num(normals) @ AXES.T).argmax(-1), -1)
