"""Photos of any camera: pixels, upright or as stored, and the focal length that EXIF tells.

Labels count pixels of the stored raster, so readers of labelled photos leave EXIF's orientation
alone (`read_rgb`, or `open_photo` with as_stored); people see a photo turned the right way up.
"""

import math
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, TiffImagePlugin, UnidentifiedImageError
from PIL.ExifTags import Base

from vlm3.focal import Calibrator, calibrated
from vlm3.geometry import Camera
from vlm3.sources import exif
from vlm3.views import View

MOST_PIXELS = 500_000_000  # about 7 GB of memory while a photo is read and turned
SMALL_PIXELS = 80_000_000  # up to here Pillow has nothing against a photo
PANORAMA = (
    "a panorama ({}), which has no focal length: cut a perspective picture out of it, or give "
    "focal_px (--focal-px) if it is one all the same"
)
# By the value of Orientation; 1 is upright.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Many raw files are TIFFs by their content: only the name tells them apart.
RAW = re.compile(
    r"\.(3fr|arw|cr[23]|dcr|dng|erf|gpr|iiq|kdc|mrw|nef|nrw|orf|pef|raf|rw[2l]|sr[2fw]|x3f)$",
    re.IGNORECASE,
)
HEIF = b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"
_lifting = threading.Lock()


class Photo(NamedTuple):
    """A photo before its camera is known: all that can tell the focal length.

    image: HxWx3 uint8; path: of its file, None for pixels without one; noted: what EXIF tells,
    where it can be believed.
    """

    image: np.ndarray
    path: Path | None = None
    noted: exif.Noted | None = None

    def camera(self, focal_px: float) -> Camera:
        """With this focal length in both directions, and the principal point in the middle."""
        height, width = self.image.shape[:2]
        return Camera(focal_px, focal_px, width / 2, height / 2, width, height)


def open_photo(
    path: str | Path,
    focal_px: float | None = None,
    calibrator: Calibrator | None = None,
    as_stored: bool = False,
) -> View:
    """Read a photo with its camera, whose principal point is taken to be in the centre.

    See `read_rgb` for what can be read. The focal length is focal_px if given, else from EXIF (see
    `vlm3.sources.exif`), else the calibrator's; `vlm3.sources.calibrate.opened` asks one by its
    name, also where EXIF knows. The image is turned the right way up, unless as_stored: for labels
    that count pixels of the file's raster. Raises FileNotFoundError or ValueError, naming the file,
    for what cannot be read, has no focal length, or is a panorama (which opens with focal_px).
    """
    photo = read_photo(path, as_stored, panoramas=focal_px is not None)
    if focal_px is None and photo.noted:
        focal_px = photo.noted.focal_px
    try:
        if focal_px is None:
            return View(photo.image, calibrated(photo.image, calibrator))
        return View(photo.image, photo.camera(focal_px))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def read_photo(path: str | Path, as_stored: bool = False, panoramas: bool = False) -> Photo:
    """A photo without its camera, turned and refused as by `open_photo`; panoramas: take them."""
    photo, turn = _read(Path(path))
    if not panoramas and (kind := exif.panorama(photo)):
        raise ValueError(f"{path}: {PANORAMA.format(kind)}")
    noted = exif.noted(photo)
    return Photo(_rgb(path, photo, None if as_stored else turn), Path(path), noted)


def read_rgb(path: str | Path) -> np.ndarray:
    """A photo as HxWx3 uint8, as it is stored: a turn that EXIF notes is unknown to labels.

    Any picture with 8 bits per colour that Pillow reads, the first of several; HEIC where
    pillow-heif is installed. What is transparent lies on white. FileNotFoundError or ValueError,
    naming the file, for anything else: previews in raw files, more than MOST_PIXELS, grey of more
    bits, broken files.
    """
    return _rgb(path, _read(Path(path))[0], None)


def _rgb(path: str | Path, photo: Image.Image, turn: Image.Transpose | None) -> np.ndarray:
    try:
        flat = _opaque(photo)
        return np.array(flat if turn is None else flat.transpose(turn))
    except Exception as error:  # such as no way from its colours to RGB
        raise ValueError(
            f"{path}: {photo.mode} cannot become 8 bits of red, green and blue ({error})"
        ) from error


