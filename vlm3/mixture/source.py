"""What is asked about the items of a data set: the samples that a mixture draws from."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from inspect import signature

import numpy as np

from vlm3 import tasks
from vlm3.focal import FITS, unify_focal, unify_pair
from vlm3.mixture.augmentation import augmented
from vlm3.tasks.task import Task
from vlm3.views import Pair, Sample, View


@dataclass(frozen=True)
class Source:
    """A sequence of items, and what is asked about them.

    items: each a View, a Pair or a tuple of Views; one that is a Sample brings its own questions,
    and its views are left as they are, but for the rounding of sides where `fit` is "stretch".
    questions: how many per sample; focal_px: what the views are unified to, also for pose, where
    the paper takes 750; longest_px, fit: other ways to bring them to a size, see
    `vlm3.focal.unify_focal`; templates: what differs from the task's own, see `vlm3.tasks.get`;
    options: further ones of `task.ask`; one_wording: all questions of a
    kind in a sample share their words, drawn for each sample, so that these are read once;
    either_way: which view of an item comes first is drawn, too; augment: views are shown as they
    could have been, see `vlm3.mixture.augmentation`; origin: what made the items, as told by the
    file of a mixture. Of an item that is a tuple, as many views are shown as the task asks about.

    ValueError for values of another type, options that the task does not have, items that say of
    themselves that they are not `metric` where the task asks for metres, and those packed at a
    shorter focal length.
    """

    items: Sequence
    task: str
    questions: int = 10
    focal_px: float = 1000.0
    templates: Mapping = field(default_factory=dict)
    options: Mapping = field(default_factory=dict)
    one_wording: bool = False
    either_way: bool = False
    augment: bool = False
    longest_px: int = 0
    fit: str = "pad"
    origin: Mapping = field(default_factory=dict)

    def __post_init__(self):
        self._demand_types()
        packed_px = getattr(self.items, "focal_px", self.focal_px)
        if packed_px < self.focal_px and not self.longest_px:
            raise ValueError(
                f"focal_px = {self.focal_px:g}, but these views were packed at {packed_px:g} px, "
                "which holds no finer detail: ask for that, or pack them again"
            )
        if getattr(self.items, "metric", True) or not self.bound.in_metres(self.options):
            return
        way_out = "tell the reader how long it is (scale_m)"
        if not self.bound.in_metres({**self.options, "metric": False}):
            way_out += ", or leave out what has metres (options = { metric = false })"
        raise ValueError(
            f"{self.task} is asked in metres, and these data have a unit of their own: {way_out}"
        )

    def _demand_types(self) -> None:
        for name in ("one_wording", "either_way", "augment"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name} is true or false, got {getattr(self, name)!r}")
        for name, kind in {"questions": int, "focal_px": (int, float)}.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, kind) or not value > 0:
                raise ValueError(f"{name} is a number above 0, got {value!r}")
        if self.fit not in FITS or not isinstance(self.longest_px, int) or self.longest_px < 0:
            raise ValueError(
                f"fit is one of {', '.join(FITS)} and longest_px a whole number, got "
                f"{self.fit!r} and {self.longest_px!r}"
            )
        takes = [*signature(self.bound.ask).parameters][3:]  # after views, n, rng
        if unknown := sorted(set(self.options) - set(takes)):
            known = ", ".join(takes) or "none"
            raise ValueError(
                f"unknown options {', '.join(unknown)}: those of {self.task} are {known}"
            )

    @cached_property
    def bound(self) -> Task:
        """The task, its templates bound."""
        return tasks.get(self.task, self.templates)

    @property
    def wordings(self) -> str:
        """A digest of all templates, those of the task's own file included."""
        templates = json.dumps(self.bound.templates, sort_keys=True)
        return hashlib.sha256(templates.encode()).hexdigest()[:12]

    def sample(self, index: int, name: str, rng: np.random.Generator) -> Sample:
        item = self.items[index]
        if isinstance(item, Sample):
            return self._labelled(item, name, rng)
        turned = self.either_way and rng.random() < 0.5
        if self.augment:
            item, turned = self._augmented(item, turned, rng), False
        views, matches = self._unified(item, turned)
        if len(views) < self.bound.views:
            raise ValueError(
                f"{self.task} is asked about {self.bound.views} views, and an item of these data "
                f"is {len(views)}: name pairs of them (vlm3.sources.curation.pairs:Pairs)"
            )
        options = dict(self.options)
        if matches and self.bound.takes_matches:
            options |= {"matches": matches}
        task = self.bound.in_one_wording(rng) if self.one_wording else self.bound
        qas = tuple(task.ask(views, self.questions, rng, **options))
        return Sample(views, qas, self.task, name)

    def shuffled(self) -> "Source":
        """The same questions about the views of another item each; ValueError for a source of one
        item.

        Those half-way round, since files of photographs go from place to place; all views of a pair
        come from there.
        """
        if len(self.items) < 2:
            raise ValueError("shuffled: a source of one item has no other images")
        return _Shuffled(**{each.name: getattr(self, each.name) for each in fields(self)})

    def views(self, index: int) -> tuple[View, ...]:
        """The views of an item as a sample shows them, whether or not there is something to ask."""
        item = self.items[index]
        return self._rounded(item.views) if isinstance(item, Sample) else self._unified(item)[0]

    def _labelled(self, item: Sample, name: str, rng: np.random.Generator) -> Sample:
        """A sample of a file, with words for those of its questions that state none."""
        qas = [qa if qa.question else self.bound.worded(qa, rng) for qa in item.qas]
        return replace(item, views=self._rounded(item.views), qas=tuple(qas), source=name)

    def _rounded(self, views: Sequence[View]) -> tuple[View, ...]:
        """Views of a file, which have their scale already, with sides that a model takes."""
        if self.fit != "stretch":
            return tuple(views)
        return tuple(unify_focal(v, longest_px=max(v.size), fit="stretch") for v in views)

    def scene(self, index: int) -> str | None:
        """What an item is a part of, such as a scan of a room; None where items do not say it."""
        if (frames := getattr(self.items, "frames", None)) is None:
            return None
        frame = frames[index]
        return (frame[0] if isinstance(frame, tuple) else frame).scene

    def _augmented(
        self, item: View | tuple, turned: bool, rng: np.random.Generator
    ) -> tuple[View, ...]:
        """The views that are shown, in their order, as they could have been."""
        if isinstance(item, Pair):
            raise ValueError(
                "augment needs depth or points, not a Pair, whose matches would not move"
            )
        way = -1 if turned else 1
        views = (item,) if isinstance(item, View) else item[::way][: self.bound.views]
        return augmented(views, rng)

    def _unified(
        self, item: View | Pair | tuple, turned: bool = False
    ) -> tuple[tuple[View, ...], tuple | None]:
        """Views brought to the focal length, and the places of points that a Pair knows in both;
        turned: the last view first."""
        way = -1 if turned else 1
        if isinstance(item, Pair):
            item = unify_pair(item, **self.sizing)
            return (item.view1, item.view2)[::way], (item.uv1, item.uv2)[::way]
        views = (item,) if isinstance(item, View) else item[::way][: self.bound.views]
        return tuple(unify_focal(view, **self.sizing) for view in views), None

    @property
    def sizing(self) -> dict:
        """How views are brought to their size, as arguments of `vlm3.focal.unify_focal`."""
        return {"focal_px": self.focal_px, "longest_px": self.longest_px, "fit": self.fit}

    @property
    def taught(self) -> dict:
        """What a model that learns from this source must know of it to be asked in the same way;
        said only where it differs, so that runs from before there was a choice go on."""
        sizes = {"longest_px": self.longest_px, "fit": self.fit}
        chosen = {name: value for name, value in sizes.items() if value not in (0, "pad")}
        return {"focal_px": self.focal_px, "templates": dict(self.templates)} | chosen


class _Shuffled(Source):
    def sample(self, index: int, name: str, rng: np.random.Generator) -> Sample:
        size = len(self.items)
        asked = super().sample(index, name, rng)
        return replace(asked, views=self.views((index + size // 2) % size))
