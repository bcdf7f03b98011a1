"""What readers look at: one function per kind of picture, in colours that survive colour blindness
and dark mode."""

import base64
import html
import io
import json
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import HTML, Markdown, display
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from PIL import Image

from vlm3.pages.palette import BLUE, GREEN, GREY, ON_PHOTOS, ORANGE, RED, looks
from vlm3.views import QA, Box, View


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
    """Views in a row, each drawn as large as it has pixels: sizes can be compared by eye."""
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
        drawn = depth(ax, view.depth_m, view.size)
    else:
        drawn = ax.scatter(*view.points[:, :2].T, 12, view.points[:, 2], cmap="cividis_r")
    ax.figure.colorbar(drawn, ax=ax, label="depth (m)", shrink=0.85)
    for point, text in zip(uv, texts, strict=True):
        mark(ax, point, text)
    return ax


def depth(ax: Axes, depth_m: np.ndarray, size: tuple[int, int], **limits: float) -> AxesImage:
    """Metres, whatever their grid, over a whole image of (width, height): what is near is light."""
    return ax.imshow(depth_m, cmap="cividis_r", extent=(0, size[0], size[1], 0), **limits)


def depth_maps(
    views: Sequence[View], answered: Sequence[np.ndarray], strides: Sequence[int]
) -> list[Axes]:
    """A row for each view with depth: its image, its true depth, and depth that was answered, in
    the same colours.

    answered: (rows, columns) metres, as `vlm3.terminal.ask.depth_map` gives them; strides: pixels
    of the side of a square of each.
    """
    fig, axes = plt.subplots(len(views), 3, figsize=(7.5, 2.1 * len(views)), squeeze=False)
    for row, view, found, stride in zip(axes, views, answered, strides, strict=True):
        low, high = np.nanmin(view.depth_m), np.nanmax(view.depth_m)
        show(view.image, row[0], "image")
        maps = {"true depth": (view.depth_m, 1), "answers": (found, stride)}
        for ax, (title, (depth_m, side)) in zip(row[1:], maps.items(), strict=True):
            show(np.full_like(view.image, 255), ax, title)
            covered = depth_m.shape[1] * side, depth_m.shape[0] * side  # whole squares alone
            drawn = depth(ax, depth_m, covered, vmin=low, vmax=high)
            ax.set(xlim=(0, view.size[0]), ylim=(view.size[1], 0))
        fig.colorbar(drawn, ax=row, label="depth (m)", shrink=0.85)
    return list(axes.flat)


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
    for box, look in looks(boxes, ON_PHOTOS):
        size = box.xmax - box.xmin, box.ymax - box.ymin
        ax.add_patch(plt.Rectangle(box[:2], *size, fill=False, ec=look.color, lw=2))


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
    for row, (name, look) in enumerate(looks(names)):
        here = [index for index, source in enumerate(sources) if source == name]
        ax.plot(here, [row] * len(here), "|", color=look.color, ms=13, mew=2.5)
    ax.set_xlabel("sample of the stream")
    _rows(ax, names)
    ax.grid(False, axis="y")
    return ax


def _rows(ax: Axes, names: Sequence[str]) -> None:
    """A row for each name, the first on top."""
    ax.set(yticks=range(len(names)), yticklabels=names, ylim=(len(names) - 0.5, -0.5))


def passes(found: Mapping[str, Mapping[str, float]], ax: Axes | None = None) -> Axes:
    """Passes over each source, {weights: {source: passes}}: points on a logarithmic axis, and a
    line at one pass.

    Each weighting has a colour and a shape, each source a row; what was never seen has no point.
    """
    names = list(next(iter(found.values())))
    ax = ax or plt.subplots(figsize=(7, 0.9 + 0.35 * len(names)))[1]
    for (label, by_source), look in looks(found.items()):
        seen = [by_source[name] or np.nan for name in names]  # zero has no place on this axis
        points = {"color": look.color, "ms": 7, "mec": "white", "label": label}
        ax.plot(seen, range(len(names)), look.marker, **points)
    ax.axvline(1, color=GREY, ls="--", lw=1)
    ax.set(xscale="log", xlabel="passes over the source")
    _rows(ax, names)
    ax.xaxis.set_major_formatter("{x:g}")
    ax.figure.legend(loc="outside upper center", ncols=len(found))
    return ax


def encoded(picture: Figure | np.ndarray, kind: str = "webp", **options: int) -> str:
    """A picture, of HxWx3 or HxWx4 uint8 or a figure, as the base64 of an image file; closes
    figures, or the notebook shows them once more.

    options: how Pillow saves this kind.
    """
    buffer = io.BytesIO()
    if isinstance(picture, Figure):
        picture.savefig(buffer, format=kind, pil_kwargs=options)
        plt.close(picture)
    else:
        Image.fromarray(picture).save(buffer, kind, **options)
    return base64.b64encode(buffer.getvalue()).decode()


def img(picture: Figure | np.ndarray, alt: str, quality: int = 80) -> str:
    """An <img> element that holds the picture itself, so that it needs no file and no network;
    closes figures."""
    source = f"data:image/webp;base64,{encoded(picture, quality=quality)}"
    return f'<img alt="{html.escape(alt)}" style="max-width:100%" src="{source}">'


def table(rows: Sequence[Mapping[str, object]]) -> HTML:
    """Rows with the same keys as a table; numbers are aligned right and come as they are, so format
    them first.

    Values are text, or HTML for a cell with a link.
    """
    head = "".join(f"<th>{html.escape(str(key))}</th>" for key in rows[0])
    cells = ("".join(f"<td>{_cell(value)}</td>" for value in row.values()) for row in rows)
    body = "".join(f"<tr>{row}</tr>" for row in cells)
    parts = f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody>"
    return HTML(f'<table class="table vlm3-table">{parts}</table>')


def _cell(value: object) -> str:
    return value.data if isinstance(value, HTML) else html.escape(str(value))


def link(text: object, address: str) -> HTML:
    """A cell of a table that leads to where its value comes from."""
    return HTML(f'<a href="{html.escape(address)}">{html.escape(str(text))}</a>')


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
    "tiny": {
        "rung": ("what", ""),
        "steps": ("steps", ",.0f"),
        "step_s": ("step (s)", ".3f"),
        "samples_per_s": ("samples/s", ",.0f"),
    },
}


def on_gpu(path: Path, part: str) -> HTML | Markdown:
    """A table of what `make gpu` measured: part "train", "waiting", "answer" or "tiny" of its
    record, and how it was made; one line where nothing is recorded."""
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


def glue(**values: object) -> None:
    """Give numbers of this run to the prose: `glue(error_px=0.3)`, then {glue:text}`error_px:.1f`
    in the text.

    Writes what `myst_nb.glue` writes, without needing myst_nb where the chapter runs (Colab).
    """
    prefix = "application/papermill.record/"
    for name, value in values.items():
        if isinstance(value, Figure):
            data = {f"{prefix}image/png": encoded(value, "png")}
        else:
            # The build reads a number back from its repr, which "np.float64(0.3)" would not be.
            plain = value.item() if isinstance(value, np.generic) else value
            data = {f"{prefix}text/plain": repr(plain)}
        display(data, raw=True, metadata={"scrapbook": {"name": name, "mime_prefix": prefix}})
