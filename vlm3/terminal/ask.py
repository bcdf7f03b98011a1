"""Questions about your own photos: pixels in, values out, in the coordinates of the photo as it is.

Each function unifies the views to the focal length that the model was taught, words the questions
as it was taught, and has them answered together. The wording is drawn from `seed`.
"""

import re
from collections.abc import Sequence

import numpy as np
from tqdm.auto import tqdm

from vlm3.focal import unify_focal
from vlm3.geometry import Camera, project, rays
from vlm3.qwen import decode as answer
from vlm3.qwen.decode import Answer
from vlm3.qwen.model import VLM
from vlm3.reference import PixelText
from vlm3.scoring.spread import Spread, spread
from vlm3.tasks import correspondence as correspondence_task
from vlm3.tasks import depth as depth_task
from vlm3.tasks import pose as pose_task
from vlm3.tasks import text
from vlm3.views import QA, Sample, View


def depth(vlm: VLM, view: View, uv: np.ndarray, seed: int = 0) -> list[Answer]:
    """How far (N, 2) pixels of a view are along the optical axis, in metres. ValueError for pixels
    outside it."""
    unified, questions = _about_depth(vlm, view, uv, seed)
    return answer.answer(vlm, unified, questions, "depth")


def depth_spreads(
    vlm: VLM, view: View, uv: np.ndarray, widest: int = 32, seed: int = 0
) -> list[Spread | None]:
    """The same as distributions, see `vlm3.scoring.spread`."""
    unified, questions = _about_depth(vlm, view, uv, seed)
    sample = Sample((unified,), tuple(questions), "depth", "")
    return [spread(answers) for answers in answer.likely(vlm, [sample], widest)[0]]


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
            found += [
                a.value if a.value and 1e-3 < a.value < 1e6 else np.nan
                for a in depth(vlm, view, some)
            ]
            bar.update(len(some))
    return np.array(found, np.float32).reshape(uv.shape[:2])


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
) -> list[Answer]:
    """Where (N, 2) pixels of view 1 are in view 2: values are (u, v) in pixels of view 2, None
    where none is said.

    A place that the model names in the padding lies outside view 2. ValueError for pixels outside
    view 1.
    """
    lesson, rng = vlm.lesson("correspondence"), np.random.default_rng(seed)
    templates, unified = (
        text.adapted("correspondence", lesson.templates),
        _unified(vlm, "correspondence", view1, view2),
    )
    places = _places(uv1, view1, unified[0])
    questions = [
        correspondence_task.unanswered(uv, unified[0].size, rng, templates) for uv in places
    ]
    scale, found = templates["scale"], []
    for a in answer.answer(vlm, unified, questions, "correspondence"):
        uv2 = a.value and (np.array(a.value) + 0.5) / scale * unified[1].size
        found.append(
            a._replace(
                value=a.value and tuple(_moved(uv2, unified[1].camera, view2.camera)[0].tolist())
            )
        )
    return found


def pose(
    vlm: VLM, view1: View, view2: View, metric: bool = True, seed: int = 0
) -> tuple[dict, list[Answer]]:
    """How camera 2 stands to camera 1: all that was answered, as in `vlm3.tasks.pose`, and the
    answers.

    Each field is what was said when it was asked for.
    """
    templates = text.adapted("pose", vlm.lesson("pose").templates)
    questions = pose_task.unanswered(np.random.default_rng(seed), metric, templates)
    answers = answer.answer(vlm, _unified(vlm, "pose", view1, view2), questions, "pose")
    fields = [
        (field, a.value)
        for qa, a in zip(questions, answers, strict=True)
        for field in pose_task.PARTS[qa.kind]
    ]
    return {field: value[field] for field, value in fields if value and field in value}, answers


def objects(vlm: VLM, view: View, questions: Sequence[str | QA]) -> list[Answer]:
    """Answers to questions in which {1}, {2} and so on stand for the boxes of the view; a QA may
    tell of what kind.

    How boxes are written is said before each question, as in all questions of the task. ValueError
    for a question about a box that is not there.
    """
    (unified,) = _unified(vlm, "objects", view)
    if len(unified.boxes) < len(view.boxes):
        raise ValueError("a box holds less than a pixel of the unified view: draw it larger")
    templates = text.adapted("objects", vlm.lesson("objects").templates)
    note = templates["note"].format(scale=templates["scale"])
    places = [PixelText(templates["scale"]).encode_box(box, unified.size) for box in unified.boxes]
    asked = [q if isinstance(q, QA) else QA(q, "", None) for q in questions]
    return answer.answer(vlm, unified, [_with_boxes(qa, places, note) for qa in asked], "objects")


def _with_boxes(qa: QA, places: list[str], note: str) -> QA:
    known = {str(number): place for number, place in enumerate(places, 1)}
    named = re.findall(r"{(.*?)}", qa.question)
    if unknown := set(named) - known.keys():
        raise ValueError(
            f"{qa.question!r} names {{{min(unknown)}}}: there are {len(places)} boxes, from {{1}} on"
        )
    question = re.sub(r"{(.*?)}", lambda name: known[name[1]], qa.question)
    about = tuple(text.tuples(" ".join(known[name] for name in dict.fromkeys(named))))
    return qa._replace(
        question=question if question.startswith(note) else f"{note} {question}", about=about
    )


def _about_depth(vlm: VLM, view: View, uv: np.ndarray, seed: int) -> tuple[View, list[QA]]:
    templates, rng = (
        text.adapted("depth", vlm.lesson("depth").templates),
        np.random.default_rng(seed),
    )
    (unified,) = _unified(vlm, "depth", view)
    places = _places(uv, view, unified)
    return unified, [
        depth_task.unanswered(place, unified.size, rng, templates=templates) for place in places
    ]


def _unified(vlm: VLM, task: str, *views: View) -> tuple[View, ...]:
    return tuple(unify_focal(view, vlm.lesson(task).focal_px) for view in views)


def _places(uv: np.ndarray, view: View, unified: View) -> list[list[float]]:
    """Pixels of a view in the unified one, which may end up to one of its pixels before the view
    does."""
    uv = np.reshape(uv, (-1, 2)).astype(float)
    if len(outside := uv[~((uv >= 0) & (uv < view.size)).all(1)]):
        u, v = outside[0].tolist()
        raise ValueError(
            f"pixel ({u:g}, {v:g}) lies outside the {view.size[0]}x{view.size[1]} photo"
        )
    return _moved(uv, view.camera, unified.camera).clip(0, np.nextafter(unified.size, 0)).tolist()


def _moved(uv: np.ndarray, old: Camera, new: Camera) -> np.ndarray:
    """The same directions in another camera."""
    return project(rays(np.reshape(uv, (-1, 2)), old), new)
