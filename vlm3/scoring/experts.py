"""Experts: networks of others that see geometry and say no words, answering what a model is asked.

What an expert finds in one or two views, depth, matches or a pose, becomes answers in the words of
the task's templates, so that it is read and scored like a model. It is shown the same views without
the padding of focal unification, which leaves the places of all pixels as they are; it is told
their cameras where it takes them, and scales images itself as it was made to.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from importlib import import_module, metadata
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from vlm3 import disk
from vlm3.focal import PAD_VALUE
from vlm3.geometry import range_from_depth
from vlm3.mixture import Source
from vlm3.tasks.pose_text import PARTS
from vlm3.tasks.task import Task
from vlm3.views import QA, Answer, Sample, View

_LOG = logging.getLogger("vlm3")
WEIGHTS = ("*.safetensors", "*.bin", "*.pt", "*.pth")


@dataclass(frozen=True)
class Expert:
    """What is to be known of an expert before it is asked.

    name: as `--model` has it; weights: for each task that it answers those that are taken where
    `--model NAME` names none, a hub name or a word of the expert's own; install: the command that
    brings its package; licence: of these weights; research_only: whether that forbids to earn money
    with them; published: for each task the row of the paper's table that it stands in.
    """

    name: str
    weights: Mapping[str, str]
    install: str
    licence: str
    research_only: bool = False
    published: Mapping[str, str] = field(default_factory=dict)

    def meant(self, model: str, source: Source) -> str:
        """The weights that NAME:model names. ValueError for a task that it does not answer."""
        if source.task not in self.weights:
            able = " and ".join(self.weights)
            raise ValueError(f"{self.name} answers {able}, not {source.task}: leave it out there")
        return model or self.weights[source.task]

    def module(self, name: str, *holds: str) -> ModuleType:
        """A module of its package; ValueError, naming the way out, where it is not installed or
        another package of its name is, which lacks what this one holds."""
        try:
            found = import_module(name)
        except ImportError as error:
            raise ValueError(f"{self.name} needs {error.name or name}: {self.install}") from error
        if lacking := [each for each in holds if not hasattr(found, each)]:
            raise ValueError(
                f"{self.name} needs {', '.join(lacking)} of {name}, and the {name} that is "
                f"installed is another package: {self.install}"
            )
        return found

    def loaded(self, load: Callable[[str], Any], weights: str) -> Any:
        """What load(weights) gives, with a word on the licence. ValueError, naming the way out,
        for weights that are neither on this disk nor to be had."""
        if self.research_only:
            _LOG.warning("%s: %s: licence %s", self.name, weights, self.licence)
        try:
            return load(weights)
        except ImportError as error:
            raise ValueError(f"{self.name}: {_line(error)}; {self.install}") from error
        except OSError as error:
            raise ValueError(
                f"{self.name}: {weights} cannot be had ({_line(error)}); where there "
                f"is no network, name what was downloaded elsewhere: --model {self.name}:PATH"
            ) from error

    def identity(self, package: str, weights: str) -> str:
        """What tells its answers from those of another version or other weights."""
        digest = disk.fingerprint(_files(Path(weights)))
        return f"{package} {_version(package)} {weights} {digest}".strip()


def _line(error: Exception) -> str:
    """The first line of what an error says."""
    return next((line for line in str(error).splitlines() if line.strip()), repr(error))


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:  # a folder on the path
        return "of its repository"


def _files(path: Path) -> list[Path]:
    """Weights on this disk; none for a name."""
    return [path] if path.is_file() else sorted(p for kind in WEIGHTS for p in path.glob(kind))


class Found(NamedTuple):
    """What an expert found in the pictures of a sample; None for what it does not look for.

    depth_m: (h, w) z-depth of the whole first picture in metres, at any resolution; follow: where
    (N, 2) pixels of the first picture are in the second, NaN where it does not know;
    cam1_from_cam2: 4x4 pose, up to scale unless metric.
    """

    depth_m: np.ndarray | None = None
    follow: Callable[[np.ndarray], np.ndarray] | None = None
    cam1_from_cam2: np.ndarray | None = None
    metric: bool = False


Look = Callable[[Sequence[View]], Found]


def answering(look: Look, source: Source) -> Callable[[Sequence[Sample]], list[list[Answer]]]:
    """The `predict` of a predictor who looks at the pictures of a sample once for all questions."""
    return partial(_answers, look, SAY[source.task], source.bound)


def _answers(
    look: Look, say: Callable, task: Task, samples: Sequence[Sample]
) -> list[list[Answer]]:
    said = []
    for sample in samples:
        views = sample.views[: task.views]
        found = look([picture(view) for view in views])
        said.append([Answer(text) for text in say(task, views, found, sample.qas)])
    return said


def picture(view: View) -> View:
    """Image, camera and pose of a view, without the grey that unification padded it with on the
    right and at the bottom; its labels stay behind."""
    grey = (view.image == PAD_VALUE).all(-1)
    width, height = (_before(grey.all(axis)) for axis in (0, 1))
    if (width, height) == view.size or not width * height:
        return View(view.image, view.camera, world_from_cam=view.world_from_cam)
    camera = view.camera and replace(view.camera, width=width, height=height)
    return View(view.image[:height, :width], camera, world_from_cam=view.world_from_cam)


def _before(grey: np.ndarray) -> int:
    """How many lines there are before those at the end that are all grey."""
    return int(np.flatnonzero(~grey)[-1]) + 1 if not grey.all() else 0


def say_depth(task: Task, views: Sequence[View], found: Found, qas: Sequence[QA]) -> list[str]:
    """What a depth map answers to questions about pixels of the first view, z-depth or range."""
    if found.depth_m is None:
        return [""] * len(qas)
    uv, shown = pixels(task, views[0], qas), picture(views[0])
    metres = held(found.depth_m, uv, shown.size)
    texts = []
    for qa, place, z_m in zip(qas, uv, metres, strict=True):
        far = range_from_depth(z_m, place, shown.camera) if qa.kind == "range" else z_m
        good = np.isfinite(far) and far > 0
        texts.append(_form(task, qa, "z").format(value=float(far)) if good else "")
    return texts


def say_matches(task: Task, views: Sequence[View], found: Found, qas: Sequence[QA]) -> list[str]:
    """Where pixels of the first view are in the second, in words."""
    if found.follow is None:
        return [""] * len(qas)
    texts, size = [], picture(views[1]).size
    for qa, uv in zip(qas, found.follow(pixels(task, views[0], qas)), strict=True):
        if not np.isfinite(uv).all():
            texts.append("")
            continue
        inside = np.clip(uv, 0, np.nextafter(size, 0))  # both views see what is asked about
        match = task.reference.encode(tuple(inside.tolist()), views[1].size)
        texts.append(_form(task, qa, "match").format(match=match))
    return texts


def _poses(task: Task, views: Sequence[View], found: Found, qas: Sequence[QA]) -> list[str]:
    if found.cam1_from_cam2 is None:
        return [""] * len(qas)
    return say_pose(task, views, found.cam1_from_cam2, qas, found.metric)


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


SAY = {"depth": say_depth, "correspondence": say_matches, "pose": _poses}


def _form(task: Task, qa: QA, kind: str) -> str:
    """How an answer is written; kind: what is asked where nobody said."""
    return task.templates[qa.kind or kind]["answer"]


def pixels(task: Task, view: View, qas: Sequence[QA]) -> np.ndarray:
    """(N, 2) pixels of a view that questions name."""
    named = [f"({x:.0f}, {y:.0f})" for ((x, y),) in (qa.about for qa in qas)]
    return np.reshape([task.reference.decode(each, view.size) for each in named], (-1, 2))


def held(values: np.ndarray, uv: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Values of a map (h, w, ...) of a whole picture at its pixels (N, 2): those of the cells that
    hold them; size: (width, height) of the picture."""
    shape = np.array(values.shape[1::-1])
    columns, rows = np.clip(uv * shape / size, 0, shape - 1).astype(int).T
    return values[rows, columns]


def between(values: np.ndarray, uv: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The same, interpolated linearly between the centres of cells: (N, ...)."""
    shape = np.array(values.shape[1::-1])
    x, y = np.clip(uv * shape / size - 0.5, 0, shape - 1).T
    left, top = x.astype(int), y.astype(int)
    right, bottom = np.minimum(left + 1, shape[0] - 1), np.minimum(top + 1, shape[1] - 1)
    across, down = (x - left)[:, None], (y - top)[:, None]
    upper = values[top, left] * (1 - across) + values[top, right] * across
    lower = values[bottom, left] * (1 - across) + values[bottom, right] * across
    return upper * (1 - down) + lower * down
