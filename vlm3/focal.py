"""Ingredient 1: focal length unification.

An object of size S at depth Z covers f S / Z pixels, so one picture fits every depth until f is
known. Resampling each image by focal_px / f makes f a constant, and a pixel offset the same viewing
angle for every camera.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from PIL import Image

from vlm3.geometry import Camera, project, rays
from vlm3.views import Box, Pair, View

Calibrator = Callable[[np.ndarray], Camera]

# Above this Qwen3-VL's own processor shrinks an image, and the focal length with it.
MAX_PIXELS = 16_777_216
FITS = ("pad", "crop", "stretch")
PAD_VALUE = 127  # mid-grey is about zero after the model's normalisation
NO_FOCAL = (
    "no focal length known for this {} image. Three ways out: (1) give it, as a Camera or in "
    "pixels (focal_px, --focal-px); (2) take the original photo, whose EXIF data name its focal "
    "length; (3) have it estimated from the picture: --calibrate depthpro, or calibrator=f, a "
    "function from the HxWx3 uint8 image to a Camera, such as vlm3.sources.calibrate.get(name)."
)


def unify_focal(
    view: View,
    focal_px: float = 1000.0,
    multiple: int = 32,
    fit: str = "pad",
    max_pixels: int | None = None,
    calibrator: Calibrator | None = None,
    longest_px: int = 0,
) -> View:
    """Resample a view, once, to focal length focal_px in x and y and sides that are multiples.

    longest_px: the longest side of the picture, which sets the scale in place of a focal length
    and needs no intrinsics: what the released model of correspondence was taught; 0: none.
    multiple: what both sides divide by. fit: "pad" adds grey on the right and at the bottom
    (default); "crop" cuts all sides alike; "stretch" rounds each side by itself, so fx and fy come
    out up to a few per cent off: what the released models saw. With more than max_pixels, the image
    is cut down around its centre; the scale never changes. A last column or row that the new size
    would show only in part is left out.

    The camera stays exact, and so do points. Depth is that of the nearest pixel, NaN in the
    padding; boxes are clipped to the image. Boxes and points that end up outside it are left out.

    Qwen3-VL's own processor leaves the result as it is, unless it has less than 65,536 pixels,
    which the processor of the hub's checkpoints enlarges; `vlm3.qwen.patches.patches` does not.

    Raises ValueError without intrinsics (naming the ways out), for a picture that would become too
    small or too large, and for arguments out of range.
    """
    camera = view.camera or (None if longest_px else calibrated(view.image, calibrator))
    _check_options(longest_px or focal_px, multiple, max_pixels)
    scales = _scales(view.size, camera, focal_px, longest_px)
    at = f"with a longest side of {longest_px} px" if longest_px else f"at f = {focal_px:g} px"
    x, y = _axes(view.size, scales, multiple, fit, max_pixels, at)
    if all(
        axis == _Axis(1.0, 0.0, side, side) for axis, side in zip((x, y), view.size, strict=True)
    ):
        return view if view.camera else replace(view, camera=camera)
    return View(
        image=_resampled(view.image, x, y),
        camera=None if camera is None else _seen_by(camera, x, y),
        depth_m=None if view.depth_m is None else _nearest(view.depth_m, x, y),
        world_from_cam=view.world_from_cam,
        boxes=tuple(moved for box in view.boxes if (moved := _moved(box, x, y))),
        points=None if view.points is None else _shifted(view.points, x, y),
    )


def unify_pair(pair: Pair, **options) -> Pair:
    """Both views of a pair, unified, with the points that are still inside both.

    options: as for `unify_focal`.
    """
    views = [unify_focal(view, **options) for view in pair[:2]]
    moved, inside = [], np.ones(len(pair.uv1), bool)
    for uv, old, new in zip(pair[2:], pair[:2], views, strict=True):
        moved.append(project(rays(uv, old.camera), new.camera))
        scale = new.camera.fx / old.camera.fx, new.camera.fy / old.camera.fy
        # without the padding, on which nothing lies
        picture = np.minimum(new.size, np.floor(np.multiply(old.size, scale) + 1e-6))
        inside &= ((moved[-1] >= 0) & (moved[-1] < picture)).all(-1)
    return Pair(*views, *(uv[inside] for uv in moved))


class _Axis(NamedTuple):
    """One side of the new image."""

    scale: float  # new pixels per old pixel
    start: float  # where the new image begins on the scaled picture, in new pixels
    length: int  # new pixels
    kept: int  # how many of them show the picture; the rest is padding


def _scales(
    size: tuple[int, int], camera: Camera | None, focal_px: float, longest_px: int
) -> list[float]:
    """New pixels per old pixel, along x and y; ValueError where no photo has such a camera."""
    if longest_px:
        return [longest_px / max(size)] * 2
    scales = [focal_px / camera.fx, focal_px / camera.fy]
    full = [side * scale for side, scale in zip(size, scales, strict=True)]
    if max(full) > 1e8:  # no photo: a focal length in metres or in another unit
        raise ValueError(
            f"{_became(size, full)} at f = {focal_px:g} px: "
            f"is its focal length of ({camera.fx:g}, {camera.fy:g}) px right?"
        )
    return scales


def _became(size: tuple[int, int], full: list[float]) -> str:
    return f"the {size[0]}x{size[1]} image becomes {full[0]:.6g}x{full[1]:.6g}"


def _axes(
    size: tuple[int, int],
    scales: list[float],
    multiple: int,
    fit: str,
    max_pixels: int | None,
    at: str,
) -> list[_Axis]:
    """The two sides of the new image; ValueError for what `unify_focal` refuses."""
    full = [side * scale for side, scale in zip(size, scales, strict=True)]
    became = f"{_became(size, full)} {at}"
    lengths = [_fitted(side, multiple, fit) for side in full]
    if min(lengths) < 1:
        raise ValueError(f"{became}, too small for fit={fit!r} to multiples of {multiple}")
    if fit == "stretch":
        full = [float(length) for length in lengths]
        scales = [length / side for length, side in zip(lengths, size, strict=True)]
    if math.prod(lengths) > (MAX_PIXELS if max_pixels is None else max_pixels):
        if max_pixels is None:
            raise ValueError(
                f"{became}, more than {MAX_PIXELS} pixels: pass max_pixels to keep its centre only"
            )
        lengths = _within(lengths, max_pixels, multiple)
    return [_axis(*side, fit) for side in zip(scales, full, lengths, strict=True)]


def _check_options(focal_px: float, multiple: int, max_pixels: int | None) -> None:
    most = MAX_PIXELS if max_pixels is None else max_pixels
    whole = all(isinstance(number, (int, np.integer)) for number in (multiple, most))
    known = isinstance(focal_px, (int, float, np.number)) and 0 < focal_px < 1e6
    if not (known and whole and 1 <= multiple**2 <= most <= MAX_PIXELS and multiple > 0):
        raise ValueError(
            "need 0 < focal_px < 1e6 and whole numbers multiple >= 1 and max_pixels from "
            f"multiple^2 to {MAX_PIXELS}, got {focal_px!r}, {multiple!r}, {max_pixels!r}"
        )


def _seen_by(camera: Camera, x: _Axis, y: _Axis) -> Camera:
    cx, cy = camera.cx * x.scale - x.start, camera.cy * y.scale - y.start
    return Camera(camera.fx * x.scale, camera.fy * y.scale, cx, cy, x.length, y.length)


def _fitted(side: float, multiple: int, fit: str) -> int:
    whole = math.floor(side + 1e-6)  # 1119.9999999999 is 1120
    match fit:
        case "pad":
            return math.ceil(whole / multiple) * multiple
        case "crop":
            return whole // multiple * multiple
        case "stretch":
            return round(side / multiple) * multiple
    raise ValueError(f"fit must be 'pad', 'crop' or 'stretch', got {fit!r}")


def _within(lengths: list[int], most: int, multiple: int) -> list[int]:
    """About the same shape in at most `most` pixels."""
    short, long = sorted(lengths)
    ideal = math.floor(short * math.sqrt(most / (short * long)))
    short = max(multiple, ideal // multiple * multiple)
    # the long side takes all that rounding the short one left
    long = min(long, most // short // multiple * multiple)
    return [short, long] if lengths[0] <= lengths[1] else [long, short]


def _axis(scale: float, full: float, length: int, fit: str) -> _Axis:
    whole = math.floor(full + 1e-6)
    # cut because of max_pixels, an image keeps its middle, whatever fit says
    centred = fit == "crop" or length < whole
    return _Axis(scale, max(0.0, full - length) / 2 if centred else 0.0, length, min(length, whole))


def _resampled(image: np.ndarray, x: _Axis, y: _Axis) -> np.ndarray:
    """One bicubic resampling of a fractional source box, straight to the final size."""
    height, width = image.shape[:2]
    right, bottom = (x.start + x.kept) / x.scale, (y.start + y.kept) / y.scale
    # Pillow refuses a box that rounding has put a hair beyond the image
    box = x.start / x.scale, y.start / y.scale, min(right, width), min(bottom, height)
    picture = Image.fromarray(image).resize((x.kept, y.kept), Image.Resampling.BICUBIC, box=box)
    if (x.kept, y.kept) == (x.length, y.length):
        return np.array(picture)
    canvas = np.full((y.length, x.length, 3), PAD_VALUE, np.uint8)
    canvas[: y.kept, : x.kept] = picture
    return canvas


def _nearest(depth_m: np.ndarray, x: _Axis, y: _Axis) -> np.ndarray:
    """Depth at the centre of each new pixel, from the old pixel that holds it."""
    rows, columns = (
        np.minimum(((axis.start + np.arange(axis.kept) + 0.5) / axis.scale).astype(int), size - 1)
        for axis, size in zip((y, x), depth_m.shape, strict=True)
    )
    canvas = np.full((y.length, x.length), np.nan, np.float32)
    canvas[: y.kept, : x.kept] = depth_m[rows][:, columns]
    return canvas


def _shifted(points: np.ndarray, x: _Axis, y: _Axis) -> np.ndarray:
    """(N, 3) u, v, z_m, those that the new image shows."""
    uv = points[:, :2] * [x.scale, y.scale] - [x.start, y.start]
    inside = ((uv >= 0) & (uv < [x.kept, y.kept])).all(1)
    return np.column_stack([uv, points[:, 2]])[inside]


def _moved(box: Box, x: _Axis, y: _Axis) -> Box | None:
    """The box on the new image, clipped to it; None where nothing of it is left."""
    xmin, xmax = (min(max(u * x.scale - x.start, 0.0), float(x.kept)) for u in (box.xmin, box.xmax))
    ymin, ymax = (min(max(v * y.scale - y.start, 0.0), float(y.kept)) for v in (box.ymin, box.ymax))
    if xmin >= xmax or ymin >= ymax:
        return None
    return box._replace(xmin=xmin, ymin=ymin, xmax=xmax, ymax=ymax)


def calibrated(image: np.ndarray, calibrator: Calibrator | None) -> Camera:
    """The camera that a calibrator finds for an image; without one, ValueError: the ways out."""
    height, width = image.shape[:2]
    if calibrator is None:
        raise ValueError(NO_FOCAL.format(f"{width}x{height}"))
    camera = calibrator(image)
    if not isinstance(camera, Camera) or camera.size != (width, height):
        raise ValueError(
            f"the calibrator must return the Camera of a {width}x{height} image, got {camera!r}"
        )
    return camera
