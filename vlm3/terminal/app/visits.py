"""A question of a visitor, from what was typed and clicked to what is shown."""

import re
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from vlm3 import tasks
from vlm3.focal import PAD_VALUE
from vlm3.sources.calibrate import Calibrated
from vlm3.terminal import asking, typed
from vlm3.terminal.app import answers, links, pictures
from vlm3.terminal.app.photos import KNOWN, Photo, described, taken
from vlm3.views import View

if TYPE_CHECKING:
    from vlm3.qwen.model import VLM


class Host(NamedTuple):
    """Who answers: a model, the name by which it was loaded, who says focal lengths (None: EXIF),
    and whose turn it is to ask it."""

    vlm: "VLM"
    model: str
    calibrate: str | None = None
    turn: Lock = Lock()


class Visit(NamedTuple):
    """What stands on the page: photos, None for a place that is empty, and what is typed.

    focal: as in `photos.focal_px`; at: pixels, boxes: boxes, each on a line of its own; question:
    about boxes, "" for those of the book; blind: whether to ask without the photo, too.
    """

    task: str
    photos: tuple[Photo | None, Photo | None]
    focal: str = ""
    at: str = ""
    boxes: str = ""
    question: str = ""
    blind: bool = True


class Shown(NamedTuple):
    """HTML of the two pictures and of the answer."""

    first: str
    second: str
    answer: str


def lines(words: str) -> tuple[str, ...]:
    """What stands on each line, or between semicolons, without spaces."""
    return tuple(filter(None, (re.sub(r"\s", "", line) for line in re.split(r"[\n;]", words))))


def subject(task: str) -> str:
    """What a visitor points at, "" where a task asks about the photos as they are or is broken."""
    try:
        return tasks.get(task).subject
    except Exception:  # a file of somebody else's: asked for, it says what is wrong
        return ""


def wanted(task: str) -> int:
    try:
        return tasks.get(task).views
    except Exception:  # as above
        return 1


def needed(visit: Visit) -> list[tuple[Photo | None, str]]:
    """The photos that a task is about, and what each is called."""
    both = zip(visit.photos, ("a photo", "a second photo"), strict=True)
    return list(both)[: wanted(visit.task)]


def opened(visit: Visit) -> list[Calibrated]:
    """The photos that a task needs, with their cameras. ValueError where one lacks something."""
    found = []
    for photo, name in needed(visit):
        if photo is None:
            raise ValueError(f"{visit.task} needs {name}: drop one above, or take an example")
        found.append(taken(photo, visit.focal))
    return found


def dropped(visit: Visit, place: int, photo: Photo) -> Visit:
    """The same with a photo in a place; what was asked of a first one before it is over."""
    first, second = visit.photos
    if place:
        return visit._replace(photos=(first, photo))
    # an example's, of another scene
    strange = second is not None and second.focal is not None and second.focal.origin == KNOWN
    return visit._replace(photos=(photo, None if strange else second), at="", boxes="")


def about(host: Host, visit: Visit) -> asking.Asking:
    """The same question as `vlm3 ask` takes it."""
    kind = asking.kind(visit.task)
    given = {"at": lines(visit.at), "box": lines(visit.boxes), "question": _questions(visit)}
    taken = {name: value for name, value in given.items() if name in kind.__dataclass_fields__}
    names = tuple(Path(photo.name) for photo, _ in needed(visit) if photo)
    return _held(kind, host.vlm)(photos=names, model=host.model, **taken)


def _held(kind: type[asking.Asking], vlm: "VLM") -> type[asking.Asking]:
    """A way of asking whose model is there already."""
    return type(kind.__name__, (kind,), {"loaded": lambda self: vlm})


def _questions(visit: Visit) -> tuple[str, ...]:
    return tuple(filter(None, map(str.strip, visit.question.split("\n"))))


def answered(host: Host, visit: Visit) -> Shown:
    """Ask, and show what was said; what goes wrong is shown in its place."""
    try:
        found = opened(visit)
        views, asked = [each.view for each in found], about(host, visit)
        with host.turn:
            facts = asking.reported(asked, found).facts
            blind = asked.said(*map(_grey, views)).facts if visit.blind else None
        rows = answers.rows(host.vlm.task(visit.task), facts, blind, _truths(visit, views))
    except (ValueError, OSError, ArithmeticError, ImportError) as error:
        return pointed(visit)._replace(answer=answers.fault(error))
    kind = next((k for k in answers.WORDS if any(k in a for a in facts["answers"])), "value")
    note = asking.TOY if host.model == "tiny" else ""
    first, second = drawn(visit, facts["answers"], [row.value for row in rows])
    saved = links.link("answers.json", links.json_bytes(facts), "application/json")
    return Shown(first, second, answers.card(rows, kind, note, saved))


def _grey(view: View) -> View:
    """A view that shows nothing."""
    return View(np.full_like(view.image, PAD_VALUE), view.camera)


def _truths(visit: Visit, views: Sequence[View]) -> list[str]:
    """Depth at the pixels asked about, where an example knows it."""
    if visit.task != "depth" or views[0].depth_m is None:
        return []
    pixels = [typed.numbers(words, "u,v") for words in lines(visit.at)]
    depths = [views[0].depth_m[int(v), int(u)] for u, v in pixels]
    return ["unknown" if np.isnan(z) else f"{z:.2f} m" for z in depths]


def pointed(visit: Visit) -> Shown:
    """The page before an answer: what was pointed at so far is on the picture."""
    return Shown(*drawn(visit, [], []), answers.waiting(todo(visit)))


def todo(visit: Visit) -> str:
    """What to do next."""
    for photo, name in needed(visit):
        if photo is None:
            return f"Drop {name}, or take an example."
        if photo.focal is None and not visit.focal.strip():
            return photo.why
    points = {"pixels": "Click a place in the photo.", "boxes": "Draw a box around each object."}
    return points.get(subject(visit.task), "Press Ask.")


def drawn(visit: Visit, found: Sequence[dict[str, Any]], words: Sequence[str]) -> tuple[str, str]:
    """Both pictures, with what was asked and answered on them."""
    first, second = visit.photos
    matches = [a["match"] for a in found if a.get("match")]
    marks = dots_of(second, matches, ["here"] * len(matches))
    shown = [w if "depth_m" in a else "" for a, w in zip(found, words, strict=True)]
    return (
        pictures.picture(first, _line(first, visit), subject(visit.task), _asked(visit, shown)),
        pictures.picture(second, _line(second, visit), "", marks),
    )


def dots_of(photo: Photo | None, places: Sequence, words: Sequence[str]) -> str:
    return pictures.dots(places, words, photo.view.size) if photo else ""


def _line(photo: Photo | None, visit: Visit) -> str:
    return described(photo, visit.focal) if photo else ""


def _asked(visit: Visit, words: Sequence[str]) -> str:
    """Marks of pixels or boxes on the first photo; what cannot be read is not drawn."""
    photo, kind = visit.photos[0], subject(visit.task)
    if photo is None or not kind:
        return ""
    try:
        if kind == "boxes":
            return pictures.outlines(typed.boxes(lines(visit.boxes)), photo.view.size)
        pixels = [typed.numbers(each, "u,v") for each in lines(visit.at)]
    except ValueError:
        return ""
    return dots_of(photo, pixels, words or [""] * len(pixels))
