"""Two views without learning: SIFT keypoints, matched and held against one rigid motion.

What classical geometry says of pose and correspondence (RANSAC, `vlm3.scoring.motion`), in the
words of the task's templates, so that it is read and scored like a model. It sees the same unified
views. In toy rooms they are about 128x96 pixels, on which SIFT finds little: small views are
enlarged first, which on `rooms-validation` gives four times the matches and about twice the AUC of
poses (enlarging by four instead of two gives no more). The length of a motion cannot be seen in two
views, so the distance of the cameras gets no answer, nor does any pose on which too few matches
agree.
"""

from collections.abc import Sequence

import numpy as np

from vlm3.geometry import invert
from vlm3.mixture import Source
from vlm3.scoring.experts import Found, answering
from vlm3.scoring.motion import Motion, follower, moved, solved, solver, steady_cv2
from vlm3.scoring.predictors import Predictor
from vlm3.views import View

__all__ = ["Motion", "motion", "moved", "predictor"]

TASKS = ("correspondence", "pose")
SMALL_PX, ENLARGED = 256, 2  # views whose sides are all below this are enlarged so much
CONTRAST = 0.01  # of keypoints; OpenCV's own 0.04 finds too few in plain rooms
RATIO = 0.8  # a match is closer than this times the next best (Lowe 2004)


def predictor(model: str, source: Source) -> Predictor:
    """model: nothing to choose. ValueError for a task that it does not solve."""
    if source.task not in TASKS:
        raise ValueError(
            f"opencv answers {' and '.join(TASKS)}, not {source.task}: leave it out there"
        )
    identity = f"OpenCV {steady_cv2().__version__}, poses by {solver()}"
    return Predictor(answering(look, source), source, identity)


def look(views: Sequence[View]) -> Found:
    """What two views show of each other."""
    found = motion(*views)
    pose = found.cam2_from_cam1
    return Found(
        follow=follower(found, *views), cam1_from_cam2=None if pose is None else invert(pose)
    )


def motion(view1: View, view2: View) -> Motion:
    """From view 1 to view 2; deterministic."""
    return solved(*_matches(_keypoints(view1), _keypoints(view2)), view1, view2)


def _keypoints(view: View) -> tuple[np.ndarray, np.ndarray]:
    """(N, 2) pixels and what surrounds them (N, 128)."""
    cv2 = steady_cv2()
    grey = cv2.cvtColor(view.image, cv2.COLOR_RGB2GRAY)
    grown = ENLARGED if max(view.size) < SMALL_PX else 1
    if grown > 1:
        grey = cv2.resize(grey, None, fx=grown, fy=grown, interpolation=cv2.INTER_CUBIC)
    sift = cv2.SIFT_create(contrastThreshold=CONTRAST, enable_precise_upscale=True)
    found, around = sift.detectAndCompute(grey, None)
    if not found:
        return np.empty((0, 2)), np.empty((0, 128), np.float32)
    uv = np.array([point.pt for point in found]) + 0.5  # OpenCV counts from pixel centres
    return uv / grown, around


def _matches(first: tuple, second: tuple) -> tuple[np.ndarray, np.ndarray]:
    """(N, 2) and (N, 2): each the other's best, and better than the next best by RATIO. None comes
    twice."""
    (uv1, around1), (uv2, around2) = first, second
    if min(len(uv1), len(uv2)) < 2:
        return np.empty((0, 2)), np.empty((0, 2))
    matcher = steady_cv2().BFMatcher()
    back = [m.trainIdx for m in matcher.match(around2, around1)]
    best = [
        a for a, b in matcher.knnMatch(around1, around2, k=2) if a.distance < RATIO * b.distance
    ]
    found = [(*uv1[m.queryIdx], *uv2[m.trainIdx]) for m in best if back[m.trainIdx] == m.queryIdx]
    # One keypoint may have several orientations.
    found = np.unique(np.reshape(found, (-1, 4)).round(3), axis=0)
    return found[:, :2], found[:, 2:]
