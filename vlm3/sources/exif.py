"""What a photo's own notes tell of its camera: EXIF and XMP, believed only where they can be true.

Tags: Exif 3.0 (CIPA DC-008), TIFF 6.0. Notes that are broken are none; they never stop a picture.
"""

import math
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from PIL import Image
from PIL.ExifTags import IFD, Base

FILM_MM = math.hypot(36, 24)
ROUNDING_MM = 1 / math.sqrt(12)  # standard deviation of what lies evenly within half a millimetre
# Equivalents of lenses without fisheye that are sold: 135 to 0.8 degrees along the diagonal.
LENSES_MM = 9, 3000
SENSORS_MM = 2, 70  # diagonals, from the smallest phone to medium format
# Diagonals of sensors as cameras state them: film, APS-H, APS-C, 1.5 inch, four thirds, 1 inch.
# Compact cameras have smaller ones with pixels of less than 3.7 micrometres. What lies between was
# reduced, or is an error of the camera.
FORMATS_MM = (42, 45), (32.5, 35), (26, 29), (23, 23.8), (21.2, 22), (15.5, 16.3)
# Exif has inch and cm only; cameras write mm and micrometres, too.
UNITS_MM = {2: 25.4, 3: 10.0, 4: 1.0, 5: 0.001}
EDITORS = re.compile(
    "microsoft|adobe|lightroom|photoshop|gimp|darktable|rawtherapee|capture one|dxo|paint|picasa|"
    "acdsee|affinity|luminar|snapseed|photo ?scape|xnview|irfan|faststone|google|photos|"
    "digital photo professional",
    re.IGNORECASE,
)
# Cameras that see all round, by their names.
ALL_ROUND = re.compile(
    "theta|insta360|gear 360|sm-[cr]2|keymission|qoocam|gopro max|fusion|pilot|vuze", re.IGNORECASE
)


class Noted(NamedTuple):
    """A focal length in pixels by a photo's notes, and what rounding alone leaves open of it.

    relative_std: the 35 mm equivalent is a whole number of millimetres in Exif, so that what was
    rounded lies evenly within half a millimetre: 1.2 per cent at 24 mm, 0.3 at 85. It is the least
    that is open: makers also note nominal values, and a lens that focuses near changes its own.
    None where the focal length follows from the sensor, which is noted with more digits.
    """

    focal_px: float
    relative_std: float | None


def focal_from_exif(photo: Image.Image) -> float | None:
    """Focal length in pixels as EXIF tells it, see `noted`; None where it does not."""
    found = noted(photo)
    return found and found.focal_px


def noted(photo: Image.Image) -> Noted | None:
    """Focal length in pixels as EXIF tells it; None where it does not, or cannot be believed.

    f = f35 x diagonal in pixels / 43.27 mm, the diagonal of 36 x 24 mm film, with f35 the 35 mm
    equivalent (FocalLengthIn35mmFilm, 0 = unknown), else what FocalLength and the focal plane make
    of it: Exif's FocalPlaneX/YResolution count pixels per unit on the sensor, for a picture of
    PixelX/YDimension pixels, so their ratio is the sensor, and f35 = FocalLength x 43.27 mm / its
    diagonal. Neither needs to know how the photo was turned or reduced since.

    None also for

    - an equivalent that no lens has (LENSES_MM): action cameras and drones write 0 or 1, others
      65535;
    - sides recorded in another proportion than the photo has: after a crop nothing recorded is true
      any more (a crop that keeps the proportion goes unnoticed);
    - equivalent and focal plane more than 20 % apart, or an equivalent whose sensor would be
      smaller or larger than any: one of them is wrong, and nothing says which;
    - digital zoom, which Apple counts into the equivalent and some makers do not (hugin bug
      2064625).

    The focal plane is left out where it makes no sensor that is built (FORMATS_MM), and in photos
    from an editor, which changes PixelXDimension and not the resolution.
    """
    tags = tags_of(photo)
    # sorted, since a photo may have been turned after its sides were recorded
    recorded = sorted((number(tags, Base.ExifImageWidth), number(tags, Base.ExifImageHeight)))
    shape = sorted(photo.size)
    cropped = recorded[0] > 0 and abs(recorded[1] / recorded[0] / (shape[1] / shape[0]) - 1) > 0.01
    zoomed = number(tags, Base.DigitalZoomRatio) > 1.01 and text(tags, Base.Make) != "Apple"
    rounded = number(tags, Base.FocalLengthIn35mmFilm)
    told = [f35 for f35 in (rounded, _focal_plane_mm(tags, photo)) if _between(f35, LENSES_MM)]
    if not told or cropped or zoomed or max(told) / min(told) > 1.2 or not _possible(told[0], tags):
        return None
    open_mm = ROUNDING_MM if told[0] == rounded else None
    return Noted(told[0] * math.hypot(*shape) / FILM_MM, open_mm and open_mm / told[0])


