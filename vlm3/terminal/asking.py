"""What `vlm3 ask` takes and says: a subcommand for each task, whose fields are the options.

A task needs nothing here: what it says of itself gives it a subcommand. Those that have a class of
their own say and draw more. Importing this costs no torch, so that help and errors come at once.
"""

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, NamedTuple, Union

import numpy as np
import tyro

from vlm3 import tasks
from vlm3.sources.calibrate import Calibrated
from vlm3.terminal import facts, shown, typed
from vlm3.terminal.opening import opened
from vlm3.views import QA, View

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from vlm3.qwen.model import VLM

Several = Annotated[tuple[str, ...], tyro.conf.UseAppendAction]
SURE = (
    "sure: what the model itself gives, as a probability, to depths within a factor of 1.25 of its "
    "answer"
)
TOY = "tiny has seen homes and photos of few places: it shows how asking works, not how well"


class Said(NamedTuple):
    """facts: what --json prints, besides the photos; lines: the same for people; draw: the same on
    the photos."""

    facts: dict[str, Any]
    lines: list[str]
    draw: Callable[[], "Figure"]


@dataclass(frozen=True, kw_only=True)
class Asking:
    """What every task takes.

    Args:
        photos: any pictures that Pillow reads.
        focal_px: their focal length in pixels; without it, a calibrator or EXIF must know.
        calibrate: who says it where --focal-px does not: depthpro, anycalib, geocalib, exif, or
            package.module:function; also where EXIF knows, which counts without this option.
        model: tiny, a folder, or a hub name.
        lessons: how it was taught, where its folder does not say so: a file of yours, the folder
            of your copy of the authors' release, or "words" for a model that was taught none.
        json: print one JSON object instead of text.
        save: draw the answers on the photos and write them to this file (.png, .jpg, .pdf, ...).
        seed: another seed, other wordings of the questions, of a model that was taught several.
    """

    name: ClassVar[str]
    photos: Annotated[tuple[Path, ...], tyro.conf.Positional] = ()
    focal_px: float | None = None
    calibrate: str | None = None
    model: str = "tiny"
    lessons: str = ""
    json: bool = False
    save: Path | None = None
    seed: int = 0

    def opened(self) -> tuple[Calibrated, ...]:
        """The photos with what is known of their focal lengths."""
        return opened(self.photos, self.name, self.focal_px, self.calibrate, self.lessons)

    def loaded(self) -> "VLM":
        """The model, on the GPU where there is one; on a CPU in float32."""
        with _uncollected():
            import torch

            from vlm3.qwen import lessons, model
            from vlm3.terminal import ask  # noqa: F401, loaded here for those that ask

        lessons.demand(self.model, self.lessons)  # before anything is downloaded
        where = ("cuda", None) if torch.cuda.is_available() else ("cpu", torch.float32)
        return model.load(self.model, *where, self.lessons)

    def views(self, photos: Sequence[View]) -> Sequence[View]:
        """The photos with what is asked about. ValueError where that is not said."""
        return photos

    def pixels(self) -> list[tuple[float, ...]]:
        """Of the first photo, that are asked about."""
        return []

    def said(self, *photos: View) -> Said:
        views, uv = self.views(photos), self.pixels()
        vlm = self.loaded()
        from vlm3.terminal import ask

        task, found = vlm.task(self.name), ask.readings(vlm, self.name, views, uv, self.seed)
        answers = [{"kind": r.qa.kind, "value": r.value, **facts.words(r)} for r in found]
        for answer, pixel in zip(answers, uv, strict=False):
            answer["pixel"] = pixel
        told = [(shown.value(task, r.value), r.answer.text, r.qa.question) for r in found]
        lines = shown.aligned([("answer", "in words", "question"), *told])
        return Said({"answers": answers}, lines, lambda: shown.draw_lines(views, lines))


