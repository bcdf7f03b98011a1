"""How a camera moved between two views, from pixels that match: one rigid motion by RANSAC.

PoseLib solves it where it is installed (`pip install poselib`): five points make a motion, which is
refined on all that agree with it at once (LO-RANSAC, Larsson and contributors, "PoseLib"). Without,
OpenCV's essential matrix does, which ends at the best five. With the same matches, held apart by
the same distance, AUC@30 of poses was 0.46 with PoseLib and 0.34 without on `homes-validation`,
where this was chosen.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np

from vlm3.geometry import Camera, project, rays, transform, unproject
from vlm3.views import View

NEAR_PX = 0.5  # matches this close to their epipolar lines agree with a motion
LEAST = 8, 5  # matches before and after that test
SURE = 0.9999  # that five good ones were drawn
DRAWS = {"min_iterations": 1000, "max_iterations": 10000}  # of five matches, by PoseLib
NEIGHBOURS = 3  # matches that say how deep a pixel is
STRAYS = 0.5  # of the way to the last of these, how far it may end from where they go


class Motion(NamedTuple):
    """uv1, uv2: (N, 2) pixels that match; cam2_from_cam1: 4x4 up to scale on which they agree, None
    without one."""

    uv1: np.ndarray
    uv2: np.ndarray
    cam2_from_cam1: np.ndarray | None


def solver() -> str:
    """Who solves it here, for the identity of what was answered."""
    poselib = _poselib()
    return f"PoseLib {poselib.__version__}" if poselib else f"OpenCV {steady_cv2().__version__}"


def solved(uv1: np.ndarray, uv2: np.ndarray, view1: View, view2: View) -> Motion:
    """The motion on which (N, 2) and (N, 2) pixels agree, with those that do; all of them and no
    motion where too few agree. Deterministic."""
    if len(uv1) < LEAST[0]:
        return Motion(uv1, uv2, None)
    solve = _by_poselib if _poselib() else _by_opencv
    pose, kept = solve(uv1, uv2, view1.camera, view2.camera)
    return Motion(uv1, uv2, None) if pose is None else Motion(uv1[kept], uv2[kept], pose)


def _by_poselib(
    uv1: np.ndarray, uv2: np.ndarray, camera1: Camera, camera2: Camera
) -> tuple[np.ndarray | None, np.ndarray]:
    options = {"max_epipolar_error": NEAR_PX, "success_prob": SURE, "seed": 0, **DRAWS}
    lenses = map(_lens, (camera1, camera2))
    found, told = _poselib().estimate_relative_pose(uv1, uv2, *lenses, options, {})
    kept, pose = np.array(told["inliers"], bool), np.eye(4)
    pose[:3, :3], pose[:3, 3] = found.R, found.t
    return (pose if kept.sum() >= LEAST[1] else None), kept


def _lens(camera: Camera) -> dict:
    params = [camera.fx, camera.fy, camera.cx, camera.cy]
    return {
        "model": "PINHOLE",
        "width": camera.width,
        "height": camera.height,
        "params": params,
    }


def _by_opencv(
    uv1: np.ndarray, uv2: np.ndarray, camera1: Camera, camera2: Camera
) -> tuple[np.ndarray | None, np.ndarray]:
    x1, x2 = (rays(uv, camera)[:, :2] for uv, camera in ((uv1, camera1), (uv2, camera2)))
    essential, agree = steady_cv2().findEssentialMat(
        x1, x2, np.eye(3), method=steady_cv2().RANSAC, prob=SURE, threshold=NEAR_PX / camera1.fx
    )
    if essential is None or essential.shape != (3, 3):
        return None, np.zeros(len(uv1), bool)
    before, rotation, translation, _ = steady_cv2().recoverPose(
        essential, x1, x2, np.eye(3), mask=agree.copy()
    )
    pose, kept = np.eye(4), agree[:, 0] > 0
    pose[:3, :3], pose[:3, 3] = rotation, translation[:, 0]
    # points in front of both cameras
    return (pose if before >= LEAST[1] else None), kept


def steady_cv2():
    """OpenCV, heavy and so imported late, on one core and without chance."""
    import cv2

    cv2.setNumThreads(1)
    cv2.setRNGSeed(0)
    return cv2


def _poselib():
    """None where it is not installed."""
    try:
        import poselib
    except ImportError:
        return None
    return poselib


def follower(found: Motion, view1: View, view2: View) -> Callable[[np.ndarray], np.ndarray] | None:
    """Where pixels (N, 2) of view 1 go, see `moved`; None without a match."""
    if not len(found.uv1):
        return None
    one = partial(moved, found=found, view1=view1, view2=view2)
    return lambda uv: np.array([one(pixel) for pixel in uv])


def moved(uv1: np.ndarray, found: Motion, view1: View, view2: View) -> np.ndarray:
    """Where a pixel (2,) of view 1 goes if it is as deep as the matches next to it; it may leave
    view 2.

    It goes as those matches do without a motion, or where that brings it behind the camera or far
    from them. There must be one.
    """
    off = np.linalg.norm(found.uv1 - uv1, axis=1)
    near = off.argsort()[:NEIGHBOURS]
    simply = uv1 + np.median(found.uv2[near] - found.uv1[near], axis=0)
    if found.cam2_from_cam1 is None:
        return simply
    depth = _depth(found.uv1[near], found.uv2[near], found.cam2_from_cam1, view1, view2)
    uv2 = project(
        transform(found.cam2_from_cam1, unproject(uv1, depth, view1.camera)), view2.camera
    )
    stays = np.linalg.norm(uv2 - simply) <= STRAYS * off[near[-1]]  # not of NaN
    return uv2 if stays else simply


def _depth(
    uv1: np.ndarray, uv2: np.ndarray, cam2_from_cam1: np.ndarray, view1: View, view2: View
) -> float:
    """The median depth of matches, in lengths of the motion; NaN where that is not in front of
    camera 1."""
    x1, x2 = (rays(uv, view.camera)[:, :2] for uv, view in ((uv1, view1), (uv2, view2)))
    points = steady_cv2().triangulatePoints(np.eye(4)[:3], cam2_from_cam1[:3], x1.T, x2.T)
    with np.errstate(divide="ignore", invalid="ignore"):
        nearness = np.median(points[3] / points[2])
    return 1 / nearness if nearness > 1e-3 else np.nan
