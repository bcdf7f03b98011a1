"""Focal lengths of photos whose camera nobody knows: one file for each calibrator.

`exif` reads what the camera noted; `depthpro`, `anycalib` and `geocalib` are networks that look at
the picture. Each file has `calibrator(which) -> Ask`, where `which` is what stands behind the colon
of "depthpro:FOLDER", and "" without one. Folders named in the environment variable VLM3_CALIBRATORS
may hold more, and a function of yours is one by its name, "package.module:function": it takes a
`vlm3.sources.photo.Photo` and returns the focal length in pixels, or a `Focal`, which also says how
sure that is.

All of them take the principal point to be in the middle and the pixels to be square.
"""

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import resolve_name
from typing import NamedTuple

import numpy as np

from vlm3.geometry import Camera
from vlm3.sources.photo import Photo, read_photo
from vlm3.views import View

__path__ += filter(None, os.environ.get("VLM3_CALIBRATORS", "").split(os.pathsep))
NAMES = tuple(sorted(p.stem for folder in __path__ for p in Path(folder).glob("[a-z]*.py")))


class Focal(NamedTuple):
    """A focal length in pixels, its standard deviation as a share of it (None where it is not
    stated), and who says so: "given", or the name of a calibrator."""

    focal_px: float
    relative_std: float | None = None
    origin: str = ""


class Calibrated(NamedTuple):
    view: View
    focal: Focal


Ask = Callable[[Photo], Focal | float]


@dataclass(frozen=True)
class Calibrator:
    """A calibrator by its name: of a photo its `Focal`, of a mere image its camera, as
    `vlm3.unify_focal` and `vlm3.open_photo` take it."""

    name: str
    ask: Ask

    def __call__(self, image: np.ndarray) -> Camera:
        """image: HxWx3 uint8."""
        return Photo(image).camera(self.focal(Photo(image)).focal_px)

    def focal(self, photo: Photo) -> Focal:
        """ValueError, naming the photo, for what the calibrator does not know, where it fails, and
        for what cannot be a focal length."""
        where = f"{photo.path}: " if photo.path else ""
        try:
            said = self.ask(photo)
            return self._checked(said if isinstance(said, tuple) else (said,))
        except ValueError as error:
            raise ValueError(f"{where}{error}") from error
        except Exception as error:  # whatever a function of somebody else's may do
            what = f"{type(error).__name__}: {error}"
            raise ValueError(f"{where}the calibrator {self.name} failed: {what}") from error

    def _checked(self, said: tuple) -> Focal:
        try:
            px, std = float(said[0]), math.nan if len(said) < 2 or said[1] is None else said[1]
            good = 0 < px < math.inf and (math.isnan(std) or 0 <= std < math.inf)
        except (TypeError, ValueError, IndexError):
            good = False
        if not good:
            raise ValueError(
                f"the calibrator {self.name} says {said}: a focal length is a number of pixels "
                "above 0, and its relative standard deviation one from 0 on, or None"
            )
        return Focal(px, None if math.isnan(std) else float(std), self.name)


@cache  # a network is loaded once
def get(name: str) -> Calibrator:
    """By name: "exif", "depthpro", "depthpro:FOLDER", or "package.module:function" of yours.

    ValueError, with the names that there are, for one that is none, and where the package or the
    weights that it needs are missing.
    """
    kind, _, which = name.partition(":")
    if kind in NAMES:
        return Calibrator(name, import_module(f"{__name__}.{kind}").calibrator(which))
    ways = (
        f"{', '.join(NAMES)}, one in a folder that VLM3_CALIBRATORS names, or a function of yours"
    )
    try:
        return Calibrator(name, resolve_name(name if which else f"{name}:"))
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(
            f"no calibrator {name!r} ({error}): take one of {ways} as package.module:function"
        ) from error


def opened(
    path: str | Path, focal_px: float | None = None, name: str | None = None, as_stored=False
) -> Calibrated:
    """A photo with its camera, and who says so: focal_px where it is given, else the calibrator of
    this name, also where EXIF knows better, else EXIF.

    as_stored: not turned the right way up. Errors as of `vlm3.open_photo`.
    """
    photo = read_photo(path, as_stored, panoramas=focal_px is not None)
    focal = Focal(focal_px, origin="given") if focal_px is not None else None
    focal = focal or get(name or "exif").focal(photo)
    try:
        return Calibrated(View(photo.image, photo.camera(focal.focal_px)), focal)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
