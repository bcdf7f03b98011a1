"""What readers look at: one function per kind of picture, in colours that survive colour blindness
and dark mode."""

import base64
import html
import io
import json
import textwrap
from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import HTML, Markdown, display
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image

from vlm3.geometry import Camera, rays, transform
from vlm3.views import QA, Box, View

# Okabe and Ito's colours for all kinds of colour vision.
BLUE, ORANGE, GREEN, RED, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#6b6b6b"
_SERIES = BLUE, ORANGE, GREEN, RED


def style() -> None:
    """Set matplotlib up for the book: readable on a page, on a phone and in dark mode (white
    ground, no frame)."""
    plt.rcParams.update(
        {
            "figure.dpi": 120,
            "figure.constrained_layout.use": True,
            "font.size": 10,
            "axes.titlesize": 10,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "axes.axisbelow": True,
            "grid.color": "#e4e4e4",
            "axes.prop_cycle": plt.cycler(color=[BLUE, ORANGE, GREEN, RED, GREY]),
            "legend.frameon": False,
        }
    )


def show(image: np.ndarray, ax: Axes | None = None, title: str = "") -> Axes:
    """Draw an HxWx3 image so that data coordinates are the book's: (0, 0) is the corner of the
    first pixel."""
    ax = ax or plt.subplots(figsize=(7, 7 * image.shape[0] / image.shape[1]))[1]
    height, width = image.shape[:2]
    ax.imshow(image, extent=(0, width, height, 0), interpolation="antialiased")
    ax.set(title=title, xticks=[], yticks=[])
    ax.grid(False)
    for spine in ax.spines.values():
        spine.set_visible(False)
    return ax


def to_scale(views: Sequence[View], titles: Sequence[str], width: float = 7.5) -> list[Axes]:
    """Views in a row, each drawn as large as it has pixels, so that sizes can be compared by eye."""
    widths = [view.size[0] for view in views]
    tallest = max(view.size[1] for view in views)
    inch = width / sum(widths)
    fig, axes = plt.subplots(
        1, len(views), figsize=(width, tallest * inch + 0.5), width_ratios=widths
    )
    for view, ax, title in zip(views, np.atleast_1d(axes), titles, strict=True):
        show(view.image, ax, title).set(ylim=(view.size[1], view.size[1] - tallest))
    return list(np.atleast_1d(axes))


def mark(
    ax: Axes, uv: tuple[float, float], text: str = "", color: str = RED, offset=(10, 10)
) -> None:
    """A ring around a point, and words beside it that stay readable on any photo."""
    ax.plot(*uv, "o", ms=9, mfc="none", mec="white", mew=3)
    ax.plot(*uv, "o", ms=9, mfc="none", mec=color, mew=1.5)
    if text:
        box = {"boxstyle": "round,pad=0.3", "fc": "white", "ec": color, "alpha": 0.95}
        ax.annotate(
            text, uv, offset, textcoords="offset points", fontsize=8, color="black", bbox=box
        )


