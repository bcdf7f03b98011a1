"""What `vlm3 ask` takes, says and draws: one class for each task, whose fields are the options.

Importing it costs no torch, so that help and most errors come at once.
"""

import gc
import math
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, NamedTuple, Union

import numpy as np
import tyro

from vlm3.sources.photo import open_photo
from vlm3.tasks import objects, pose, text
from vlm3.tasks.english import Hour
from vlm3.views import QA, View

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from vlm3.qwen.decode import Answer
    from vlm3.qwen.model import VLM
    from vlm3.scoring.spread import Spread

Several = Annotated[tuple[str, ...], tyro.conf.UseAppendAction]
SURE = "sure: what the model itself gives, as a probability, to depths within a factor of 1.25 of its answer"
TOY = "tiny has seen nothing but toy rooms: it shows how asking works, not how well"


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
        focal_px: their focal length in pixels; without it, EXIF must know.
        model: tiny, a folder, or a hub name.
        json: print one JSON object instead of text.
        save: draw the answers on the photos and write them to this file (.png, .jpg, .pdf, ...).
        seed: another seed, other wordings of the questions.
    """

    wanted: ClassVar[int] = 1  # photos
    photos: Annotated[tuple[Path, ...], tyro.conf.Positional] = ()
    focal_px: float | None = None
    model: str = "tiny"
    json: bool = False
    save: Path | None = None
    seed: int = 0

    def opened(self) -> tuple[View, ...]:
        """The photos. ValueError for another number of them than wanted."""
        if len(self.photos) != self.wanted:
            task = type(self).__name__.lower()
            raise ValueError(
                f"{task} asks about {self.wanted} photo{'s' * (self.wanted - 1)}, got {len(self.photos)}"
            )
        return tuple(open_photo(path, self.focal_px) for path in self.photos)

    def loaded(self) -> "VLM":
        """The model, on the GPU where there is one; on a CPU in float32."""
        with _uncollected():
            import torch

            from vlm3.qwen import model
            from vlm3.terminal import ask  # noqa: F401, loaded here for those that ask

        cuda = torch.cuda.is_available()
        return model.load(self.model, "cuda" if cuda else "cpu", None if cuda else torch.float32)


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
class Depth(Asking):
    """How far pixels of a photo are along the optical axis, in metres.

    Args:
        at: a pixel as u,v, counted from the left and from the top; once for each pixel.
        dense: ask about the middle of every square of so many pixels, too: a map for --save or
        --json.
    """

    at: Several = ()
    dense: int = 0

    def said(self, view: View) -> Said:
        if not (self.at or self.dense) or (self.dense and not (self.save or self.json)):
            raise ValueError(
                "say which pixels: --at 300,200 for one, or --dense 16 --save map.png for a map"
            )
        uv = [numbers(words, "u,v") for words in self.at]
        vlm = self.loaded()
        from vlm3.terminal import ask

        answers, spreads = (
            ask.depth(vlm, view, uv, self.seed),
            ask.depth_spreads(vlm, view, uv, seed=self.seed),
        )
        found = [_depth(*row) for row in zip(uv, answers, spreads, strict=True)]
        metres = ask.depth_map(vlm, view, self.dense) if self.dense else None
        rows = [("pixel", "depth", "sure", "median", "in words")]
        rows += [
            (
                _point(f["pixel"]),
                _metres(f["depth_m"]),
                _percent(f["sure"]),
                _metres(f["median_m"]),
                f["text"],
            )
            for f in found
        ]
        told = {"stride": self.dense, "metres": _known(metres)} if self.dense else None
        return Said(
            {"answers": found, "map": told},
            [*aligned(rows), SURE] if found else [],
            lambda: _draw_depth(view, found, metres, self.dense),
        )


@dataclass(frozen=True, kw_only=True)
class Correspondence(Asking):
    """Where pixels of a first photo are in a second one.

    Args:
        at: a pixel of the first photo as u,v, counted from the left and from the top; once for each
        pixel.
    """

    wanted = 2
    at: Several = ()

    def said(self, *views: View) -> Said:
        if not self.at:
            raise ValueError("say which pixels of the first photo, such as --at 300,200")
        uv = [numbers(words, "u,v") for words in self.at]
        vlm = self.loaded()
        from vlm3.terminal import ask

        answers = ask.correspondence(vlm, *views, uv, self.seed)
        found = [
            {"pixel": p, "match": a.value, **_words(a)} for p, a in zip(uv, answers, strict=True)
        ]
        rows = [("pixel", "match", "in words")]
        rows += [(_point(f["pixel"]), _point(f["match"]), f["text"]) for f in found]
        return Said({"answers": found}, aligned(rows), lambda: _draw_matches(views, found))


@dataclass(frozen=True, kw_only=True)
class Pose(Asking):
    """How the camera of a second photo stands to that of the first."""

    wanted = 2

    def said(self, *views: View) -> Said:
        vlm = self.loaded()
        from vlm3.terminal import ask

        merged, answers = ask.pose(vlm, *views, seed=self.seed)
        found = [
            {"about": part, "value": a.value, **_words(a)}
            for part, a in zip(pose.PARTS, answers, strict=True)
        ]
        told = [_stated(f["value"] or {}) or "-" for f in found]
        rows = [("about", "answer", "in words")]
        rows += [(f["about"], said, f["text"]) for f, said in zip(found, told, strict=True)]
        return Said(
            {"answers": found, "pose": merged}, aligned(rows), lambda: _draw_pose(views, told)
        )


@dataclass(frozen=True, kw_only=True)
class Objects(Asking):
    """How large objects are, how far apart and how they lie to each other; each is given by a box.

    Args:
        box: an object as xmin,ymin,xmax,ymax in pixels of the photo; once for each object.
        question: such as "How far is {1} from {2}?", where {1} is the first box; without one, those
        of the book.
    """

    box: Several = ()
    question: Several = ()

    def said(self, photo: View) -> Said:
        if not self.box:
            raise ValueError("say where the objects are: --box xmin,ymin,xmax,ymax for each")
        view = View(photo.image, photo.camera, boxes=boxes(self.box))
        vlm = self.loaded()
        from vlm3.terminal import ask

        templates = text.adapted("objects", vlm.lesson("objects").templates)
        asked = [QA(question, "", None) for question in self.question]
        asked = asked or objects.unanswered(
            len(view.boxes), np.random.default_rng(self.seed), templates
        )
        found = [
            {"question": qa.question, "value": a.value, "unit": _unit(a.value), **_words(a)}
            for qa, a in zip(asked, ask.objects(vlm, view, asked), strict=True)
        ]
        rows = [("answer", "in words", "question")]
        rows += [(_spoken(f["value"]), f["text"], f["question"]) for f in found]
        return Said(
            {"boxes": [box[:4] for box in view.boxes], "answers": found},
            aligned(rows),
            lambda: _draw_objects(view, found),
        )


Ask = tyro.conf.OmitArgPrefixes[
    Annotated[
        Union[  # noqa: UP007, made from a list
            tuple(
                Annotated[task, tyro.conf.subcommand(task.__name__.lower(), prefix_name=False)]
                for task in (Depth, Correspondence, Pose, Objects)
            )
        ],
        tyro.conf.arg(name=""),
    ]
]


def report(asking: Depth | Correspondence | Pose | Objects) -> Said:
    """Open the photos, load the model, ask, and say it with what was asked about."""
    views = asking.opened()
    said, photos = asking.said(*views), list(zip(map(str, asking.photos), views, strict=True))
    facts = {
        "task": type(asking).__name__.lower(),
        "model": asking.model,
        "photos": [_photo(*p) for p in photos],
    }
    heads = [
        f"{path}: {v.size[0]}x{v.size[1]} px, focal length {v.camera.fx:.0f} px"
        for path, v in photos
    ]
    notes = [TOY] if asking.model == "tiny" else []
    return Said(facts | said.facts, heads + said.lines + notes, said.draw)


def numbers(words: str, form: str) -> tuple[float, ...]:
    """ "300,200" as numbers. form: such as "u,v", says how many. ValueError for anything else."""
    try:
        found = tuple(map(float, words.split(",")))
    except ValueError:
        found = ()
    if len(found) != form.count(",") + 1 or not all(map(math.isfinite, found)):
        raise ValueError(f"{words!r} is not {form} in pixels")
    return found


def boxes(words: Sequence[str]) -> tuple[tuple[float, ...], ...]:
    """Each "xmin,ymin,xmax,ymax" as numbers."""
    return tuple(numbers(each, "xmin,ymin,xmax,ymax") for each in words)


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of words as lines whose columns stand below each other."""
    rows = [
        [textwrap.shorten(word, 160) for word in row] for row in rows
    ]  # a model may say anything
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(f"{word:{width}}" for word, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _photo(path: str, view: View) -> dict:
    return {"path": path, "width": view.size[0], "height": view.size[1], "focal_px": view.camera.fx}


def _words(a: "Answer") -> dict:
    return {"text": a.text, "probability": math.exp(sum(a.logprobs))}


def _depth(uv: tuple[float, ...], a: "Answer", spread: "Spread | None") -> dict:
    sure = spread.within(a.value) if spread and a.value else None
    middle = {"median_m": spread and spread.median(), "mean_m": spread and spread.mean()}
    return {"pixel": uv, "depth_m": a.value, "sure": sure, **middle, **_words(a)}


def _known(metres: np.ndarray) -> list[list[float | None]]:
    """A map for JSON, which has no NaN."""
    return [[round(m, 3) if math.isfinite(m) else None for m in row] for row in metres.tolist()]


def _point(uv: Sequence[float] | None) -> str:
    return f"({uv[0]:.5g}, {uv[1]:.5g})" if uv else "-"


def _metres(value: float | None) -> str:
    return f"{value:.2f} m" if value else "-"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.0f} %"