@contextmanager
def _uncollected() -> Iterator[None]:
    """Without looking for garbage in what is imported, now or later: that takes a fifth of the time
    and finds none."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


@dataclass(frozen=True, kw_only=True)
class AtPixels(Asking):
    """What every task about pixels takes.

    Args:
        at: a pixel as u,v, counted from the left and from the top; once for each pixel.
    """

    at: Several = ()

    def pixels(self) -> list[tuple[float, ...]]:
        if not self.at:
            raise ValueError("say which pixels, such as --at 300,200")
        return [typed.numbers(words, "u,v") for words in self.at]


@dataclass(frozen=True, kw_only=True)
class OfBoxes(Asking):
    """What every task about objects takes.

    Args:
        box: an object as xmin,ymin,xmax,ymax in pixels of the photo; once for each object.
    """

    box: Several = ()

    def views(self, photos: Sequence[View]) -> Sequence[View]:
        if not self.box:
            raise ValueError("say where the objects are: --box xmin,ymin,xmax,ymax for each")
        first, *rest = photos
        return [View(first.image, first.camera, boxes=typed.boxes(self.box)), *rest]


@dataclass(frozen=True, kw_only=True)
class Depth(AtPixels):
    """How far pixels of a photo are along the optical axis, in metres.

    Args:
        dense: ask about the middle of every square of so many pixels, too: a map for --save or
            --json.
    """

    dense: int = 0

    def said(self, view: View) -> Said:
        if not (self.at or self.dense) or (self.dense and not (self.save or self.json)):
            raise ValueError(
                "say which pixels: --at 300,200 for one, or --dense 16 --save map.png for a map"
            )
        uv = self.pixels() if self.at else []
        vlm = self.loaded()
        from vlm3.terminal import ask

        found = ask.depth(vlm, view, uv, self.seed)
        spreads = ask.depth_spreads(vlm, view, uv, seed=self.seed)
        answers = [facts.depth(*row) for row in zip(uv, found, spreads, strict=True)]
        metres = ask.depth_map(vlm, view, self.dense) if self.dense else None
        told = {"stride": self.dense, "metres": facts.known(metres)} if self.dense else None
        return Said(
            {"answers": answers, "map": told},
            [*shown.depths(answers), SURE] if answers else [],
            lambda: shown.draw_depth(view, answers, metres, self.dense),
        )


@dataclass(frozen=True, kw_only=True)
class Correspondence(AtPixels):
    """Where pixels of a first photo are in a second one."""

    def pixels(self) -> list[tuple[float, ...]]:
        if not self.at:
            raise ValueError("say which pixels of the first photo, such as --at 300,200")
        return super().pixels()

    def said(self, *views: View) -> Said:
        uv = self.pixels()
        vlm = self.loaded()
        from vlm3.terminal import ask

        found = ask.correspondence(vlm, *views, uv, self.seed)
        answers = [
            {"pixel": p, "match": r.value, **facts.words(r)} for p, r in zip(uv, found, strict=True)
        ]
        return Said(
            {"answers": answers},
            shown.matches(answers),
            lambda: shown.draw_matches(views, answers),
        )


@dataclass(frozen=True, kw_only=True)
class Pose(Asking):
    """How the camera of a second photo stands to that of the first."""

    def said(self, *views: View) -> Said:
        vlm = self.loaded()
        from vlm3.terminal import ask

        task, (merged, found) = vlm.task("pose"), ask.pose(vlm, *views, seed=self.seed)
        answers = [{"about": r.qa.kind, "value": r.value, **facts.words(r)} for r in found]
        told = [shown.value(task, r.value) for r in found]
        rows = [(a["about"], said, a["text"]) for a, said in zip(answers, told, strict=True)]
        return Said(
            {"answers": answers, "pose": merged},
            shown.aligned([("about", "answer", "in words"), *rows]),
            lambda: shown.draw_lines(views, told),
        )


@dataclass(frozen=True, kw_only=True)
class Objects(OfBoxes):
    """How large objects are, how far apart and how they lie to each other; each is given by a box.

    Args:
        question: such as "How far is {1} from {2}?", where {1} is the first box; without one, those
            of the book.
    """

    question: Several = ()

    def said(self, photo: View) -> Said:
        (view,) = self.views([photo])
        vlm = self.loaded()
        from vlm3.terminal import ask

        task, rng = vlm.task("objects"), np.random.default_rng(self.seed)
        asked = [QA("", (), q) for q in self.question] or task.questions(len(view.boxes), rng)
        found = ask.objects(vlm, view, asked)
        answers = [
            {
                "question": q.question,
                "value": r.value,
                "unit": shown.unit(r.value),
                **facts.words(r),
            }
            for q, r in zip(asked, found, strict=True)
        ]
        told = [shown.value(task, r.value) for r in found]
        rows = [(t, a["text"], a["question"]) for t, a in zip(told, answers, strict=True)]
        return Said(
            {"boxes": [box[:4] for box in view.boxes], "answers": answers},
            shown.aligned([("answer", "in words", "question"), *rows]),
            lambda: shown.draw_objects(view, [(t, q) for t, _, q in rows]),
        )


def kind(name: str) -> type[Asking]:
    """What a task takes and says, by the name of the task."""
    own = {"depth": Depth, "correspondence": Correspondence, "pose": Pose, "objects": Objects}
    found = own.get(name) or _plain(name)
    found.name = name
    return found


def _subcommand(name: str) -> Any:
    return Annotated[kind(name), tyro.conf.subcommand(name, prefix_name=False)]


def _plain(name: str) -> type[Asking]:
    """A subcommand for a task that has no class here; a task that is broken says so once asked."""
    try:
        task = tasks.get(name)
        base, doc = _OF[task.subject], type(task).__doc__
    except Exception as error:  # a file of somebody else's, and help must come all the same
        base, doc = Asking, f"Cannot be asked: {error}"
    kind = type(name.capitalize(), (base,), {"__doc__": doc, "__module__": __name__})
    return dataclass(frozen=True, kw_only=True)(kind)


_OF = {"pixels": AtPixels, "boxes": OfBoxes, "": Asking}


Ask = tyro.conf.OmitArgPrefixes[
    Annotated[
        Union[tuple(map(_subcommand, tasks.NAMES))],  # noqa: UP007, made from a list
        tyro.conf.arg(name=""),
    ]
]


def report(asking: Asking) -> Said:
    """Open the photos, load the model, ask, and say it with what was asked about."""
    return reported(asking, asking.opened())


def reported(asking: Asking, views: Sequence[Calibrated]) -> Said:
    """The same about photos that are open."""
    said = asking.said(*(view for view, _ in views))
    photos = list(zip(map(str, asking.photos), views, strict=True))
    told = {"task": asking.name, "model": asking.model, "photos": [facts.photo(*p) for p in photos]}
    heads = [
        f"{path}: {'x'.join(map(str, v.size))} px, {facts.focal(f)}" for path, (v, f) in photos
    ]
    notes = [TOY] if asking.model == "tiny" else []
    return Said(told | said.facts, heads + said.lines + notes, said.draw)