def _opaque(photo: Image.Image) -> Image.Image:
    """As RGB, on white where it is transparent: the colour hidden there belongs to nothing seen."""
    if photo.mode not in ("RGBA", "LA", "PA", "RGBa", "La") and "transparency" not in photo.info:
        # a TIFF left as stored states its turned size
        ready = photo.mode == "RGB" and photo.size == photo.im.size
        return photo if ready else photo.convert("RGB")
    ground = Image.new("RGBA", photo.im.size, "white")
    ground.alpha_composite(photo.convert("RGBA"))
    return ground.convert("RGB")


def _read(path: Path) -> tuple[Image.Image, Image.Transpose | None]:
    """The picture as stored, whole in memory, and the turn that puts it upright."""
    if not os.path.isfile(path):  # Path.is_file raises for a name that is too long
        raise FileNotFoundError(f"{path}: no such photo")
    try:
        with exif.quietly(), _identified(path) as photo:  # closes the file; what was loaded stays
            _refuse_giants(photo)
            _refuse_previews(path, photo)
            tiff = photo.format == "TIFF"
            # before Pillow does, which turns a TIFF while it loads it
            turn = _turn(photo) if tiff else None
            with _of_any_size() if math.prod(photo.size) > SMALL_PIXELS else nullcontext():
                photo.load()
            turn = turn if tiff else _turn(photo)  # a PNG may have its EXIF after its pixels
    except _Refused as error:
        raise ValueError(f"{path}: {error}") from None
    except Exception as error:  # on broken files Pillow raises nearly anything, TypeError included
        raise ValueError(f"{path}: not a picture that can be read whole ({error})") from error
    if photo.mode[0] in "IF":  # "I;16", "F": depth maps and scans, whose range only they know
        raise ValueError(
            f"{path}: {photo.mode} is not a photo with 8 bits per colour: convert it first"
        )
    return photo, turn


class _Refused(ValueError):
    """A file whose fault is known: what to do about it."""


def _identified(path: Path) -> Image.Image:
    """The open file, its pixels not read yet."""
    with _of_any_size():
        try:
            return Image.open(path)
        except UnidentifiedImageError:
            _prepare(path)
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
        try:  # here, so that it costs those who have such photos only
            from pillow_heif import register_heif_opener
        except ImportError:
            raise _Refused(
                "HEIC needs pillow-heif: pip install pillow-heif, or vlm3[heic]"
            ) from None
        register_heif_opener()


def _refuse_giants(photo: Image.Image) -> None:
    width, height = photo.size
    if width * height > MOST_PIXELS:
        raise _Refused(
            f"{width}x{height} is more than {MOST_PIXELS / 1e6:.0f} million pixels: "
            "make it smaller, or cut it, first"
        )


def _refuse_previews(path: Path, photo: Image.Image) -> None:
    """_Refused where the first picture of a TIFF is a reduced one, as in most raw files.

    NewSubfileType 1 says so (TIFF 6.0), as does a larger picture in its SubIFDs; DNGVersion stands
    in every DNG.
    """
    if not isinstance(photo, TiffImagePlugin.TiffImageFile):
        return
    tags, (width, height), stated = photo.tag_v2, photo.size, _stated_size(photo)
    larger = [s for s in _sizes_within(path, photo) if math.prod(s) > width * height]
    kind = tags.get(Base.NewSubfileType, 0)
    reduced = isinstance(kind, int) and kind & 1
    if larger or reduced or Base.DNGVersion in tags or RAW.search(path.name):
        whole = max([*larger, stated], key=math.prod)
        of = f" of a photo of {whole[0]}x{whole[1]}" if math.prod(whole) > width * height else ""
        raise _Refused(
            f"a raw file, and all that opens is its preview of {width}x{height}{of}: "
            "develop it to JPEG, PNG or TIFF first"
        )


def _stated_size(photo: Image.Image) -> tuple[int, int]:
    """(width, height) by EXIF, 0 where it says none."""
    tags = exif.tags_of(photo)
    width, height = (exif.number(tags, t) for t in (Base.ExifImageWidth, Base.ExifImageHeight))
    return int(width), int(height)


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
    """The turn that Orientation asks for, which is taken out of `photo`.

    Not by `PIL.ImageOps.exif_transpose`: it encodes all of EXIF once more, and fails where any
    value of it cannot be.
    """
    try:
        orientation = photo.getexif().pop(Base.Orientation, 1)
    except Exception:  # broken EXIF is none
        return None
    return TURNS.get(orientation) if isinstance(orientation, int) else None


@contextmanager
def _of_any_size() -> Iterator[None]:
    """Without Pillow's limit of 179 million pixels: ours is MOST_PIXELS."""
    with _lifting:  # the limit is one for the whole process, threads included
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit
