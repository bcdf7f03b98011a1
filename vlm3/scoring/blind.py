"""What those know who do not look: the words of a question, and what was true in other scenes.

Whoever answers in this way says what a score is worth: a model has seen something as far as it is
better. They learn from the training split of the source that is asked about, so that they know the
world and not the test; of a source without splits, from itself, in hindsight.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from pkgutil import resolve_name

import numpy as np

from vlm3 import mixture
from vlm3.geometry import Camera, rays
from vlm3.mixture import Source
from vlm3.mixture.files import expanded
from vlm3.tasks.task import Task
from vlm3.views import QA, Answer, NothingToAsk, Sample, View

LOOKED_AT = 1000  # samples, from which all but the constant learn
Say = Callable[[Sample], Sequence[str]]


class Blind:
    """A baseline that learns when it is first asked, so that a finished evaluation costs nothing.

    learn: from the samples that `items` of `lessons` give, by default LOOKED_AT of them, to what
    gives the texts that answer a sample.
    """

    def __init__(
        self,
        name: str,
        learn: Callable[[Iterator[Sample]], Say],
        lessons: Source,
        items: Sequence[int] | None = None,
    ):
        self._name, self._learn, self._lessons = name, learn, lessons
        self._items = evenly(len(lessons.items)) if items is None else items

    @cached_property
    def _say(self) -> Say:
        return self._learn(seen(self._lessons, self._items))

    def predict(self, samples: Sequence[Sample]) -> list[list[Answer]]:
        return [[Answer(text) for text in self._say(sample)] for sample in samples]

    @property
    def identity(self) -> str:
        """The same for the same lessons."""
        described = mixture.Mixture({"lessons": self._lessons}).description
        told = json.dumps([self._name, described, list(self._items)], default=str)
        return f"learned from {hashlib.sha256(told.encode()).hexdigest()[:16]}"


def lessons(source: Source) -> Source:
    """The training split of a source, where what made its items takes one of several splits and has
    that one on this disk; else the source itself."""
    arguments = dict(source.origin.get("arguments", {}))
    if "split" not in arguments:
        return source
    arguments["split"] = "train"
    try:
        items = resolve_name(source.origin["from"])(**expanded(arguments))
    except FileNotFoundError:
        return source
    return replace(source, items=items, origin={**source.origin, "arguments": arguments})


def evenly(size: int) -> list[int]:
    """Up to LOOKED_AT items of so many, from all over: files may go from place to place."""
    count = min(size, LOOKED_AT)
    return [k * size // count for k in range(count)]


def seen(source: Source, items: Sequence[int]) -> Iterator[Sample]:
    """Samples of a source, one after another, since photographs are large."""
    for item in items:
        with suppress(NothingToAsk):
            yield source.sample(item, "", np.random.default_rng([0, item]))


def middle(task: Task, qas: Sequence[QA]) -> str:
    """The answer whose truth comes nearest to the median of all, number by number; or, of words,
    the most frequent one."""
    truths = [task.numbers(task.value(task.truth(qa))) for qa in qas]
    if truths[0] is None:
        return Counter(qa.answer for qa in qas).most_common(1)[0][0]
    # An answer that was given, rather than the median itself: its form is right by construction.
    gaps = np.abs(np.array(truths) - np.median(truths, axis=0)).sum(1)
    return qas[int(gaps.argmin())].answer


def directions(places: Sequence[Sequence[float]], scale: int, view: View) -> np.ndarray:
    """Where pixels or corners lie in the field of view, whatever the lens.

    places: (N, 2) in units of the text, [0, scale). Returns (N, 2), x and y of the ray at z = 1; of
    a view without a camera, as if its focal length were its width.
    """
    width, height = view.size
    camera = view.camera or Camera(width, width, width / 2, height / 2, width, height)
    uv = (np.reshape(np.array(places, float), (-1, 2)) + 0.5) / scale * view.size
    return rays(uv, camera)[:, :2]


def demand(source: Source, name: str, good: bool, what: str) -> None:
    """ValueError for a task that a baseline of this name has no answer to."""
    if not good:
        raise ValueError(f"{name} answers {what}, not {source.task}: leave it out there")