def _focal_plane_mm(tags: dict, photo: Image.Image) -> float:
    """The 35 mm equivalent by focal length and size of the sensor, 0 where they are not known."""
    sides = [number(tags, tag) for tag in (Base.ExifImageWidth, Base.ExifImageHeight)]
    resolutions = Base.FocalPlaneXResolution, Base.FocalPlaneYResolution
    per_unit = [number(tags, tag) for tag in resolutions]
    # Exif: inch where it is not said
    unit_mm = UNITS_MM.get(tags.get(Base.FocalPlaneResolutionUnit, 2), 0)
    edited = EDITORS.search(text(tags, Base.Software)) or b"CreatorTool" in xmp_of(photo)
    if edited or min(*sides, *per_unit, unit_mm) <= 0 or abs(per_unit[0] / per_unit[1] - 1) > 0.05:
        return 0.0
    sides_mm = (side / many * unit_mm for side, many in zip(sides, per_unit, strict=True))
    sensor_mm = math.hypot(*sides_mm)
    compact = sensor_mm < 11.5 and sensor_mm / math.hypot(*sides) < 0.0037
    known = compact or any(_between(sensor_mm, limits) for limits in FORMATS_MM)
    wrong = "6D Mark II" in text(tags, Base.Model)  # says 24 mm and has 36: exiv2 issue 3097
    if wrong or not known:
        return 0.0
    return number(tags, Base.FocalLength) * FILM_MM / sensor_mm


def _possible(f35_mm: float, tags: dict) -> bool:
    """Whether the sensor that makes f35 of FocalLength could exist; true where that is unknown."""
    focal_mm, zoom = number(tags, Base.FocalLength), max(1.0, number(tags, Base.DigitalZoomRatio))
    return focal_mm <= 0 or _between(focal_mm * zoom * FILM_MM / f35_mm, SENSORS_MM)


def _between(value: float, limits: tuple[float, float]) -> bool:
    return limits[0] <= value <= limits[1]


def panorama(photo: Image.Image) -> str:
    """The kind of panorama that a photo is, "" for what a pinhole camera may have taken.

    Known by Google's GPano:ProjectionType in XMP, by Apple's CustomRendered, and by cameras that
    see all round, whose pictures are twice as wide as high.
    """
    tags, (short, long) = tags_of(photo), sorted(photo.size)
    found = re.search(rb"""GPano:ProjectionType\s*(?:=\s*["']|>)\s*(\w+)""", xmp_of(photo))
    camera = f"{text(tags, Base.Make)} {text(tags, Base.Model)}"
    if found:
        kind = found[1].decode(errors="replace")
        return "" if kind.lower() in ("rectilinear", "perspective") else kind
    if tags.get(Base.CustomRendered) == 6 and "Apple" in camera:
        return "swept"
    return "360-degree" if abs(long / short - 2) < 0.01 and ALL_ROUND.search(camera) else ""


def tags_of(photo: Image.Image) -> dict:
    """What can be read of the first directory and of Exif's own; broken EXIF is none."""
    found: dict = {}
    for read in (lambda: photo.getexif(), lambda: photo.getexif().get_ifd(IFD.Exif)):
        try:
            with quietly():
                found |= dict(read())
        except Exception:  # Pillow raises nearly anything here
            continue
    return found


def number(tags: dict, tag: int) -> float:
    try:
        value = float(tags.get(tag) or 0)
    except (TypeError, ValueError, ArithmeticError):
        return 0.0
    return value if math.isfinite(value) else 0.0


def text(tags: dict, tag: int) -> str:
    return str(tags.get(tag, "")).strip(" \0")


def xmp_of(photo: Image.Image) -> bytes:
    """The XMP packets of a photo, one after the other; empty where there is none."""
    parts = [photo.info.get(key, b"") for key in ("xmp", "XML:com.adobe.xmp")]
    # where older Pillow leaves those of a JPEG
    parts += [content for _, content in getattr(photo, "applist", [])]
    parts = [part.encode() if isinstance(part, str) else part for part in parts]
    packets = b"\n".join(part for part in parts if isinstance(part, bytes))
    return packets.replace(b"\0", b"")  # UTF-16 becomes readable, too


@contextmanager
def quietly() -> Iterator[None]:
    """Without Pillow's warnings, mostly of odd EXIF: what matters of them becomes an error here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
