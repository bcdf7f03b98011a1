"""Boxes on photos that come with depth, and the packaged motorcycle with boxes drawn by eye."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from vlm3.geometry import unproject
from vlm3.views import Box, View

MOTORCYCLE = {  # xmin, ymin, xmax, ymax in pixels of view 1 of photos.motorcycle()
    "rear wheel": (121, 235, 281, 405),
    "front wheel": (504, 290, 684, 451),
    "headlamp": (507, 122, 562, 189),
    "engine": (345, 235, 480, 370),
    "carton": (617, 180, 682, 276),
    "upper carton": (529, 32, 615, 98),
    "bottle": (400, 53, 416, 92),
}


def boxed(view: View, boxes: Mapping[str, Sequence[float]]) -> View:
    """The view with named boxes (4,) in pixels, and what depth says about what they hold.

    Centres are on the near side, where it is seen: the middle of the box at the lower quartile of
    the depth in its inner quarter, since one looks through a wheel. Widths and heights are those of
    the box at this depth; how deep an object is stays unknown. The view needs depth_m.
    """
    return replace(view, boxes=tuple(_measured(view, *item) for item in boxes.items()))


def _measured(view: View, name: str, box: Sequence[float]) -> Box:
    low, high = np.array(box, float).reshape(2, 2)
    middle, size = (low + high) / 2, high - low
    (left, top), (right, bottom) = np.intp([low + size / 4, high - size / 4])
    z_m = np.nanquantile(view.depth_m[top:bottom, left:right], 0.25)
    width, height = size * z_m / [view.camera.fx, view.camera.fy]
    centre = unproject(middle, z_m, view.camera)
    return Box(
        *map(float, box), name, tuple(centre.tolist()), (float(width), float(height), np.nan)
    )
