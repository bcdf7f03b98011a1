"""Boxes on photos that come with depth, and the packaged motorcycle with boxes drawn by eye."""

from collections.abc import Callable, Mapping, Sequence
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


def outlined(
    view: View,
    objects: np.ndarray,
    least: int = 60,
    name: Callable[[int], str] = lambda number: "object",
) -> tuple[Box, ...]:
    """Boxes around what a mask shows, and what depth says of it; the view needs depth_m.

    objects: (H, W) whole numbers, the same wherever the same object is seen, 0 for none; what has
    fewer than `least` pixels of known depth is left out. name: what an object is called, by its
    number. The middle of what is seen of it is its centre; its width and height are those of the
    box at its median depth.
    """
    pixels = np.flatnonzero(objects > 0)
    numbers = objects.reshape(-1)[pixels]
    order = np.argsort(numbers, kind="stable")
    # the pixels of an object follow each other, so that a hundred objects take one pass
    pixels, numbers = pixels[order], numbers[order]
    first = np.flatnonzero(np.diff(numbers, prepend=0))
    parts = zip(numbers[first].tolist(), np.split(pixels, first[1:]), strict=False)
    boxes = (_outline(view, part, name(number), least) for number, part in parts)
    return tuple(box for box in boxes if box)


def _outline(view: View, pixels: np.ndarray, name: str, least: int) -> Box | None:
    """Around pixels (N,), as they count in the flat image, from the first to the last."""
    depth_m = view.depth_m.reshape(-1)[pixels]
    depth_m = depth_m[np.isfinite(depth_m)]
    if len(depth_m) < least:
        return None
    columns = pixels % view.size[0]
    rows = pixels[[0, -1]] // view.size[0]
    low, high = np.array([[columns.min(), rows[0]], [columns.max() + 1, rows[1] + 1]], float)
    z_m = float(np.median(depth_m))
    width, height = ((high - low) * z_m / [view.camera.fx, view.camera.fy]).tolist()
    centre = tuple(unproject((low + high) / 2, z_m, view.camera).tolist())
    return Box(*low.tolist(), *high.tolist(), name, centre, (width, height, np.nan))


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
