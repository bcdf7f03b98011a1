"""Photographs through any lens that COLMAP has a model of, as a pinhole camera would take them.

Schönberger and Frahm 2016 (COLMAP) name the models and the order of their parameters, such as
OPENCV_FISHEYE fx fy cx cy k1 k2 k3 k4; their pixels are those of `vlm3.geometry`: (0, 0) is the
outer corner of the top-left one. Numbers of OpenCV, whose principal point counts from pixel
centres, get + 0.5 before they come here; nothing else of them changes.

Each pixel of the pinhole camera is looked up in the photograph, by `pycolmap.Camera.img_from_cam`:
the way that the models are defined, so nothing is approximated. The camera keeps the focal lengths,
and with them the scale in the middle, and the ray of the principal point. Its picture is as large
as the photograph where that saw enough, as behind a fisheye, of which it shows the middle; else it
is cut until every pixel was seen: none is invented, none black.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np

from vlm3.geometry import Camera, pixel_centres, rays
from vlm3.sources.reading.extras import need

PINHOLE = {"SIMPLE_PINHOLE": 3, "PINHOLE": 4}  # they bend nothing, and need no pycolmap
KEPT = 16  # lenses, each with 8 bytes a pixel


@dataclass(frozen=True, eq=False)
class Lens:
    """What a lens does to pictures, undone.

    camera: the pinhole camera of what `image` and `depth` return. size: (width, height) of the
    photographs. lookup: where each pixel of the camera lies in the photograph, as OpenCV counts
    from pixel centres, x and y, each (H, W) float32; None where the lens bends nothing.
    """

    camera: Camera
    size: tuple[int, int]
    lookup: tuple[np.ndarray, np.ndarray] | None = None

    def image(self, rgb: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 as the pinhole camera sees it. ValueError for another size."""
        if rgb.shape[1::-1] != self.size:
            raise ValueError(
                f"the photograph is {rgb.shape[1]}x{rgb.shape[0]}, its calibration is for "
                f"{self.size[0]}x{self.size[1]}: take the photographs that it was made for"
            )
        if self.lookup is None:
            return rgb
        # linear, as COLMAP's own undistorter: cubic takes three times as long
        return cv2.remap(rgb, *self.lookup, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)

    def depth(self, depth_m: np.ndarray) -> np.ndarray:
        """(H, W) z-depth as the pinhole camera sees it, that of the nearest pixel.

        depth_m: (h, w) float32, of the whole photograph in as many pixels as it was measured with.
        It stays z-depth, since the axis stays.
        """
        height, width = depth_m.shape
        scale = np.divide([width, height], self.size)
        if self.lookup is None:
            columns, rows = (
                ((np.arange(side) + 0.5) * s).astype(int)
                for side, s in zip(self.size, scale, strict=True)
            )
            return depth_m if (scale == 1).all() else depth_m[rows[:, None], columns]
        x, y = (
            of if s == 1 else (of + np.float32(0.5)) * np.float32(s) - np.float32(0.5)
            for of, s in zip(self.lookup, scale, strict=True)
        )
        return cv2.remap(depth_m, x, y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)


def lens(model: str, params: Sequence[float], width: int, height: int) -> Lens:
    """The lens of photographs of width x height pixels, by the name and numbers of COLMAP.

    The last few that were asked for are kept. ValueError for a model or a count of numbers that
    COLMAP does not have, and for a panorama; ImportError, with the way out, where a lens that bends
    needs pycolmap and it is not installed.
    """
    return _lens(model, tuple(map(float, params)), int(width), int(height))


@lru_cache(maxsize=KEPT)
def _lens(model: str, params: tuple[float, ...], width: int, height: int) -> Lens:
    if PINHOLE.get(model) == len(params):
        fx, fy, cx, cy = (params[0], *params[-3:])
        return Lens(Camera(fx, fy, cx, cy, width, height), (width, height))
    distorted = _distorted(model, params, width, height)
    camera = Camera(
        distorted.focal_length_x,
        distorted.focal_length_y,
        distorted.principal_point_x,
        distorted.principal_point_y,
        width,
        height,
    )
    x, y = _looked_up(camera, distorted)
    left, top, right, bottom = _window(_seen(x, y, camera), f"{model} {list(params)}")
    camera = camera.cropped(left, top, right - left, bottom - top)
    lookup = (of[top:bottom, left:right] - np.float32(0.5) for of in (x, y))
    return Lens(camera, (width, height), tuple(lookup))


def _distorted(model: str, params: tuple[float, ...], width: int, height: int) -> Any:
    """The pycolmap.Camera."""
    if model == "EQUIRECTANGULAR":
        raise ValueError(
            "EQUIRECTANGULAR is a panorama, which has no focal length: cut perspective "
            "pictures out of it, as COLMAP's panorama example does"
        )
    pycolmap = need("pycolmap")
    known = set(pycolmap.CameraModelId.__members__) - {"INVALID"}
    if model not in known:
        raise ValueError(f"no camera model {model!r}; COLMAP's are {', '.join(sorted(known))}")
    camera = pycolmap.Camera(model=model, width=width, height=height, params=list(params))
    if not camera.verify_params():
        raise ValueError(f"{model} has {camera.params_info}, got {len(params)} numbers: {params}")
    return camera


def _looked_up(camera: Camera, distorted: Any) -> np.ndarray:
    """(2, H, W) float32: the pixels of the photograph that show the camera's."""
    found = np.empty((2, camera.height, camera.width), np.float32)
    for row in range(camera.height):  # one by one: large photographs take gigabytes at once
        strip = camera.cropped(0, row, camera.width, 1)
        found[:, row] = distorted.img_from_cam(rays(pixel_centres(strip)[0], strip)).T
    return found


def _seen(x: np.ndarray, y: np.ndarray, camera: Camera) -> np.ndarray:
    """(H, W) bool: pixels that lie in the photograph, in one piece around the principal point."""
    inside = (x >= 0) & (x <= camera.width) & (y >= 0) & (y <= camera.height)
    # far from the middle, polynomials turn back: there a pixel's neighbours change sides
    (dx_du, dx_dv), (dy_du, dy_dv) = (
        (np.diff(of[:-1]), np.diff(of[:, :-1], axis=0)) for of in (x, y)
    )
    kept = np.pad(dx_du * dy_dv > dx_dv * dy_du, ((0, 1), (0, 1)), "edge")
    _, pieces = cv2.connectedComponents((inside & kept).astype(np.uint8), connectivity=4)
    column, row = (
        min(max(int(c), 0), side - 1)
        for c, side in zip((camera.cx, camera.cy), camera.size, strict=True)
    )
    return (pieces == pieces[row, column]) & (pieces > 0)


def _window(seen: np.ndarray, told: str) -> tuple[int, int, int, int]:
    """left, top, right, bottom of a large window of seen pixels alone.

    It begins as all of them and loses, one by one, the side that shows least.
    """
    bottom, right = seen.shape
    left = top = 0
    while left < right and top < bottom:
        sides = (
            seen[top:bottom, left],
            seen[top, left:right],
            seen[top:bottom, right - 1],
            seen[bottom - 1, left:right],
        )
        shown = [side.mean() for side in sides]
        if min(shown) == 1:
            break
        worst = int(np.argmin(shown))
        left, top = left + (worst == 0), top + (worst == 1)
        right, bottom = right - (worst == 2), bottom - (worst == 3)
    if left >= right or top >= bottom or not seen[top:bottom, left:right].all():
        raise ValueError(f"{told}: sees no rectangle around its principal point: is it right?")
    return left, top, right, bottom