def depth_map(
    view: View, uv: Sequence = (), texts: Sequence[str] = (), ax: Axes | None = None
) -> Axes:
    """Depth in colours with a scale in metres, white where unknown, and pixels uv with words beside
    them.

    Of a view with points, the points.
    """
    ax = ax or plt.subplots(figsize=(7, 6 * view.size[1] / view.size[0]))[1]
    show(view.image[..., :1].repeat(3, -1) // 3 + 160, ax)
    if view.points is None:
        drawn = ax.imshow(view.depth_m, cmap="cividis_r", extent=(0, view.size[0], view.size[1], 0))
    else:
        drawn = ax.scatter(*view.points[:, :2].T, 12, view.points[:, 2], cmap="cividis_r")
    ax.figure.colorbar(drawn, ax=ax, label="depth (m)", shrink=0.85)
    for point, text in zip(uv, texts, strict=True):
        mark(ax, point, text)
    return ax


def matches(
    views: Sequence[View], uv1: np.ndarray, uv2: np.ndarray, truth2: np.ndarray, right_px: float = 5
) -> Axes:
    """Two views side by side and answers uv2 for pixels uv1: blue where within right_px of the
    truth, else orange-red.

    A wrong answer carries its error in pixels, and a thin line to the truth. All (N, 2) pixels of
    their own view.
    """
    height, shift = max(view.size[1] for view in views), views[0].size[0]
    images = [
        np.pad(v.image, ((0, height - v.size[1]), (0, 0), (0, 0)), constant_values=255)
        for v in views
    ]
    ax = show(
        np.hstack(images), plt.subplots(figsize=(8, 8 * height / sum(v.size[0] for v in views)))[1]
    )
    for a, b, t in zip(*(np.asarray(uv, float) for uv in (uv1, uv2, truth2)), strict=True):
        error = np.linalg.norm(b - t)
        color, style = (BLUE, "-") if error <= right_px else (RED, "--")
        ax.plot(
            [a[0], b[0] + shift],
            [a[1], b[1]],
            style,
            color=color,
            lw=1.2,
            marker="o",
            ms=4,
            mec="white",
        )
        if error > right_px:
            ax.plot([b[0] + shift, t[0] + shift], [b[1], t[1]], color="white", lw=1)
            mark(ax, (b[0] + shift, b[1]), f"{error:.0f} px", RED)
    return ax


def frusta(world_from_cams: Mapping[str, np.ndarray], camera: Camera, size_m: float = 0.3) -> Axes:
    """Cameras in space, seen from behind and above: pyramids of size_m with a name each; axes in
    metres."""
    ax = plt.subplots(figsize=(6, 5), subplot_kw={"projection": "3d"})[1]
    (w, h), looks = camera.size, []
    corners = rays(np.array([[0, 0], [w, 0], [w, h], [0, h]]), camera) * size_m
    for (name, pose), color in zip(
        world_from_cams.items(), cycle((BLUE, RED, GREEN, ORANGE)), strict=False
    ):
        apex, rim = pose[:3, 3], transform(pose, corners)
        outline = np.concatenate([rim[[0, 1, 2, 3, 0]], *([apex, corner, apex] for corner in rim)])
        ax.plot(*outline[:, [0, 2, 1]].T, color=color, lw=1.5)
        ax.text(*apex[[0, 2, 1]], f" {name}", color=color)
        looks.append(outline)
    points = np.concatenate(looks)
    ax.set(xlabel="x, right (m)", ylabel="z, forward (m)", zlabel="y, down (m)")
    ax.set_box_aspect(np.maximum(np.ptp(points, axis=0)[[0, 2, 1]], 0.1))
    for axis in (ax.xaxis, ax.yaxis, ax.zaxis):
        axis.set_major_locator(MaxNLocator(4))
    ax.invert_zaxis()
    ax.view_init(elev=25, azim=-65)
    return ax


def boxes(view: View, texts: Sequence[str] | None = None, ax: Axes | None = None) -> Axes:
    """A view with its boxes, each with its name and how far away it is, or with the given words."""
    ax = show(view.image, ax)
    outline(ax, view.boxes)
    for n, box in enumerate(view.boxes):
        far = f", {np.linalg.norm(box.centre_m):.2f} m" if box.centre_m else ""
        place = {"boxstyle": "square,pad=0.2", "fc": "white", "ec": "none", "alpha": 0.9}
        text = texts[n] if texts else f"{box.name}{far}"
        ax.text(box.xmin, box.ymin, text, fontsize=7, va="bottom", color="black", bbox=place)
    return ax


def outline(ax: Axes, boxes: Sequence[Box]) -> None:
    """Boxes drawn on an image, in turning colours."""
    for box, color in zip(boxes, cycle((RED, BLUE, GREEN, ORANGE)), strict=False):
        size = box.xmax - box.xmin, box.ymax - box.ymin
        ax.add_patch(plt.Rectangle(box[:2], *size, fill=False, ec=color, lw=2))


def asked(ax: Axes, title: str, views: Sequence[View], qa: QA, wrap: int = 80) -> None:
    """Views of one size side by side, the question below them in black and its answer in blue."""
    show(np.hstack([view.image for view in views]), ax)
    ax.set_title(title, fontweight="bold", loc="left")
    lines = textwrap.wrap(qa.question, wrap)
    place = {"xycoords": "axes fraction", "textcoords": "offset points", "va": "top"}
    ax.annotate("\n".join(lines), (0, 0), (0, -4), fontsize=7.5, **place)
    answer = {"color": BLUE, "weight": "bold", "fontsize": 10}
    ax.annotate(qa.answer, (0, 0), (0, -8 - 9.5 * len(lines)), **answer, **place)


def stream(sources: Sequence[str], ax: Axes | None = None) -> Axes:
    """A row of marks for each source, where the stream takes a sample from it; the source of every
    sample, in order."""
    names = list(dict.fromkeys(sources))
    ax = ax or plt.subplots(figsize=(7, 0.5 + 0.35 * len(names)))[1]
    for row, (name, color) in enumerate(zip(names, cycle(_SERIES), strict=False)):
        here = [index for index, source in enumerate(sources) if source == name]
        ax.plot(here, [row] * len(here), "|", color=color, ms=13, mew=2.5)
    ax.set(
        xlabel="sample of the stream",
        yticks=range(len(names)),
        yticklabels=names,
        ylim=(len(names) - 0.5, -0.5),
    )
    ax.grid(False, axis="y")
    return ax


def passes(found: Mapping[str, Mapping[str, float]], ax: Axes | None = None) -> Axes:
    """Passes over each source, {weights: {source: passes}}: points on a logarithmic axis, and a
    line at one pass.

    Each weighting has a colour and a shape, each source a row; what was never seen has no point.
    """
    names = list(next(iter(found.values())))
    ax = ax or plt.subplots(figsize=(7, 0.9 + 0.35 * len(names)))[1]
    for (label, by_source), color, shape in zip(
        found.items(), cycle(_SERIES), cycle("os^Dv"), strict=False
    ):
        seen = [by_source[name] or np.nan for name in names]
        ax.plot(seen, range(len(names)), shape, color=color, ms=7, mec="white", label=label)
    ax.axvline(1, color=GREY, ls="--", lw=1)
    ax.set(
        xscale="log", xlabel="passes over the source", yticks=range(len(names)), yticklabels=names
    )
    ax.set(ylim=(len(names) - 0.5, -0.5))
    ax.xaxis.set_major_formatter("{x:g}")
    ax.figure.legend(loc="outside upper center", ncols=len(found))
    return ax


def img(picture: Figure | np.ndarray, alt: str, quality: int = 80) -> str:
    """An <img> element that holds the picture itself, so that it needs no file and no network;
    closes figures."""
    buffer = io.BytesIO()
    if isinstance(picture, Figure):
        picture.savefig(buffer, format="webp", pil_kwargs={"quality": quality})
        plt.close(picture)
    else:
        Image.fromarray(picture).save(buffer, "webp", quality=quality)
    data = base64.b64encode(buffer.getvalue()).decode()
    return (
        f'<img alt="{html.escape(alt)}" style="max-width:100%" src="data:image/webp;base64,{data}">'
    )


def table(rows: Sequence[Mapping[str, object]]) -> HTML:
    """Rows with the same keys as a table; numbers are aligned right and come as they are, so format
    them first.

    Values are text, or HTML for a cell with a link.
    """
    head = "".join(f"<th>{html.escape(str(key))}</th>" for key in rows[0])
    body = "".join(
        "<tr>" + "".join(f"<td>{_cell(v)}</td>" for v in row.values()) + "</tr>" for row in rows
    )
    return HTML(
        f'<table class="table vlm3-table"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    )


_ON_GPU = {  # of each part of gpu.json: what a column is called and how its numbers are written
    "train": {
        "task": ("task", ""),
        "rung": ("step", ""),
        "samples_per_s": ("samples/s", ".2f"),
        "tokens_per_s": ("tokens/s", ",.0f"),
        "mfu": ("MFU", ".0%"),
        "memory_gb": ("memory (GB)", ".0f"),
    },
    "waiting": {
        "task": ("task", ""),
        "workers": ("workers", ""),
        "seconds": ("step (s)", ".2f"),
        "wait_share": ("of which waiting", ".1%"),
    },
    "answer": {
        "rung": ("way", ""),
        "dtype": ("weights", ""),
        "questions": ("questions", ""),
        "questions_per_s": ("questions/s", ".1f"),
        "times_faster": ("times faster", ".1f"),
        "same_texts": ("same texts", ".0%"),
    },
}


def on_gpu(path: Path, part: str) -> HTML | Markdown:
    """A table of what `make gpu` measured: part "train", "waiting" or "answer" of its record, and
    how it was made; one line where nothing is recorded."""
    found = json.loads(path.read_text()) if path.exists() else {"results": {}}
    rungs = [
        rung
        for rung in found["results"].get(part, {}).get("rungs", [])
        if part != "train" or "task" in rung
    ]
    if not rungs:
        return Markdown("Not measured on a GPU yet: `make gpu` does it.")
    rows = [
        {name: _measure(rung, key, form) for key, (name, form) in _ON_GPU[part].items()}
        for rung in rungs
    ]
    made = html.escape(f"{found['device']}, {found['date']}, {found['command']}")
    return HTML(f"{table(rows).data}<p>Recorded: {made}.</p>")


def _measure(rung: Mapping, key: str, form: str) -> str:
    """A number, or why there is none."""
    why = "out of memory" if rung.get("out_of_memory") else "failed" if "failed" in rung else ""
    value = rung.get(key)
    return why if value is None else format(value, form)


def link(text: object, address: str) -> HTML:
    """A cell of a table that leads to where its value comes from."""
    return HTML(f'<a href="{html.escape(address)}">{html.escape(str(text))}</a>')


def _cell(value: object) -> str:
    return value.data if isinstance(value, HTML) else html.escape(str(value))


def glue(**values: object) -> None:
    """Give numbers of this run to the prose: `glue(error_px=0.3)`, then {glue:text}`error_px:.1f`
    in the text.

    Writes what `myst_nb.glue` writes, without needing myst_nb where the chapter runs (Colab).
    """
    for name, value in values.items():
        prefix = "application/papermill.record/"
        if isinstance(value, Figure):
            buffer = io.BytesIO()
            value.savefig(buffer, format="png")
            plt.close(value)
            data = {f"{prefix}image/png": base64.b64encode(buffer.getvalue()).decode()}
        else:
            data = {
                f"{prefix}text/plain": repr(
                    value.item() if isinstance(value, np.generic) else value
                )
            }
        display(data, raw=True, metadata={"scrapbook": {"name": name, "mime_prefix": prefix}})
