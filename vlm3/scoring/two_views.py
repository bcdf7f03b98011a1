"""What is asked about two views beyond the scores of an evaluation: poses made of answers, pixels
by what the other view shows of them, and second views through other lenses."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from vlm3 import tasks
from vlm3.focal import unify_focal
from vlm3.geometry import pixel_centres, relative_pose, rotation_angle_deg, rotation_from_ypr
from vlm3.qwen import decode
from vlm3.qwen.model import VLM
from vlm3.sources.rooms import Rooms
from vlm3.sources.rooms.raycast import render
from vlm3.tasks.correspondence import covisible
from vlm3.tasks.pose_text import PARTS, Fields
from vlm3.tasks.task import Task
from vlm3.views import Answer, Pair, Sample, View

Views = Sequence[View]


def cam1_from_cam2(said: Fields) -> np.ndarray | None:
    """4x4 pose made of the fields of `vlm3.tasks.pose_text`, None where a part lacks."""
    parts = (*PARTS["rotation"], "direction", "distance_m")
    if not said.keys() >= set(parts):
        return None
    found = np.eye(4)
    found[:3, :3] = rotation_from_ypr(*(said[field] for field in parts[:3]))
    found[:3, 3] = np.multiply(said["direction"], said["distance_m"])
    return found


def true_pose(views: Views) -> np.ndarray:
    """4x4 cam1_from_cam2 of two views whose poses are known."""
    return relative_pose(*(view.world_from_cam for view in views[:2]))


def poses(vlm: VLM, pairs: Sequence[Views], at_once: int = 8) -> list[np.ndarray | None]:
    """What a model says of each pair of views, as 4x4 cam1_from_cam2, None where a part lacks.

    at_once: pairs that are answered side by side; the answers are those of one at a time.
    """
    task, sizing = vlm.task("pose"), vlm.lesson("pose").sizing
    rng, samples, answers = np.random.default_rng(0), [], []
    for pair in pairs:
        views = tuple(unify_focal(view, **sizing) for view in pair[:2])
        samples.append(Sample(views, tuple(task.unanswered(views, rng)), "pose", ""))
    for start in range(0, len(samples), at_once):
        answers += decode.greedy(vlm, samples[start : start + at_once])
    return [_posed(task, *each) for each in zip(samples, answers, strict=True)]


def _posed(task: Task, sample: Sample, answers: Sequence[Answer]) -> np.ndarray | None:
    read = [task.read(qa, a.text) or {} for qa, a in zip(sample.qas, answers, strict=True)]
    return cam1_from_cam2({field: value for part in read for field, value in part.items()})


def apart(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """How far two 4x4 poses in one frame are apart: degrees between their orientations, metres
    between their places."""
    turn = rotation_angle_deg(a[:3, :3].T @ b[:3, :3])
    return turn, float(np.linalg.norm(a[:3, 3] - b[:3, 3]))


def pose_errors(answered: Sequence[tuple[Fields | None, Fields]]) -> dict[str, np.ndarray]:
    """Scores of `vlm3.tasks.pose` for each pair of views by itself, (N,), NaN where unanswered.

    answered: (answer, truth) of questions about N pairs of views, in any order.
    """
    task, by_pair = tasks.get("pose"), {}
    for said, truth in answered:
        by_pair.setdefault(truth["pair"], []).append((said, truth))
    found = [task.score(group) for group in by_pair.values()]
    return {name: np.array([each[name] for each in found]) for name in found[0]}


def worst(errors: Mapping[str, np.ndarray]) -> np.ndarray:
    """(N,) the larger error of each pose in degrees, of rotation and direction (sign ignored),
    infinite where one is missing."""
    both = np.maximum(errors["rotation_error_deg"], errors["direction_error_deg"])
    return np.where(np.isfinite(both), both, np.inf)


def matches_near(pair: Pair, points: Sequence[tuple[float, float]]) -> list[int]:
    """Which known matches of a pair lie nearest to some pixels of its first view."""
    return [int(np.hypot(*(pair.uv1 - point).T).argmin()) for point in points]


def by_sight(views: Views) -> dict[str, np.ndarray]:
    """Pixels of view 1, (N, 2) each, by what view 2 does with them: "seen", "hidden" behind
    something, "outside" of the image."""
    uv1 = pixel_centres(views[0].camera)[np.isfinite(views[0].depth_m)]
    uv2, seen = covisible(*views[:2], uv1)
    inside = ((uv2 >= 0) & (uv2 < views[1].size)).all(-1)
    return {"seen": uv1[seen], "hidden": uv1[inside & ~seen], "outside": uv1[~inside]}


def some(uv: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """Up to n of (N, 2) pixels, all different."""
    return uv[rng.choice(len(uv), min(n, len(uv)), replace=False)]


def through(rooms: Rooms, item: int, focal_px: Sequence[float]) -> tuple[View, ...]:
    """The views of a scene from where they stand and on the same sensor, each through a lens of its
    own focal length."""
    scene, stands = rooms.scene(item)
    cameras = [replace(camera, fx=f, fy=f) for (camera, _), f in zip(stands, focal_px, strict=True)]
    places = [world_from_cam for _, world_from_cam in stands]
    shots = render([scene] * len(stands), cameras, places)
    return tuple(
        View(shot.rgb, camera, shot.depth_m, world_from_cam=place)
        for shot, camera, place in zip(shots, cameras, places, strict=True)
    )


def claimed(view: View, focal_px: float) -> View:
    """The same pixels, said to have been taken with another focal length."""
    return replace(view, camera=replace(view.camera, fx=focal_px, fy=focal_px))
