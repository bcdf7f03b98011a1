"""Pixel correspondence: two images of one scene, a pixel of the first in words, its place in the
second as the answer.

Covisibility and the end-point error follow UFM's protocol: pooled over points, in a frame of
560x420 pixels.
"""

import math
import re
from collections.abc import Mapping, Sequence

import numpy as np

from vlm3.geometry import invert, project, range_from_depth, relative_pose, transform, unproject
from vlm3.tasks import plain
from vlm3.tasks import text as words
from vlm3.tasks.task import Task, demand_some, mean
from vlm3.views import QA, NothingToAsk, View

Point = tuple[float, float]
FRAME = (560, 420)  # in which UFM and DKM count pixels, whatever the size of the images
_NAMED = re.compile(
    rf"""["']?\b[xu]["']?\s?[=:]\s?({words.COORDINATE})(?:\s?[,;]\s?|\s)(?:and )?"""
    rf"""["']?\b[yv]["']?\s?[=:]\s?({words.COORDINATE})""",
    re.IGNORECASE,
)


class Correspondence(Task):
    """Where a pixel of the first view is in the second."""

    views = 2
    headline, lower_is_better = "epe_px_all", True
    takes_matches = True

    @classmethod
    def in_metres(cls, options: Mapping) -> bool:
        """False: pixels alone."""
        return False

    def ask(
        self,
        views: Sequence[View],
        n: int,
        rng: np.random.Generator,
        matches: tuple[np.ndarray, np.ndarray] | None = None,
        on: str = "all",
        tolerances: Mapping[str, float] | None = None,
    ) -> list[QA]:
        """Up to n questions about different points that both views see.

        matches: (uv1, uv2), each (N, 2) pixels; without them they come from the first view's points
        or depth, see `covisible`, which takes the tolerances; on: then "all", or "boxes" for points
        in the middle of a box of the first view, which are mostly those of objects.
        truth: (x, y), the exact place in the units of the text. NothingToAsk where nothing is seen
        by both views.
        """
        if on not in ("all", "boxes"):
            raise ValueError(f"on must be 'all' or 'boxes', got {on!r}")
        uv1, uv2 = matches or _sampled_matches(*views[:2], n, rng, on, **tolerances or {})
        if not len(uv1):
            raise NothingToAsk("the two views share no point: nothing to ask about")
        chosen = rng.choice(len(uv1), min(n, len(uv1)), replace=False)
        asked = self.unanswered(views, rng, uv1[chosen])
        return [self._answered(qa, uv, views[1]) for qa, uv in zip(asked, uv2[chosen], strict=True)]

    def unanswered(
        self, views: Sequence[View], rng: np.random.Generator, about: Sequence[Point] = ()
    ) -> list[QA]:
        """A question about each of (N, 2) pixels of the first view."""
        return self._about_pixels("match", views[0], rng, about)

    def _answered(self, qa: QA, uv2: np.ndarray, view2: View) -> QA:
        place = tuple(uv2.tolist())
        said = self.templates["match"]["answer"].format(
            match=self.reference.encode(place, view2.size)
        )
        return qa._replace(answer=said, truth=self.reference.position(place, view2.size))

    def read(self, qa: QA, text: str) -> Point | None:
        """The one "(x, y)" of the answer, in units of the text; None without one, with several, or
        outside [0, scale). The question's pixel, which an answer may repeat, is a match only if
        nothing else is said."""
        # A pixel that is only repeated says nothing; one that stands alone says "the same place".
        said = plain.said(text)
        pairs = _pairs(said)
        others = {pair for pair in pairs if pair not in qa.about}
        alone = words.TUPLE.fullmatch(said.rstrip(".")) is not None
        return self._only(others if others or not alone else pairs)

    def _only(self, pairs: set[Point]) -> Point | None:
        only = next(iter(pairs)) if len(pairs) == 1 else ()
        return only if only and all(0 <= p < self.templates["scale"] for p in only) else None

    def score(
        self, pairs: Sequence[tuple[Point | None, Point]], frame: tuple[int, int] = FRAME
    ) -> dict[str, float]:
        """epe_px: mean distance in pixels of the frame over the parsed answers, as published;
        epe_1000: the same in units of [0, 1000). epe_px_all: over all points, no answer counting as
        the frame's diagonal.

        pck_1, pck_3, pck_5, pck_10: share of all points closer than so many pixels; no answer
        counts as wrong. parsed: share of answers. All pooled over points. Points are in the units
        of the text, [0, scale).
        """
        demand_some(pairs)
        gaps = [(p[0] - t[0], p[1] - t[1]) for p, t in pairs if p is not None]
        off = np.array(gaps, float).reshape(-1, 2) / self.templates["scale"]
        pixels = np.linalg.norm(off * frame, axis=-1)
        unanswered = math.hypot(*frame) * (len(pairs) - len(off))
        return {
            "epe_px": mean(pixels),
            "epe_px_all": float((pixels.sum() + unanswered) / len(pairs)),
            "epe_1000": mean(np.linalg.norm(off * 1000, axis=-1)),
            **{f"pck_{k}": float((pixels < k).sum() / len(pairs)) for k in (1, 3, 5, 10)},
            "parsed": len(off) / len(pairs),
        }

    def place(self, value: Point, size: tuple[int, int]) -> np.ndarray:
        """(2,) pixels of a second view of this size, the middle of what the value names."""
        return np.array(self.reference.place(value, size))

    def shown(self, value: Point) -> str:
        return f"({value[0]:.5g}, {value[1]:.5g})"


