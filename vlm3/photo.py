"""Photos of any camera: the pixels, the right way up or as stored, and the focal length that EXIF tells.

Labels count pixels of the stored raster, so readers of labelled photos leave EXIF's orientation alone (`read_rgb`, or
`open_photo` with as_stored); people see a photo turned the right way up. Tags: Exif 3.0 (CIPA DC-008), TIFF 6.0.
"""

import math
import os
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np
from PIL import Image, TiffImagePlugin, UnidentifiedImageError
from PIL.ExifTags import IFD, Base

from vlm3.focal import Calibrator, _calibrated
from vlm3.geometry import Camera
from vlm3.views import View

MOST_PIXELS = 500_000_000  # about 7 GB of memory while a photo is read and turned
SMALL_PIXELS = 80_000_000  # up to here Pillow has nothing against a photo
FILM_MM = math.hypot(36, 24)
LENSES_MM = 9, 3000  # equivalents of lenses without fisheye that are sold: 135 to 0.8 degrees along the diagonal
SENSORS_MM = 2, 70  # diagonals, from the smallest phone to medium format
# Diagonals of sensors as cameras state them: film, APS-H, APS-C, 1.5 inch, four thirds, 1 inch. Compact cameras have
# smaller ones with pixels of less than 3.7 micrometres. What lies between was reduced, or is an error of the camera.
FORMATS_MM = (42, 45), (32.5, 35), (26, 29), (23, 23.8), (21.2, 22), (15.5, 16.3)
UNITS_MM = {2: 25.4, 3: 10.0, 4: 1.0, 5: 0.001}  # Exif has inch and cm only; cameras write mm and micrometres, too
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
RAW = re.compile(
    r"\.(3fr|arw|cr[23]|dcr|dng|erf|gpr|iiq|kdc|mrw|nef|nrw|orf|pef|raf|rw[2l]|sr[2fw]|x3f)$", re.IGNORECASE
)
HEIF = b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"
EDITORS = re.compile(
    "adobe|lightroom|photoshop|gimp|darktable|rawtherapee|capture one|dxo|paint|picasa|acdsee|affinity|luminar|"
    "snapseed|photo ?scape|xnview|irfan|faststone|google|apple photos|digital photo professional",
    re.IGNORECASE,
)
ALL_ROUND = re.compile("theta|insta360|gear 360|sm-[cr]2|keymission|qoocam|gopro max|fusion|pilot|vuze", re.IGNORECASE)
_lifting = threading.Lock()


def open_photo(
    path: str | Path, focal_px: float | None = None, calibrator: Calibrator | None = None, as_stored: bool = False
) -> View:
    """Read a photo with its camera: principal point in the centre. See `read_rgb` for what can be read.

    The focal length is focal_px if given, else from EXIF (see `focal_from_exif`), else the calibrator's.
    The image is turned the right way up, unless as_stored: for labels that count pixels of the file's raster.
    Raises FileNotFoundError or ValueError, naming the file, for what cannot be read, has no focal length, or is a
    panorama (which opens with focal_px).
    """
    photo, turn = _read(Path(path))
    if focal_px is None:
        _refuse_panoramas(path, photo)
        focal_px = focal_from_exif(photo)
    image = _rgb(path, photo, None if as_stored else turn)
    try:
        if focal_px is None:
            return View(image, _calibrated(image, calibrator))
        height, width = image.shape[:2]
        return View(image, Camera(focal_px, focal_px, width / 2, height / 2, width, height))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def read_rgb(path: str | Path) -> np.ndarray:
    """A photo as HxWx3 uint8, as it is stored: whatever turn EXIF notes is left out, as labels do not know of it.

    Any picture with 8 bits per colour that Pillow reads, the first of several; HEIC where pillow-heif is installed.
    What is transparent lies on white. FileNotFoundError or ValueError, naming the file, for anything else: previews
    in raw files, more than MOST_PIXELS, more bits, broken files.
    """
    return _rgb(path, _read(Path(path))[0], None)


