"""Questions about your own photos: pixels in, values out, in the coordinates of the photo as it is.

Each function unifies the views to the focal length that the model was taught, words the questions
as it was taught, and has them answered together. The wording is drawn from `seed`.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from tqdm.auto import tqdm

from vlm3.focal import unify_focal
from vlm3.geometry import Camera, project, rays
from vlm3.qwen import decode
from vlm3.qwen.lessons import LONGEST
from vlm3.qwen.model import VLM
from vlm3.scoring.spread import Spread, spread
from vlm3.tasks.task import Task
from vlm3.views import QA, Answer, Sample, View


class Reading(NamedTuple):
    """A question, what was said to it, and the value that its task reads there, None for none."""

    qa: QA
    answer: Answer
    value: Any


def readings(
    vlm: VLM, task: str, views: Sequence[View], uv: np.ndarray = (), seed: int = 0, **options: Any
) -> list[Reading]:
    """All that a task asks of views whose labels nobody knows, in the units of its text.

    uv: (N, 2) pixels of the first view, where the task is about pixels; options: of the task's
    `unanswered`. ValueError for pixels outside the view, and for a box that is too small.
    """
    asked = vlm.task(task)
    unified, qas = _asked(vlm, asked, task, views, uv, seed, **options)
    return _read(asked, qas, _answers(vlm, task, unified, qas))


def depth(vlm: VLM, view: View, uv: np.ndarray, seed: int = 0) -> list[Reading]:
    """How far (N, 2) pixels of a view are along the optical axis, in metres. ValueError for pixels
    outside it."""
    return readings(vlm, "depth", (view,), uv, seed)


def depth_spreads(
    vlm: VLM, view: View, uv: np.ndarray, widest: int = 32, seed: int = 0
) -> list[Spread | None]:
    """The same as distributions, see `vlm3.scoring.spread`; None for each where answers may begin
    with thoughts, whose words branch long before their number does."""
    task = vlm.task("depth")
    if vlm.lesson("depth").tokens > LONGEST:
        return [None] * len(uv)
    unified, qas = _asked(vlm, task, "depth", (view,), uv, seed)
    (likely,) = decode.likely(vlm, [Sample(unified, tuple(qas), "depth", "")], widest)
    return [
        spread([task.read(qa, answer.text) for answer in answers], answers)
        for qa, answers in zip(qas, likely, strict=True)
    ]


def depth_map(
    vlm: VLM, view: View, stride: int = 8, progress: bool = True, at_once: int = 256
) -> np.ndarray:
    """Metres at the middle of each square of `stride` pixels, see `grid`: (H // stride, W //
    stride) float32.

    NaN where the answer is no length, or one beyond all photos. The image is read once for every
    `at_once` pixels.
    """
    uv = grid(view.size, stride)
    points, found = uv.reshape(-1, 2), []
    with tqdm(total=len(points), disable=not progress, unit="pixel") as bar:
        for some in np.array_split(points, range(at_once, len(points), at_once)):
            found.append(metres(vlm, view, some))
            bar.update(len(some))
    return np.concatenate(found).reshape(uv.shape[:2])


def metres(vlm: VLM, view: View, uv: np.ndarray) -> np.ndarray:
    """(N,) float32 of (N, 2) pixels, NaN where the answer is no length, or one beyond all
    photos."""
    values = [reading.value for reading in depth(vlm, view, uv)]
    return np.array([m if m and 1e-3 < m < 1e6 else np.nan for m in values], np.float32)


def grid(size: tuple[int, int], stride: int) -> np.ndarray:
    """(H // stride, W // stride, 2) pixels, the middles of squares. ValueError for a stride that
    leaves none."""
    width, height = size
    if not 1 <= stride <= min(size):
        raise ValueError(f"stride must be from 1 to {min(size)}, the shorter side, got {stride}")
    columns, rows = np.meshgrid(np.arange(width // stride), np.arange(height // stride))
    return (np.stack([columns, rows], -1) + 0.5) * stride


def correspondence(
    vlm: VLM, view1: View, view2: View, uv1: np.ndarray, seed: int = 0
) -> list[Reading]:
    """Where (N, 2) pixels of view 1 are in view 2.

    Values are (u, v) in pixels of view 2, None where none is said.

    A place that the model names in the padding lies outside view 2. ValueError for pixels outside
    view 1.
    """
    task, unified2 = vlm.task("correspondence"), _unified(vlm, "correspondence", view2)
    found = []
    for reading in readings(vlm, "correspondence", (view1, view2), uv1, seed):
        if reading.value is not None:
            uv2 = _moved(task.place(reading.value, unified2.size), unified2.camera, view2.camera)
            reading = reading._replace(value=tuple(uv2[0].tolist()))
        found.append(reading)
    return found


def pose(
    vlm: VLM, view1: View, view2: View, metric: bool = True, seed: int = 0
) -> tuple[dict, list[Reading]]:
    """How camera 2 stands to camera 1: all that was answered, as in `vlm3.tasks.pose`, and the
    single answers. Each field is what was said when it was asked for."""
    found = readings(vlm, "pose", (view1, view2), seed=seed, metric=metric)
    return {k: v for reading in found for k, v in (reading.value or {}).items()}, found


def objects(vlm: VLM, view: View, questions: Sequence[str | QA]) -> list[Reading]:
    """Answers to questions in which {1}, {2} and so on stand for the boxes of the view; a QA may
    tell of what kind.

    How boxes are written is said before each question, as in all questions of the task. ValueError
    for a question about a box that is not there.
    """
    task, unified = vlm.task("objects"), _unified(vlm, "objects", view)
    asked = [q if isinstance(q, QA) else QA("", (), q) for q in questions]
    _demand_boxes(view, unified)
    qas = [task.placed(qa, unified) for qa in asked]
    return _read(task, qas, _answers(vlm, "objects", unified, qas))


def _answers(vlm: VLM, task: str, views: View | Sequence[View], qas: Sequence[QA]) -> list[Answer]:
    """Greedy ones, as long as the model's lesson allows."""
    return decode.answer(vlm, views, qas, vlm.lesson(task).tokens)


def _asked(
    vlm: VLM,
    task: Task,
    name: str,
    views: Sequence[View],
    uv: np.ndarray,
    seed: int,
    **options: Any,
) -> tuple[tuple[View, ...], list[QA]]:
    """Views as they are shown, and the questions about them."""
    unified = tuple(_unified(vlm, name, view) for view in views)
    if task.subject == "boxes":
        _demand_boxes(views[0], unified[0])
    places = _places(uv, views[0], unified[0])
    return unified, task.unanswered(unified, np.random.default_rng(seed), places, **options)


def _read(task: Task, qas: Sequence[QA], answers: Sequence[Answer]) -> list[Reading]:
    return [Reading(q, a, task.read(q, a.text)) for q, a in zip(qas, answers, strict=True)]


def _unified(vlm: VLM, task: str, view: View) -> View:
    return unify_focal(view, **vlm.lesson(task).sizing)


def _demand_boxes(view: View, unified: View) -> None:
    if len(unified.boxes) < len(view.boxes):
        raise ValueError("a box holds less than a pixel of the unified view: draw it larger")


def _places(uv: np.ndarray, view: View, unified: View) -> np.ndarray:
    """Pixels of a view in the unified one, which may end up to one of its pixels before the view
    does."""
    uv = np.reshape(uv, (-1, 2)).astype(float)
    if len(outside := uv[~((uv >= 0) & (uv < view.size)).all(1)]):
        u, v = outside[0].tolist()
        size = f"{view.size[0]}x{view.size[1]}"
        raise ValueError(f"pixel ({u:g}, {v:g}) lies outside the {size} photo")
    return _moved(uv, view.camera, unified.camera).clip(0, np.nextafter(unified.size, 0))


def _moved(uv: np.ndarray, old: Camera, new: Camera) -> np.ndarray:
    """The same directions in another camera."""
    return project(rays(np.reshape(uv, (-1, 2)), old), new)
