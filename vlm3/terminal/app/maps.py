"""The depth of a whole photo: it grows from coarse to fine, and becomes a cloud that one turns."""

import base64
import html
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from vlm3.geometry import unproject
from vlm3.pages.figures import encoded
from vlm3.terminal.app import links
from vlm3.views import View

if TYPE_CHECKING:
    from vlm3.terminal.app.visits import Host

DETAILS = {"coarse": 16, "medium": 32, "fine": 64, "very fine": 128}  # squares along the long side
COARSEST = 8
AT_ONCE = 64  # pixels between two pictures


class Grown(NamedTuple):
    """metres: rows and columns of squares of `stride` pixels, NaN where no length was said; done:
    the share that was asked."""

    metres: np.ndarray
    stride: int
    done: float


def strides(size: tuple[int, int], detail: str) -> list[int]:
    """Sides of squares in pixels, each half of the one before, down to the detail."""
    finest = max(1, max(size) // DETAILS[detail])
    halvings = int(np.log2(DETAILS[detail] / COARSEST))
    sides = [finest * 2**k for k in range(halvings, -1, -1)]
    return [side for side in sides if side <= min(size)] or [min(size)]


def growing(host: "Host", view: View, sides: Sequence[int]) -> Iterator[Grown]:
    """A depth map after every few pixels; a finer one starts as the coarser one left it."""
    from vlm3.terminal import ask

    grids = [ask.grid(view.size, side) for side in sides]
    whole, asked = sum(grid[..., 0].size for grid in grids), 0
    metres = np.full(grids[0].shape[:2], np.nan, np.float32)
    for grid, side in zip(grids, sides, strict=True):
        metres = _refined(metres, grid.shape[:2])
        uv = grid.reshape(-1, 2)
        for start in range(0, len(uv), AT_ONCE):
            some = uv[start : start + AT_ONCE]
            with host.turn:  # for a moment: others wait for their answers
                metres.flat[start : start + len(some)] = ask.metres(host.vlm, view, some)
            asked += len(some)
            yield Grown(metres.copy(), side, asked / whole)


def _refined(metres: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """The same on a finer grid, by the nearest square."""
    rows, columns = (
        np.minimum(np.arange(new) * old // new, old - 1)
        for new, old in zip(shape, metres.shape, strict=True)
    )
    return metres[rows][:, columns]


def coloured(metres: np.ndarray) -> np.ndarray:
    """Depths as HxWx4 uint8: near is light, as in the book; nothing where unknown."""
    from matplotlib import colormaps

    near, far = limits(metres)
    share = (metres - near) / max(far - near, 1e-6)
    colours = (255 * colormaps["cividis_r"](np.nan_to_num(share))).round().astype(np.uint8)
    colours[np.isnan(metres), 3] = 0
    return colours


def limits(metres: np.ndarray) -> tuple[float, float]:
    known = metres[np.isfinite(metres)]
    return (float(known.min()), float(known.max())) if len(known) else (0.0, 0.0)


def picture(grown: Grown) -> str:
    """The map as it is now, its scale, and how far it is."""
    metres, stride, done = grown
    near, far = limits(metres)
    percent = f"{100 * done:.0f} %"
    size = f"aspect-ratio:{metres.shape[1]}/{metres.shape[0]}"
    alt = f"Depth map: from {near:.2f} m, light, to {far:.2f} m, dark"
    ramp = encoded(coloured(np.linspace(0, 1, 64, dtype=np.float32)[None]), "png")
    return (
        f'<figure class="vlm3-map"><img style="{size}" alt="{alt}" '
        f'src="data:image/png;base64,{encoded(coloured(metres), "png")}">'
        f'<div class="vlm3-scale"><span>{near:.2f} m</span><img alt="" '
        f'src="data:image/png;base64,{ramp}"><span>{far:.2f} m</span></div>'
        f'<progress max="1" value="{done:.3f}" aria-label="How much of the map is there">{percent}'
        f"</progress><figcaption>{percent}: a depth for each square of {stride} pixels"
        f"</figcaption></figure>"
    )


def shown(grown: Grown, beside: str = "", below: str = "") -> str:
    """The map on the page, with what stands beside it and below."""
    return f'<div class="vlm3-maps">{picture(grown)}{beside}</div>{below}'


def finished(grown: Grown, view: View) -> str:
    return shown(grown, cloud(grown, view), downloads(grown, view))


def cloud(grown: Grown, view: View) -> str:
    """A page of its own, in a frame: the points of the map, to turn; nothing where there are
    none."""
    from vlm3.pages import widgets

    if not np.isfinite(grown.metres).any():
        return ""
    known = np.full(view.image.shape[:2], np.nan, np.float32)
    squares = grown.metres.repeat(grown.stride, 0).repeat(grown.stride, 1)
    known[: squares.shape[0], : squares.shape[1]] = squares
    page = widgets.point_cloud(
        View(view.image, view.camera, known), "The photo as points in space", grown.stride
    )
    style = "<style>body{margin:0;font:14px system-ui;background:#fff;color:#222}</style>"
    return (
        '<iframe class="vlm3-cloud" title="Point cloud: drag to turn it" sandbox="allow-scripts" '
        f'srcdoc="{html.escape(style + page.data)}"></iframe>'
    )


def downloads(grown: Grown, view: View) -> str:
    """Links: the map as a picture and as numbers, and the points."""
    picture = base64.b64decode(encoded(coloured(grown.metres), "png"))
    return " ".join(
        (
            links.link("depth.png", picture, "image/png"),
            links.link("depth_m.npy", links.npy(grown.metres), "application/octet-stream"),
            links.link("points.ply", links.ply(*points(grown, view)), "application/octet-stream"),
        )
    )


def points(grown: Grown, view: View) -> tuple[np.ndarray, np.ndarray]:
    """(N, 3) metres in camera coordinates and (N, 3) uint8 colours of all squares with a depth."""
    from vlm3.terminal.ask import grid

    uv, known = grid(view.size, grown.stride), np.isfinite(grown.metres)
    columns, rows = uv[known].astype(int).T
    return unproject(uv[known], grown.metres[known], view.camera), view.image[rows, columns]
