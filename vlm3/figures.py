"""What readers look at: one function per kind of picture, in colours that survive colour blindness and dark mode."""

import base64
import html
import io
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import HTML, display
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from vlm3.views import View

# Okabe and Ito's colours for all kinds of colour vision.
BLUE, ORANGE, GREEN, RED, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#6b6b6b"


def style() -> None:
    """Set matplotlib up for the book: readable on a page, on a phone and in dark mode (white ground, no frame)."""
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
    """Draw an HxWx3 image so that data coordinates are the book's: (0, 0) is the corner of the first pixel."""
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
    fig, axes = plt.subplots(1, len(views), figsize=(width, tallest * inch + 0.5), width_ratios=widths)
    for view, ax, title in zip(views, np.atleast_1d(axes), titles, strict=True):
        show(view.image, ax, title).set(ylim=(view.size[1], view.size[1] - tallest))
    return list(np.atleast_1d(axes))


def mark(ax: Axes, uv: tuple[float, float], text: str = "", color: str = RED, offset=(10, 10)) -> None:
    """A ring around a point, and words beside it that stay readable on any photo."""
    ax.plot(*uv, "o", ms=9, mfc="none", mec="white", mew=3)
    ax.plot(*uv, "o", ms=9, mfc="none", mec=color, mew=1.5)
    if text:
        box = {"boxstyle": "round,pad=0.3", "fc": "white", "ec": color, "alpha": 0.95}
        ax.annotate(text, uv, offset, textcoords="offset points", fontsize=8, color="black", bbox=box)


def img(picture: Figure | np.ndarray, alt: str, quality: int = 80) -> str:
    """An <img> element that holds the picture itself, so that it needs no file and no network; closes figures."""
    buffer = io.BytesIO()
    if isinstance(picture, Figure):
        picture.savefig(buffer, format="webp", pil_kwargs={"quality": quality})
        plt.close(picture)
    else:
        Image.fromarray(picture).save(buffer, "webp", quality=quality)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img alt="{html.escape(alt)}" style="max-width:100%" src="data:image/webp;base64,{data}">'


def table(rows: Sequence[Mapping[str, object]]) -> HTML:
    """Rows with the same keys as a table; numbers are aligned right and come as they are, so format them first."""
    head = "".join(f"<th>{html.escape(str(key))}</th>" for key in rows[0])
    body = "".join("<tr>" + "".join(f"<td>{html.escape(str(v))}</td>" for v in row.values()) + "</tr>" for row in rows)
    return HTML(f'<table class="table vlm3-table"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>')


def glue(**values: object) -> None:
    """Give numbers of this run to the prose: `glue(error_px=0.3)`, then {glue:text}`error_px:.1f` in the text.

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
            data = {f"{prefix}text/plain": repr(value.item() if isinstance(value, np.generic) else value)}
        display(data, raw=True, metadata={"scrapbook": {"name": name, "mime_prefix": prefix}})
