"""How far a principal point is from where it should be, from where points are found again.

A camera whose principal point is off by d puts a point of another view off by a part of d only:
none of it where both cameras look the same way from the same distance, all of it and more where one
is turned about its axis. So what can be known depends on how the cameras moved; the error is told.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from vlm3.sources.curation.warps import places
from vlm3.views import View

STEP_PX = 0.5  # of the numerical derivative
ROUNDS, NEAR_PX = 20, 0.3  # of reweighting: from here on a point counts less the further off it is
DRAWN = 200  # times pairs are drawn anew for the error


class Tracked(NamedTuple):
    """Of one pair of views: off_px (M, 2), from where points should be to where they are; by_px
    (M, 2, 2), how far these places move for each pixel that the principal point of both moves."""

    off_px: np.ndarray
    by_px: np.ndarray


class Centre(NamedTuple):
    """(2,) pixels that are to be added to the principal point, and their standard errors."""

    off_px: np.ndarray
    error_px: np.ndarray

    @property
    def known(self) -> bool:
        """To within a pixel."""
        return bool(self.error_px.max() < 1)

    @property
    def told(self) -> bool:
        """Whether more than a quarter of a pixel is surely missing: errors over few groups are
        too small, hence four of them."""
        beyond = np.abs(self.off_px) - 4 * self.error_px
        return bool((beyond > 0).any() and np.abs(self.off_px[beyond > 0]).max() > 0.25)


def together(parts: Sequence[Tracked]) -> Tracked:
    """All points of several pairs."""
    off = [np.zeros((0, 2)), *(part.off_px for part in parts)]
    by = [np.zeros((0, 2, 2)), *(part.by_px for part in parts)]
    return Tracked(np.concatenate(off), np.concatenate(by))


def derivative(view1: View, view2: View) -> np.ndarray:
    """(N, 2, 2): how far the places of view 1's points in view 2 move, by how far both principal
    points do."""
    columns = []
    for shift in np.eye(2) * STEP_PX:
        ahead, back = (_shifted(view1, view2, sign * shift) for sign in (1, -1))
        columns.append((ahead - back) / (2 * STEP_PX))
    return np.stack(columns, -1)


def _shifted(view1: View, view2: View, shift: np.ndarray) -> np.ndarray:
    cameras = [
        replace(view.camera, cx=view.camera.cx + shift[0], cy=view.camera.cy + shift[1])
        for view in (view1, view2)
    ]
    return places(replace(view1, camera=cameras[0]), replace(view2, camera=cameras[1]))[0]


def centre(pairs: Sequence[Tracked], rng: np.random.Generator) -> Centre | None:
    """From at least eight pairs of views, or groups of them; None from fewer. Errors are over
    these, since all points of one share the error of its pose."""
    if len(pairs) < 8:
        return None
    found = np.zeros(2)
    for _ in range(ROUNDS):
        left, right = (sum(parts) for parts in zip(*_equations(pairs, found), strict=True))
        found = np.linalg.solve(left, right)
    # With the weights of the last round, each draw of pairs is a sum of what is known.
    lefts, rights = map(np.array, zip(*_equations(pairs, found), strict=True))
    drawn = rng.integers(len(pairs), size=(DRAWN, len(pairs)))
    others = np.linalg.solve(lefts[drawn].sum(1), rights[drawn].sum(1)[..., None])[..., 0]
    return Centre(found, others.std(0))


def _equations(pairs: Sequence[Tracked], found: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Of each pair, the two sides of the normal equations of least absolute distances, by weights
    that are right near `found`."""
    made = []
    for off, by in pairs:
        weights = 1 / np.maximum(np.linalg.norm(off - by @ found, axis=1), NEAR_PX)
        left = np.einsum("n,nij,nik->jk", weights, by, by) + 1e-9 * np.eye(2)
        made.append((left, np.einsum("n,nij,ni->j", weights, by, off)))
    return made
