"""What `vlm3 ask` takes, says and draws: one class for each task, whose fields are the options.

Importing it costs no torch, so that help and errors come at once.
"""

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, Union

import numpy as np
import tyro

from vlm3.focal import open_photo
from vlm3.tasks import objects, pose
from vlm3.tasks.english import Hour
from vlm3.views import View

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from vlm3.answer import Answer
    from vlm3.model import VLM
    from vlm3.spread import Spread

Several = Annotated[tuple[str, ...], tyro.conf.UseAppendAction]


class Said(NamedTuple):
    """facts: what --json prints besides the photos; lines: the same for people; draw: the same on the photos."""

    facts: dict[str, Any]
    lines: list[str]
    draw: Callable[[], "Axes"]


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

    photos: Annotated[tuple[Path, ...], tyro.conf.Positional] = ()
    focal_px: float | None = None
    model: str = "tiny"
    json: bool = False
    save: Path | None = None
    seed: int = 0

    def views(self, wanted: int = 1) -> list[View]:
        """The photos, opened. ValueError for another number of them than wanted."""
        if len(self.photos) != wanted:
            task = type(self).__name__.lower()
            raise ValueError(f"{task} asks about {wanted} photo{'s' * (wanted - 1)}, got {len(self.photos)}")
        return [open_photo(path, self.focal_px) for path in self.photos]

    def loaded(self) -> "VLM":
        """The model, on the GPU where there is one."""
        import torch

        from vlm3 import model

        cuda = torch.cuda.is_available()
        return model.load(self.model, "cuda" if cuda else "cpu", None if cuda else torch.float32)


@dataclass(frozen=True, kw_only=True)
class Depth(Asking):
    """How far pixels of a photo are along the optical axis, in metres.

    Args:
        at: a pixel as u,v, from the left and from the top; once for each.
        dense: ask about one pixel in each square of so many, and --save the picture, or the numbers as .npy.
    """

    at: Several = ()
    dense: int = 0

    def answer(self, views: Sequence[View]) -> Said:
        if not (self.at or self.dense):
            raise ValueError("say at which pixels, such as --at 300,200, or --dense 16 --save map.png for all")
        if self.dense and not (self.save or self.json):
            raise ValueError("--dense needs --save map.png, --save map.npy or --json")
        (view,), uv = views, [numbers(text, "u,v") for text in self.at]
        if self.dense:
            from vlm3.ask import grid

            grid(view.size, self.dense)
        found, spreads, vlm = [], [], self.loaded()
        from vlm3 import ask

        if uv:
            found, spreads = ask.depth(vlm, view, uv, self.seed), ask.depth_spreads(vlm, view, uv, seed=self.seed)
        metres = ask.depth_map(vlm, view, self.dense) if self.dense else None
        return Said({}, [], lambda: None)
