"""Two views without learning: SIFT keypoints, matched and held against one rigid motion.

What classical geometry (an essential matrix by RANSAC) says of pose and correspondence, in the
words of the task's templates, so that it is read and scored like a model. It sees the same unified
views. In toy rooms they are about 128x96 pixels, on which SIFT finds little: small views are
enlarged first, which on `rooms-validation` gives four times the matches and about twice the AUC of
poses (enlarging by four instead of two gives no more). The length of a motion cannot be seen in two
views, so the distance of the cameras gets no answer, nor does any pose on which too few matches
agree.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np

from vlm3.geometry import invert, project, rays, transform, unproject
from vlm3.mixture import Source
from vlm3.scoring.predictors import Predictor
from vlm3.tasks.pose_text import PARTS
from vlm3.tasks.task import Task
from vlm3.views import QA, Answer, Sample, View

SMALL_PX, ENLARGED = 256, 2  # views whose sides are all below this are enlarged so much
CONTRAST = 0.01  # of keypoints; OpenCV's own 0.04 finds too few in plain rooms
RATIO = 0.8  # a match is closer than this times the next best (Lowe 2004)
NEAR_PX = 0.5  # matches this close to their epipolar lines agree with a motion
LEAST = 8, 5  # matches before and after that test
NEIGHBOURS = 3  # matches that say how deep a pixel is


class Motion(NamedTuple):
    """uv1, uv2: (N, 2) pixels that match; cam2_from_cam1: 4x4 up to scale on which they agree, None
    without one."""

    uv1: np.ndarray
    uv2: np.ndarray
    cam2_from_cam1: np.ndarray | None


def predictor(model: str, source: Source) -> Predictor:
    """model: nothing to choose. ValueError for a task that it does not solve."""
    if source.task not in _SAY:
        raise ValueError(
            f"opencv answers {' and '.join(_SAY)}, not {source.task}: leave it out there"
        )
    predict = partial(_answers, _SAY[source.task], source.bound)
    return Predictor(predict, source, f"OpenCV {_cv2().__version__}")


def _answers(say: Callable, task: Task, samples: Sequence[Sample]) -> list[list[Answer]]:
    found = []
    for sample in samples:
        views = sample.views[:2]
        found.append([Answer(said) for said in say(task, views, motion(*views), sample.qas)])
    return found


def motion(view1: View, view2: View) -> Motion:
    """From view 1 to view 2; deterministic."""
    cv2 = _cv2()
    uv1, uv2 = _matches(_keypoints(view1), _keypoints(view2))
    if len(uv1) < LEAST[0]:
        return Motion(uv1, uv2, None)
    x1, x2 = (rays(uv, view.camera)[:, :2] for uv, view in ((uv1, view1), (uv2, view2)))
    limit = NEAR_PX / view1.camera.fx
    essential, agree = cv2.findEssentialMat(
        x1, x2, np.eye(3), method=cv2.RANSAC, prob=0.9999, threshold=limit
    )
    if essential is None or essential.shape != (3, 3):
        return Motion(uv1, uv2, None)
    before, rotation, translation, _ = cv2.recoverPose(
        essential, x1, x2, np.eye(3), mask=agree.copy()
    )
    if before < LEAST[1]:  # points in front of both cameras
        return Motion(uv1, uv2, None)
    pose, kept = np.eye(4), agree[:, 0] > 0
    pose[:3, :3], pose[:3, 3] = rotation, translation[:, 0]
    return Motion(uv1[kept], uv2[kept], pose)


def _cv2():
    """OpenCV, heavy and so imported late, on one core and without chance."""
    import cv2

    cv2.setNumThreads(1)
    cv2.setRNGSeed(0)
    return cv2


def _keypoints(view: View) -> tuple[np.ndarray, np.ndarray]:
    """(N, 2) pixels and what surrounds them (N, 128)."""
    cv2 = _cv2()
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
    matcher = _cv2().BFMatcher()
    back = [m.trainIdx for m in matcher.match(around2, around1)]
    best = [
        a for a, b in matcher.knnMatch(around1, around2, k=2) if a.distance < RATIO * b.distance
    ]
    found = [(*uv1[m.queryIdx], *uv2[m.trainIdx]) for m in best if back[m.trainIdx] == m.queryIdx]
    # One keypoint may have several orientations.
    found = np.unique(np.reshape(found, (-1, 4)).round(3), axis=0)
    return found[:, :2], found[:, 2:]


def _say_pose(task: Task, views: Sequence[View], found: Motion, qas: Sequence[QA]) -> list[str]:
    if found.cam2_from_cam1 is None:
        return [""] * len(qas)
    return say_pose(task, views, invert(found.cam2_from_cam1), qas, metric=False)


def say_pose(
    task: Task,
    views: Sequence[View],
    cam1_from_cam2: np.ndarray,
    qas: Sequence[QA],
    metric: bool,
) -> list[str]:
    """What a pose (4x4, up to scale unless metric) answers to questions about it, "" to others."""
    poses = np.eye(4), cam1_from_cam2
    posed = [replace(v, world_from_cam=pose) for v, pose in zip(views, poses, strict=True)]
    told = task.ask(posed, len(PARTS), np.random.default_rng(0), metric=metric)
    texts = {qa.kind: qa.answer for qa in told}
    return [texts.get(qa.kind, "") for qa in qas]


def _say_match(task: Task, views: Sequence[View], found: Motion, qas: Sequence[QA]) -> list[str]:
    if not len(found.uv1):
        return [""] * len(qas)
    size1, size2 = (view.size for view in views)
    texts = []
    for qa in qas:
        ((x, y),) = qa.about
        uv2 = moved(np.array(task.reference.decode(f"({x:.0f}, {y:.0f})", size1)), found, *views)
        inside = np.clip(uv2, 0, np.nextafter(size2, 0))  # both views see what is asked about
        match = task.reference.encode(tuple(inside.tolist()), size2)
        texts.append(task.templates["match"]["answer"].format(match=match))
    return texts


def moved(uv1: np.ndarray, found: Motion, view1: View, view2: View) -> np.ndarray:
    """Where a pixel (2,) of view 1 goes if it is as deep as the matches next to it; it may leave
    view 2.

    Without a motion, or where it brings the pixel behind the camera, it goes as those matches do.
    There must be one.
    """
    near = np.linalg.norm(found.uv1 - uv1, axis=1).argsort()[:NEIGHBOURS]
    simply = uv1 + np.median(found.uv2[near] - found.uv1[near], axis=0)
    if found.cam2_from_cam1 is None:
        return simply
    depth = _depth(found.uv1[near], found.uv2[near], found.cam2_from_cam1, view1, view2)
    uv2 = project(
        transform(found.cam2_from_cam1, unproject(uv1, depth, view1.camera)), view2.camera
    )
    return uv2 if np.isfinite(uv2).all() else simply


def _depth(
    uv1: np.ndarray, uv2: np.ndarray, cam2_from_cam1: np.ndarray, view1: View, view2: View
) -> float:
    """The median depth of matches, in lengths of the motion; NaN where that is not in front of
    camera 1."""
    x1, x2 = (rays(uv, view.camera)[:, :2] for uv, view in ((uv1, view1), (uv2, view2)))
    points = _cv2().triangulatePoints(np.eye(4)[:3], cam2_from_cam1[:3], x1.T, x2.T)
    with np.errstate(divide="ignore", invalid="ignore"):
        nearness = np.median(points[3] / points[2])
    return 1 / nearness if nearness > 1e-3 else np.nan


_SAY = {"correspondence": _say_match, "pose": _say_pose}