def focal_from_exif(photo: Image.Image) -> float | None:
    """Focal length in pixels as EXIF tells it, or None where it does not know or cannot be believed.

    f = f35 x diagonal in pixels / 43.27 mm, the diagonal of 36 x 24 mm film, with f35 the 35 mm equivalent
    (FocalLengthIn35mmFilm, 0 = unknown), else what FocalLength and the focal plane make of it: Exif's
    FocalPlaneX/YResolution count pixels per unit on the sensor, for a picture of PixelX/YDimension pixels, so their
    ratio is the sensor, and f35 = FocalLength x 43.27 mm / its diagonal. Neither needs to know how the photo was
    turned or reduced since.

    None also for
    - an equivalent that no lens has (LENSES_MM): action cameras and drones write 0 or 1, others 65535;
    - sides recorded in another proportion than the photo has: after a crop nothing recorded is true any more (a crop
      that keeps the proportion goes unnoticed);
    - equivalent and focal plane more than 20 % apart, or an equivalent whose sensor would be smaller or larger than
      any: one of them is wrong, and nothing says which;
    - digital zoom, which Apple counts into the equivalent and others do not (hugin bug 2064625).
    The focal plane is left out where it makes no sensor that is built (FORMATS_MM), and in photos from an editor,
    which changes PixelXDimension and not the resolution.
    """
    tags = _tags(photo)
    recorded = sorted((_number(tags, Base.ExifImageWidth), _number(tags, Base.ExifImageHeight)))
    shape = sorted(photo.size)
    cropped = recorded[0] > 0 and abs(recorded[1] / recorded[0] / (shape[1] / shape[0]) - 1) > 0.01
    zoomed = _number(tags, Base.DigitalZoomRatio) > 1.01 and _text(tags, Base.Make) != "Apple"
    told = [f35 for f35 in (_stated_mm(tags), _focal_plane_mm(tags, photo)) if _between(f35, LENSES_MM)]
    if not told or cropped or zoomed or max(told) / min(told) > 1.2 or not _possible(told[0], tags):
        return None
    return told[0] * math.hypot(*shape) / FILM_MM


def _stated_mm(tags: dict) -> float:
    return _number(tags, Base.FocalLengthIn35mmFilm)


def _focal_plane_mm(tags: dict, photo: Image.Image) -> float:
    """The 35 mm equivalent by focal length and size of the sensor, 0 where they are not known."""
    sides = [_number(tags, tag) for tag in (Base.ExifImageWidth, Base.ExifImageHeight)]
    per_unit = [_number(tags, tag) for tag in (Base.FocalPlaneXResolution, Base.FocalPlaneYResolution)]
    unit_mm = UNITS_MM.get(tags.get(Base.FocalPlaneResolutionUnit, 2), 0)  # Exif: inch where it is not said
    if min(*sides, *per_unit, unit_mm) <= 0 or abs(per_unit[0] / per_unit[1] - 1) > 0.05 or _edited(tags, photo):
        return 0.0
    sensor_mm = math.hypot(*(side / many * unit_mm for side, many in zip(sides, per_unit, strict=True)))
    compact = sensor_mm < 11.5 and sensor_mm / math.hypot(*sides) < 0.0037
    known = compact or any(_between(sensor_mm, limits) for limits in FORMATS_MM)
    if not known or "6D Mark II" in _text(tags, Base.Model):  # says 24 mm and has 36: exiv2 issue 3097
        return 0.0
    return _number(tags, Base.FocalLength) * FILM_MM / sensor_mm


def _possible(f35_mm: float, tags: dict) -> bool:
    """Whether the sensor that makes f35 out of FocalLength could exist; true where FocalLength is not known."""
    focal_mm, zoom = _number(tags, Base.FocalLength), max(1.0, _number(tags, Base.DigitalZoomRatio))
    return focal_mm <= 0 or _between(focal_mm * zoom * FILM_MM / f35_mm, SENSORS_MM)


def _edited(tags: dict, photo: Image.Image) -> bool:
    return bool(EDITORS.search(_text(tags, Base.Software)) or b"CreatorTool" in _xmp(photo))


def _between(value: float, limits: tuple[float, float]) -> bool:
    return limits[0] <= value <= limits[1]


def _tags(photo: Image.Image) -> dict:
    """What can be read of the first directory and of Exif's own. Broken EXIF is none: it never stops a picture."""
    found: dict = {}
    for read in (lambda: photo.getexif(), lambda: photo.getexif().get_ifd(IFD.Exif)):
        try:
            with _quietly():
                found |= dict(read())
        except Exception:  # Pillow raises nearly anything here
            continue
    return found


