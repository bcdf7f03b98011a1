"""Photos that a visitor gives: they are held in memory, and their files deleted once read."""

import math
import re
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from vlm3.focal import NO_FOCAL
from vlm3.geometry import Camera
from vlm3.sources import calibrate as calibrators
from vlm3.sources import exif
from vlm3.sources.calibrate import Calibrated, Focal
from vlm3.sources.photo import SMALL_PIXELS, read_photo
from vlm3.views import View

UNKNOWN = (
    "no focal length is known for it. Type it under Focal length: in pixels, such as 1000, or in "
    "millimetres on 35 mm film, such as 26 mm; or drop the original photo, whose EXIF data name it"
)

KNOWN = "known for this example"
TOLD = {"exif": "from its EXIF data", "given": "as typed"}  # who says a focal length, in words


class Photo(NamedTuple):
    """name: of the file; view, focal: with a focal length and who tells it, None where nobody does;
    why: what to say then; alt: what can be seen, as far as that is known."""

    name: str
    view: View
    focal: Focal | None = None
    why: str = ""
    alt: str = "your photo"


def read(path: Path, calibrate: str | None = None) -> Photo:
    """A photo from a file, which is deleted; calibrate: who says its focal length, see
    `vlm3.sources.calibrate`. ValueError, naming it, for what cannot be read."""
    try:
        return _read(path, calibrate)
    except (ValueError, OSError) as error:
        raise ValueError(_named(error, path)) from None
    finally:
        path.unlink(missing_ok=True)


def _read(path: Path, calibrate: str | None) -> Photo:
    _refuse_giants(path)
    try:
        return Photo(path.name, *calibrators.opened(path, name=calibrate))
    except ValueError as error:
        # the picture can be shown all the same while its focal length is typed
        view = View(read_photo(path, panoramas=True).image, None)
        plain = NO_FOCAL.partition("{")[0] in str(error)
        why = f"{path.name}: {UNKNOWN}" if plain else _named(error, path)
        return Photo(path.name, view, why=why)


def _refuse_giants(path: Path) -> None:
    """ValueError for more pixels than a page that several people use has memory for."""
    try:
        with exif.quietly(), Image.open(path) as photo:
            width, height = photo.size
    except Exception:  # what it is instead, `open_photo` says better
        return
    if width * height > SMALL_PIXELS:
        most = f"{SMALL_PIXELS / 1e6:.0f} million pixels"
        raise ValueError(f"{path}: {width}x{height} is more than {most}: make it smaller first")


def _named(error: Exception, path: Path) -> str:
    """An error with the name of the photo only: where it lay is nobody's business."""
    return str(error).replace(str(path), path.name)


def focal_px(typed: str, size: tuple[int, int]) -> float | None:
    """ "1000", "1000 px" or "26 mm" on 35 mm film as pixels of a photo of (width, height); None for
    nothing typed. ValueError for anything else."""
    if not typed.strip():
        return None
    found = re.fullmatch(r"\s*(\d+\.?\d*|\.\d+)\s*(px|mm)?\s*", typed, re.IGNORECASE)
    number = float(found[1]) if found else 0.0
    if not 0 < number < 1e6:
        raise ValueError(f"the focal length {typed!r} is neither 1000 (pixels) nor 26 mm or so")
    if (found[2] or "px").lower() == "px":
        return number
    return number * math.hypot(*size) / exif.FILM_MM


def taken(photo: Photo, typed: str) -> Calibrated:
    """The photo with a focal length, and who tells it. ValueError where nobody does."""
    width, height = photo.view.size
    px = focal_px(typed, photo.view.size)
    if px is not None:
        camera = Camera(px, px, width / 2, height / 2, width, height)
        view = View(photo.view.image, camera, photo.view.depth_m)
        return Calibrated(view, Focal(px, origin="given"))
    if photo.focal is None:
        raise ValueError(photo.why)
    return Calibrated(photo.view, photo.focal)


def described(photo: Photo, typed: str) -> str:
    """A line below a picture: its name, its size, its focal length and who tells it."""
    size = "x".join(map(str, photo.view.size))
    try:
        _, focal = taken(photo, typed)
    except ValueError:
        return f"{photo.name}: {size} px, focal length not known yet"
    told = TOLD.get(focal.origin, focal.origin)
    return f"{photo.name}: {size} px, focal length {focal.focal_px:.0f} px, {told}"
