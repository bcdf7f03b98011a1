"""A contact sheet of a data set: labels on its photographs, and views carried into others."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vlm3.pages import figures
from vlm3.sources.curation import warps
from vlm3.views import View, points_of

COLUMNS = 3
HALF = 0.55  # of the photograph that shows through dense depth


def sheet(
    views: Sequence[View], names: Sequence[str], pairs: Sequence[tuple[View, View]]
) -> Figure:
    """Photographs under their names, with depth in colours, and boxes; then, for each pair, both
    views and the first one carried into the second, where they should look the same."""
    rows = -(-len(views) // COLUMNS) + len(pairs)
    fig, axes = plt.subplots(rows, COLUMNS, figsize=(9, 2.6 * rows), squeeze=False)
    for ax in axes.flat:
        ax.set_axis_off()
    for ax, view, name in zip(axes.flat, views, names, strict=False):
        labelled(view, ax, name)
    for row, (first, second) in zip(axes[rows - len(pairs) :], pairs, strict=True):
        figures.show(first.image, row[0], "view 1")
        figures.show(carried(first, second), row[1], "view 1, carried into view 2")
        figures.show(second.image, row[2], "view 2")
    return fig


def labelled(view: View, ax: Axes, title: str = "") -> Axes:
    """A photograph with what is known of it: depth in colours, near ones light, and boxes."""
    figures.boxes(view, [box.name for box in view.boxes], ax)
    ax.set_title(title, fontsize=7)
    if view.points is not None:
        z_m = np.log(view.points[:, 2])
        ax.scatter(*view.points[:, :2].T, 1, z_m, cmap="cividis_r", linewidths=0)
    elif view.depth_m is not None:
        known = np.where(np.isfinite(view.depth_m), HALF, 0.0)
        drawn = figures.depth(ax, np.log(view.depth_m), view.size)
        drawn.set_alpha(known)
    return ax


def carried(view1: View, view2: View) -> np.ndarray:
    """HxWx3 uint8: view 2 as view 1 would show it, through view 2's depth; without a map of that,
    grey, with view 1's points in their colours."""
    side = 1
    if view2.depth_m is not None:
        found = warps.carried(_points(view2), view1)
        found = found._replace(uv1=found.uv2, uv2=found.uv1)
        picture = np.full_like(view2.image, 255)
    else:
        some = view1 if view1.points is not None else _points(view1)
        found = warps.carried(some, view2)
        picture = view2.image.mean(-1, keepdims=True).repeat(3, -1).astype(np.uint8) // 2 + 96
        side = max(1, view2.size[0] // 300)  # or nobody would see them
    (columns1, rows1), (columns2, rows2) = (uv.astype(int).T for uv in (found.uv1, found.uv2))
    last = np.subtract(picture.shape[:2], 1)
    for down, right in product(range(side), repeat=2):
        place = np.minimum(rows2 + down, last[0]), np.minimum(columns2 + right, last[1])
        picture[place] = view1.image[rows1, columns1]
    return picture


def _points(view: View) -> View:
    """The view with its whole map of depth as points."""
    return replace(view, points=points_of(view.depth_m), depth_m=None)
