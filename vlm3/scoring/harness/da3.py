"""Poses in the files of DA3-BENCH, the benchmark of Depth Anything 3.

Lin et al. 2025, ByteDance. Below a folder, model_results/DATA/SCENE/unposed/exports holds
mini_npz/results.npz, whose `extrinsics` are what was predicted, (N, 3, 4) or (N, 4, 4), and
gt_meta.npz, whose `extrinsics` are the truth: both cam_from_world of the N frames, x right, y down,
z forward. `intrinsics` are (N, 3, 3) and count from pixel centres.

Its score and ours differ in two ways: it takes the mean of its scenes, and compares
inverse(cam_from_world_1) @ cam_from_world_2, whose translation is not that of camera 2 as camera 1
sees it, but depends on where the world begins. Here a pose is cam1_from_cam2, as in VGGT.
"""

from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import numpy as np

from vlm3 import disk, tasks
from vlm3.geometry import Camera, invert
from vlm3.scoring import again, evaluate, two_views
from vlm3.tasks.pose import fields_of
from vlm3.tasks.pose_text import PARTS, Fields
from vlm3.views import QA, Answer

PREDICTED, TRUTH = "exports/mini_npz/results.npz", "exports/gt_meta.npz"
FORMS = {
    "angle": "{rotation_angle_deg:.4f} degrees",
    "rotation": "yaw {yaw_deg:+.4f}, pitch {pitch_deg:+.4f}, roll {roll_deg:+.4f} degrees",
    "direction": "({direction[0]:+.6f}, {direction[1]:+.6f}, {direction[2]:+.6f})",
    "distance": "{distance_m:.6f} metres",
}


def read(root: Path, out: Path, model: str = "DA3", metric: bool = False) -> int:
    """A folder of predictions from all pairs of frames of all scenes below a folder of results;
    returns how many pairs.

    metric: whether the predicted translations are metres; else distances are not asked for.
    FileNotFoundError for a folder without results, ValueError for a scene whose files do not fit.
    """
    lines = []
    for scene, predicted, truth in _scenes(root):
        for first, second in combinations(range(len(truth)), 2):
            ends = (each[[first, second]] for each in (predicted, truth))
            said, true = (fields_of(a @ invert(b)) for a, b in ends)
            qas = _asked(true, metric)
            answers = [
                Answer(FORMS[qa.kind].format(**said) if _known(qa, said) else "") for qa in qas
            ]
            lines.append(evaluate.line(len(lines), qas, answers, scene))
    asked = {"origin": {}, "size": len(lines), "task": "pose", "templates": {}}
    told = {"task": "pose", "source": "DA3-BENCH", "model": model, "samples": len(lines)}
    told |= {"questions": 0, "seed": 0, "asked": {"DA3-BENCH": asked}}
    evaluate.keep(out, told, lines)
    return len(lines)


def _scenes(root: Path) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Name, predicted and true cam_from_world, (N, 4, 4) each."""
    found = sorted(Path(root).glob(f"**/unposed/{PREDICTED}"))
    if not found:
        raise FileNotFoundError(f"{root}: no DATA/SCENE/unposed/{PREDICTED} below it")
    for path in found:
        folder = path.parents[2]
        scene = "/".join(folder.parts[-3:-1])
        predicted, truth = (_extrinsics(folder / name) for name in (PREDICTED, TRUTH))
        if predicted.shape != truth.shape:
            raise ValueError(f"{folder}: {len(predicted)} poses predicted, {len(truth)} true ones")
        yield scene, predicted, truth


def _extrinsics(path: Path) -> np.ndarray:
    """(N, 4, 4) cam_from_world."""
    try:
        with np.load(path, allow_pickle=False) as file:
            found = np.asarray(file["extrinsics"], float)
    except (KeyError, ValueError) as error:
        raise ValueError(f"{path}: not a file of DA3-BENCH ({error})") from error
    if found.ndim != 3 or found.shape[1:] not in ((3, 4), (4, 4)) or not np.isfinite(found).all():
        raise ValueError(f"{path}: extrinsics must be (N, 3, 4) or (N, 4, 4), got {found.shape}")
    whole = np.tile(np.eye(4), (len(found), 1, 1))
    whole[:, :3] = found[:, :3]
    return whole


def _asked(truth: Fields, metric: bool) -> list[QA]:
    found = []
    for qa in tasks.get("pose").unanswered((), np.random.default_rng(0), metric=metric):
        if all(field in truth for field in PARTS[qa.kind]):
            fields = (*PARTS[qa.kind], "pair")
            found.append(qa._replace(truth={field: truth[field] for field in fields}))
    return found


def _known(qa: QA, said: Fields) -> bool:
    return all(field in said for field in PARTS[qa.kind])


def write(folder: str | Path, out: Path) -> tuple[int, int]:
    """A folder of pose predictions of ours as results, each pair of views a scene of two frames;
    returns how many pairs were written and how many not, since no whole pose was answered.

    Where no distance was answered, cameras are one unit apart. Intrinsics are those of the views as
    they were asked about. ValueError for another task, for predictions
    that are not finished, and where the source cannot be made again.
    """
    if (name := evaluate.config_of(folder)["task"]) != "pose":
        raise ValueError(f"{folder}: results of DA3-BENCH are poses, not {name}")
    disk.demand_empty(out)
    evaluate.demand_whole(folder)
    source, written, skipped = again.source_of(folder), 0, 0
    with disk.whole(out) as draft:
        for item, pairs in evaluate.items(folder).items():
            said, true = (_merged([pair[k] for pair in pairs]) for k in (0, 1))
            if said is None or true is None:
                skipped += 1
                continue
            place = draft / "model_results" / "vlm3" / f"{item:06}" / "unposed"
            (place / PREDICTED).parent.mkdir(parents=True)
            cameras = [view.camera for view in again.sample(folder, source, item).views]
            K = np.stack(list(map(_opencv, cameras)))
            np.savez_compressed(place / PREDICTED, extrinsics=_two(said), intrinsics=K)
            np.savez_compressed(place / TRUTH, extrinsics=_two(true), intrinsics=K)
            written += 1
    return written, skipped


def _merged(parts: list[Fields | None]) -> np.ndarray | None:
    """4x4 cam1_from_cam2 of the answers to the questions about a pair, a unit apart without a
    distance."""
    found = {k: v for part in parts for k, v in (part or {}).items()}
    return two_views.cam1_from_cam2({"distance_m": 1.0} | found)


def _two(cam1_from_cam2: np.ndarray) -> np.ndarray:
    """(2, 4, 4) cam_from_world, the world being camera 1."""
    return np.stack([np.eye(4), invert(cam1_from_cam2)])


def _opencv(camera: Camera) -> np.ndarray:
    """3x3, its principal point counted from pixel centres."""
    return camera.K - [[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]]