def _unit(value: object) -> str | None:
    return "o'clock" if isinstance(value, Hour) else "m" if isinstance(value, float) else None


def _spoken(value: object) -> str:
    """What an answer about objects comes to."""
    match value:
        case bool():
            return "yes" if value else "no"
        case Hour():
            return f"{value} o'clock"
        case float():
            return _metres(value)
    return str(value or "-")


def _stated(value: dict) -> str:
    """What a part of a pose comes to."""
    match value:
        case {"rotation_angle_deg": angle}:
            return f"turned by {angle:g} degrees"
        case {"yaw_deg": yaw, "pitch_deg": pitch, "roll_deg": roll}:
            return f"yaw {yaw:+g}, pitch {pitch:+g}, roll {roll:+g} degrees"
        case {"direction": direction}:
            named = pose.in_words(direction, text.packaged("pose"))
            return f"{named} ({', '.join(f'{part:+.2f}' for part in direction)})"
        case {"distance_m": distance}:
            return _metres(distance)
    return ""


def _draw_depth(view: View, found: list[dict], metres: np.ndarray | None, stride: int) -> "Figure":
    from vlm3.pages import figures

    if metres is None:
        ax = figures.show(view.image)
    else:
        blocks = metres.repeat(stride, 0).repeat(stride, 1)
        known = np.full(view.image.shape[:2], np.nan, np.float32)
        known[: blocks.shape[0], : blocks.shape[1]] = blocks
        ax = figures.depth_map(View(view.image, view.camera, known))
    for f in found:
        figures.mark(ax, f["pixel"], _metres(f["depth_m"]))
    return ax.figure


def _draw_matches(views: Sequence[View], found: list[dict]) -> "Figure":
    from vlm3.pages import figures

    uv1, uv2 = (
        np.reshape([f[end] for f in found if f["match"]], (-1, 2)) for end in ("pixel", "match")
    )
    return figures.matches(views, uv1, uv2, uv2).figure


def _draw_pose(views: Sequence[View], told: list[str]) -> "Figure":
    from vlm3.pages import figures

    return figures.to_scale(views, ["camera 1", "\n".join(["camera 2", *told])], width=10)[0].figure


def _draw_objects(view: View, found: list[dict]) -> "Figure":
    from vlm3.pages import figures

    ax = figures.boxes(view, [str(n) for n in range(1, len(view.boxes) + 1)])
    lines = [
        textwrap.fill(f"{_spoken(f['value'])}: {f['question']}", 90, subsequent_indent="   ")
        for f in found
    ]
    ax.set_xlabel("\n".join(lines), loc="left", fontsize=8)
    return ax.figure