def _number(tags: dict, tag: int) -> float:
    try:
        value = float(tags.get(tag) or 0)
    except (TypeError, ValueError, ArithmeticError):
        return 0.0
    return value if math.isfinite(value) else 0.0


def _text(tags: dict, tag: int) -> str:
    return str(tags.get(tag, "")).strip(" \0")


def _xmp(photo: Image.Image) -> bytes:
    """The XMP packets of a photo, one after the other; empty where there is none."""
    parts = [photo.info.get(key, b"") for key in ("xmp", "XML:com.adobe.xmp")]
    parts += [content for _, content in getattr(photo, "applist", [])]  # where older Pillow leaves those of a JPEG
    parts = [part.encode() if isinstance(part, str) else part for part in parts]
    return b"\n".join(part for part in parts if isinstance(part, bytes)).replace(b"\0", b"")  # UTF-16, too


def _refuse_panoramas(path: str | Path, photo: Image.Image) -> None:
    """ValueError for what no pinhole camera takes: by Google's GPano, by Apple's CustomRendered, by the camera."""
    tags, (short, long) = _tags(photo), sorted(photo.size)
    found = re.search(rb"""GPano:ProjectionType\s*(?:=\s*["']|>)\s*(\w+)""", _xmp(photo))
    kind = found[1].decode(errors="replace") if found else ""
    camera = f"{_text(tags, Base.Make)} {_text(tags, Base.Model)}"
    if tags.get(Base.CustomRendered) == 6 and "Apple" in camera:
        kind = kind or "swept"
    if abs(long / short - 2) < 0.01 and ALL_ROUND.search(camera):
        kind = kind or "360-degree"
    if kind and kind.lower() not in ("rectilinear", "perspective"):
        raise ValueError(
            f"{path}: a panorama ({kind}), which has no focal length: cut a perspective picture out of it, or give "
            "focal_px (--focal-px) if it is one all the same"
        )


def _rgb(path: str | Path, photo: Image.Image, turn: Image.Transpose | None) -> np.ndarray:
    try:
        flat = _opaque(photo)
        return np.array(flat if turn is None else flat.transpose(turn))
    except Exception as error:  # such as no way from its colours to RGB
        raise ValueError(f"{path}: {photo.mode} cannot become 8 bits of red, green and blue ({error})") from error


def _opaque(photo: Image.Image) -> Image.Image:
    """As RGB, on white where it is transparent: the colour hidden there belongs to nothing seen."""
    if photo.mode not in ("RGBA", "LA", "PA", "RGBa", "La") and "transparency" not in photo.info:
        ready = photo.mode == "RGB" and photo.size == photo.im.size  # a TIFF left as stored states its turned size
        return photo if ready else photo.convert("RGB")
    ground = Image.new("RGBA", photo.im.size, "white")
    ground.alpha_composite(photo.convert("RGBA"))
    return ground.convert("RGB")


def _read(path: Path) -> tuple[Image.Image, Image.Transpose | None]:
    """The picture as stored, whole in memory, and the turn that puts it upright."""
    if not os.path.isfile(path):  # Path.is_file raises for a name that is too long
        raise FileNotFoundError(f"{path}: no such photo")
    try:
        with _quietly(), _identified(path) as photo:  # closes the file; what was loaded stays
            _refuse_giants(photo)
            _refuse_previews(path, photo)
            tiff = photo.format == "TIFF"
            turn = _turn(photo) if tiff else None  # before Pillow does, which turns a TIFF while it loads it
            with _of_any_size() if math.prod(photo.size) > SMALL_PIXELS else nullcontext():
                photo.load()
            turn = turn if tiff else _turn(photo)  # a PNG may have its EXIF after its pixels
    except _Refused as error:
        raise ValueError(f"{path}: {error}") from None
    except Exception as error:  # on broken files Pillow raises nearly anything, TypeError included
        raise ValueError(f"{path}: not a picture that can be read whole ({error})") from error
    if photo.mode[0] in "IF":
        raise ValueError(f"{path}: {photo.mode} is not a photo with 8 bits per colour: convert it first")
    return photo, turn


