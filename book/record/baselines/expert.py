"""The expert of the same eyes: the tower and its dense heads as `pretrain.py` left them, no words.

VLM3_BASELINES=book/record/baselines vlm3 evaluate --model expert:RUN --task depth ...

Depth is what the head says of a pixel. A match is the place of view 2 whose features are most like
those of the pixel. A pose is the one on which matches agree with the depth of view 1 (PnP by
RANSAC), so it knows its length. What a model loses against it, its words cost.
"""

import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from vlm3.geometry import invert, unproject
from vlm3.mixture import Source
from vlm3.qwen import model as models
from vlm3.qwen.packing import grids_of
from vlm3.qwen.patches import patches
from vlm3.scoring.experts import say_pose
from vlm3.scoring.predictors import Predictor
from vlm3.tasks.task import Task
from vlm3.views import QA, Answer, Sample, View

sys.path.insert(0, str(Path(__file__).parents[1]))
import dense

STEP_PX, AROUND_PX = 2, 8  # between places that are compared; around the best one, their mean
POINTS_PX, BACK_PX = 6, 6  # between points whose matches make a pose; how near the way back ends
AGREE_PX, LEAST = 3.0, 8  # what matches are off a pose on which they agree; how many must


class Seen(NamedTuple):
    """(H, W) metres, (1, D, h, w) features, of a view."""

    view: View
    depth_m: np.ndarray
    features: Tensor


def predictor(model: str, source: Source) -> Predictor:
    """model: the folder of a pre-training. ValueError for a task that it does not solve."""
    if source.task not in _SAY:
        raise ValueError(f"expert answers {', '.join(_SAY)}, not {source.task}")
    eyes = dense.Dense(models.load(Path(model) / "model", dtype=torch.float32)).eval()
    weights = load_file(Path(model) / "heads.safetensors")
    eyes.load_state_dict(weights, strict=False)
    predict = partial(_answers, _SAY[source.task], source.bound, eyes)
    return Predictor(predict, source, f"expert {float(eyes.tower_depth.weight.sum()):.6f}")


def _answers(
    say: Callable, task: Task, eyes: dense.Dense, samples: Sequence[Sample]
) -> list[list[Answer]]:
    found = []
    for sample in samples:
        seen = [look(eyes, view) for view in sample.views]
        found.append([Answer(said) for said in say(task, seen, sample.qas)])
    return found


@torch.no_grad()
def look(eyes: dense.Dense, view: View) -> Seen:
    image, (grid,) = torch.from_numpy(np.array(view.image)), grids_of([view.image])
    merge = eyes.vlm.merge
    out = eyes.net.visual(patches(image, merge), grid_thw=torch.from_numpy(grid[None]))
    tower, shape = out.last_hidden_state, (1, 1, *grid[1:].tolist())
    depth = dense.unfolded(dense.raster(eyes.tower_depth(tower), shape, merge), dense.PATCH) + 1
    features = dense.raster(eyes.features(tower), shape, merge)[:, 0].movedim(-1, 1)
    return Seen(view, depth[0, 0].exp().numpy(), features)


def matches(first: Seen, second: Seen, uv: np.ndarray) -> np.ndarray:
    """(N, 2) pixels of a view to those of another: the mean of the places around the likest one."""
    width, height = second.view.size
    rows, columns = np.indices((height // STEP_PX, width // STEP_PX))
    places = (np.stack([columns, rows], -1).reshape(-1, 2) + 0.5) * STEP_PX
    here, there = (_at(seen, of) for seen, of in ((first, uv), (second, places)))
    alike = here @ there.T / 0.07
    best = places[alike.argmax(1)]
    near = np.linalg.norm(places - best[:, None], axis=-1) < AROUND_PX
    shares = np.exp(alike - alike.max(1, keepdims=True)) * near
    return shares @ places / shares.sum(1, keepdims=True)


def _at(seen: Seen, uv: np.ndarray) -> np.ndarray:
    places = torch.from_numpy(uv / seen.view.size).float()[None]
    return dense.at(seen.features, places)[0].numpy()


def cam2_from_cam1(first: Seen, second: Seen) -> np.ndarray | None:
    """4x4 in metres; None where too few matches agree."""
    import cv2

    cv2.setNumThreads(1)
    cv2.setRNGSeed(0)
    width, height = first.view.size
    rows, columns = np.indices((height // POINTS_PX, width // POINTS_PX))
    uv1 = (np.stack([columns, rows], -1).reshape(-1, 2) + 0.5) * POINTS_PX
    uv2 = matches(first, second, uv1)
    kept = np.linalg.norm(matches(second, first, uv2) - uv1, axis=1) < BACK_PX
    uv1, uv2 = uv1[kept], uv2[kept]
    if len(uv1) < LEAST:
        return None
    metres = first.depth_m[uv1[:, 1].astype(int), uv1[:, 0].astype(int)]
    points = unproject(uv1, metres, first.view.camera)
    found, turn, shift, agree = cv2.solvePnPRansac(
        points, uv2, second.view.camera.K, None, reprojectionError=AGREE_PX, iterationsCount=1000
    )
    if not found or agree is None or len(agree) < LEAST:
        return None
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = cv2.Rodrigues(turn)[0], shift[:, 0]
    return pose


def _pixels(task: Task, seen: Seen, qas: Sequence[QA]) -> np.ndarray:
    abouts = [f"({x:.0f}, {y:.0f})" for ((x, y),) in (qa.about for qa in qas)]
    return np.array([task.reference.decode(about, seen.view.size) for about in abouts])


def _say_depth(task: Task, seen: Sequence[Seen], qas: Sequence[QA]) -> list[str]:
    columns, rows = _pixels(task, seen[0], qas).astype(int).T
    form = task.templates["z"]["answer"]
    return [form.format(value=metres) for metres in seen[0].depth_m[rows, columns]]


def _say_match(task: Task, seen: Sequence[Seen], qas: Sequence[QA]) -> list[str]:
    size, form = seen[1].view.size, task.templates["match"]["answer"]
    places = matches(*seen, _pixels(task, seen[0], qas))
    inside = np.clip(places, 0, np.nextafter(size, 0))
    return [form.format(match=task.reference.encode(tuple(uv), size)) for uv in inside.tolist()]


def _say_pose(task: Task, seen: Sequence[Seen], qas: Sequence[QA]) -> list[str]:
    pose = cam2_from_cam1(*seen)
    if pose is None:
        return [""] * len(qas)
    return say_pose(task, [each.view for each in seen], invert(pose), qas, metric=True)


_SAY = {"depth": _say_depth, "correspondence": _say_match, "pose": _say_pose}