def _sampled_matches(
    view1: View, view2: View, n: int, rng: np.random.Generator, on: str, **tolerances: float
) -> tuple[np.ndarray, np.ndarray]:
    """Some covisible points, more than n where there are; a few thousand pixels are tried."""
    if view1.depth_m is None and view1.points is None:
        raise ValueError(
            "the correspondence task needs matches, or depth_m or points in the first view"
        )
    # Many more than are asked about: of views far apart few pixels are seen twice.
    uv1, z_m = view1.places(max(1000, 20 * n), rng, _middles(view1) if on == "boxes" else True)
    uv2, seen = covisible(view1, view2, uv1, z_m, **tolerances)
    return uv1[seen], uv2[seen]


def _middles(view: View) -> np.ndarray:
    """(H, W) bool: which pixels lie in the middle half of a box, counted along each side."""
    width, height = view.size
    inside = np.zeros((height, width), bool)
    for box in view.boxes:
        x, y = ((3 * low + high) / 4 for low, high in ((box.xmin, box.xmax), (box.ymin, box.ymax)))
        right, bottom = box.xmin + box.xmax - x, box.ymin + box.ymax - y
        inside[int(y) : int(np.ceil(bottom)), int(x) : int(np.ceil(right))] = True
    return inside


def covisible(
    view1: View,
    view2: View,
    uv1: np.ndarray,
    z_m: np.ndarray | None = None,
    tolerance_m: float = 0.1,
    relative_tolerance: float = 0.005,
    temperature_m: float = 0.1,
) -> tuple[np.ndarray, np.ndarray]:
    """Where pixels of view 1 lie in view 2, and whether they are seen there.

    uv1: (N, 2) pixels; z_m: (N,) their z-depth, by default that of view 1's pixels. Returns uv2 (N,
    2), NaN behind the camera, and (N,) bool. A point at range r from camera 2 is seen when it falls
    into the image and view 2's own range there, interpolated, differs from r by less than
    tolerance_m + relative_tolerance x r + temperature_m x ln 2 (UFM's test without its refinement
    of uv2). Needs the pose of both views and depth maps: of the second, and without z_m of the
    first.
    """
    for name, view, known in (("first", view1, z_m), ("second", view2, None)):
        if (view.depth_m is None and known is None) or view.world_from_cam is None:
            raise ValueError(
                f"covisibility needs depth_m and world_from_cam of the {name} view, or give matches"
            )
    # The pixel that holds the point, not interpolated: depth between two objects is that of none.
    if z_m is None:
        columns, rows = uv1.astype(int).T
        z_m = view1.depth_m[rows, columns]
    points1 = unproject(uv1, z_m, view1.camera)
    cam2_from_cam1 = invert(relative_pose(view1.world_from_cam, view2.world_from_cam))
    points2 = transform(cam2_from_cam1, points1)
    uv2 = project(points2, view2.camera)
    range_m = np.linalg.norm(points2, axis=-1)
    gap = np.abs(_range_at(view2, uv2) - range_m)
    return uv2, gap < tolerance_m + relative_tolerance * range_m + temperature_m * math.log(2)


def _range_at(view: View, uv: np.ndarray) -> np.ndarray:
    """Distances from the camera centre (N,) at pixels (N, 2), between pixel centres interpolated
    linearly, constant in the outer half pixel; NaN outside and where a neighbour is unknown. Of
    these pixels only: most are not asked for."""
    width, height = view.size
    with np.errstate(invalid="ignore"):
        inside = ((uv >= 0) & (uv < [width, height])).all(-1)
    x, y = np.clip(np.where(inside[:, None], uv, 0.5) - 0.5, 0, [width - 1, height - 1]).T
    left, top = x.astype(int), y.astype(int)
    right, bottom = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)

    def at(row: np.ndarray, column: np.ndarray) -> np.ndarray:
        uv = np.stack([column, row], -1) + 0.5
        return range_from_depth(view.depth_m[row, column], uv, view.camera)

    upper = at(top, left) * (1 - x + left) + at(top, right) * (x - left)
    lower = at(bottom, left) * (1 - x + left) + at(bottom, right) * (x - left)
    return np.where(inside, upper * (1 - y + top) + lower * (y - top), np.nan)


def _pairs(said: str) -> set[Point]:
    return {pair for pair in words.tuples(_NAMED.sub(r"(\1, \2)", said)) if len(pair) == 2}