class _Refused(ValueError):
    """A file whose fault is known: what to do about it."""


def _identified(path: Path) -> Image.Image:
    """The open file, its pixels not read yet."""
    try:
        return _opened(path)
    except UnidentifiedImageError:
        _prepare(path)
        return _opened(path)


def _opened(path: Path) -> Image.Image:
    with _of_any_size():
        return Image.open(path)


def _prepare(path: Path) -> None:
    """Make Pillow know the format of a file that it did not, or say what would."""
    with open(path, "rb") as file:
        start = file.read(64)
    if RAW.search(path.name):
        raise _Refused("a raw file: develop it to JPEG, PNG or TIFF first")
    if start[4:8] != b"ftyp":
        raise _Refused("not a picture that can be read whole (of no format that Pillow knows)")
    if b"avif" in start:
        raise _Refused("AVIF needs a newer Pillow: pip install --upgrade pillow")
    if start[8:12] in HEIF:
        try:
            from pillow_heif import register_heif_opener  # here, so that it costs those who have such photos only
        except ImportError:
            raise _Refused("HEIC needs pillow-heif: pip install pillow-heif, or vlm3[heic]") from None
        register_heif_opener()


def _refuse_giants(photo: Image.Image) -> None:
    width, height = photo.size
    if width * height > MOST_PIXELS:
        raise _Refused(
            f"{width}x{height} is more than {MOST_PIXELS / 1e6:.0f} million pixels: make it smaller, or cut it, first"
        )


def _refuse_previews(path: Path, photo: Image.Image) -> None:
    """_Refused where the first picture of a TIFF is a reduced one, as in most raw files.

    NewSubfileType 1 says so (TIFF 6.0), as does a larger picture in its SubIFDs; DNGVersion stands in every DNG.
    """
    if not isinstance(photo, TiffImagePlugin.TiffImageFile):
        return
    tags, exif, within = photo.tag_v2, _tags(photo), _sizes_within(path, photo)
    width, height = photo.size
    larger = [size for size in within if math.prod(size) > width * height]
    reduced = tags.get(Base.NewSubfileType, 0)
    if larger or Base.DNGVersion in tags or (isinstance(reduced, int) and reduced & 1) or RAW.search(path.name):
        stated = int(_number(exif, Base.ExifImageWidth)), int(_number(exif, Base.ExifImageHeight))
        whole = max([*larger, stated], key=math.prod)
        of = f" of a photo of {whole[0]}x{whole[1]}" if math.prod(whole) > width * height else ""
        raise _Refused(
            f"a raw file, and all that opens is its preview of {width}x{height}{of}: "
            "develop it to JPEG, PNG or TIFF first"
        )


def _sizes_within(path: Path, photo: TiffImagePlugin.TiffImageFile) -> list[tuple[int, int]]:
    """Sizes of the pictures in a TIFF's SubIFDs."""
    offsets, found = photo.tag_v2.get(Base.SubIFDs, ()), []
    for offset in offsets if isinstance(offsets, tuple) else (offsets,):
        try:
            with open(path, "rb") as file:
                directory = TiffImagePlugin.ImageFileDirectory_v2(file.read(8))
                file.seek(offset)
                directory.load(file)
            found.append((int(directory[Base.ImageWidth]), int(directory[Base.ImageLength])))
        except Exception:  # a broken directory is no picture
            continue
    return found


def _turn(photo: Image.Image) -> Image.Transpose | None:
    """The turn that Orientation asks for; taken out of `photo`, and nothing of the rest is written anew.

    `PIL.ImageOps.exif_transpose` encodes all of EXIF once more, and fails where any value of it cannot be.
    """
    try:
        orientation = photo.getexif().pop(Base.Orientation, 1)
    except Exception:  # broken EXIF is none
        return None
    return TURNS.get(orientation) if isinstance(orientation, int) else None


@contextmanager
def _quietly() -> Iterator[None]:
    """Without Pillow's warnings, of odd EXIF for the most part: what matters of them becomes an error here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def _of_any_size() -> Iterator[None]:
    """Without Pillow's limit of 179 million pixels, which is one for the whole process; ours is MOST_PIXELS."""
    with _lifting:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit
