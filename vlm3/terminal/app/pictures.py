"""A photo to point at, as HTML: the picture with marks on it. `browser/picture.js` makes it
listen."""

import html
from collections.abc import Sequence

import numpy as np
from PIL import Image

from vlm3.pages.figures import encoded
from vlm3.pages.palette import BLUE, ON_PHOTOS
from vlm3.terminal.app.photos import Photo

LONGEST = 1280  # pixels of what a browser gets to see; places stay those of the photo
EMPTY = '<p class="vlm3-none">{}</p>'
HINTS = {
    "pixels": "Click a place, or move with the arrow keys and press Enter.",
    "boxes": "Click two opposite corners of each object, or drag from one to the other.",
}


def picture(photo: Photo | None, line: str, subject: str, marks: str = "") -> str:
    """A photo with a line below it. subject: what is pointed at, "pixels", "boxes" or "" for
    nothing; marks: SVG in units of the photo's pixels."""
    if photo is None:
        return EMPTY.format("No photo yet: drop one above.")
    width, height = photo.view.size
    hint = f"<span>{HINTS[subject]}</span>" if subject else ""
    alt = html.escape(photo.alt)
    role = (
        f'tabindex="0" role="application" aria-label="{alt}. {HINTS[subject]}"' if subject else ""
    )
    return (
        f'<figure class="vlm3-photo"><div class="vlm3-picture" data-width="{width}" '
        f'data-height="{height}" data-subject="{subject}" {role}>'
        f'<img src="data:image/webp;base64,{_small(photo.view.image)}" alt="{alt}" '
        f'draggable="false"><svg viewBox="0 0 {width} {height}" aria-hidden="true">{marks}'
        f'<g class="vlm3-pending"></g></svg></div>'
        f"<figcaption>{html.escape(line)} {hint}</figcaption></figure>"
    )


def _small(image: np.ndarray) -> str:
    height, width = image.shape[:2]
    if max(width, height) <= LONGEST:
        return encoded(image, quality=85)
    photo = Image.fromarray(image)
    photo.thumbnail((LONGEST, LONGEST))
    return encoded(np.array(photo), quality=85)


def dots(places: Sequence[Sequence[float]], words: Sequence[str], size: tuple[int, int]) -> str:
    """A ring at each (u, v), with words beside it, on the side where there is room."""
    unit = max(size) / 100
    return "".join(
        f'<circle cx="{u:.2f}" cy="{v:.2f}" r="{1.1 * unit:.2f}" fill="none" stroke="#fff" '
        f'stroke-width="{0.8 * unit:.2f}"/><circle cx="{u:.2f}" cy="{v:.2f}" r="{1.1 * unit:.2f}" '
        f'fill="none" stroke="{BLUE}" stroke-width="{0.4 * unit:.2f}"/>'
        + _label(u, v, text, unit, size)
        for (u, v), text in zip(places, words, strict=True)
    )


def outlines(boxes: Sequence[Sequence[float]], size: tuple[int, int]) -> str:
    """Each xmin, ymin, xmax, ymax as a rectangle with its number, counted from 1."""
    unit, drawn = max(size) / 100, []
    for number, (xmin, ymin, xmax, ymax) in enumerate(boxes, start=1):
        look = ON_PHOTOS[(number - 1) % len(ON_PHOTOS)]
        sides = f'x="{xmin:.2f}" y="{ymin:.2f}" width="{xmax - xmin:.2f}" '
        sides += f'height="{ymax - ymin:.2f}" fill="none"'
        drawn.append(f'<rect {sides} stroke="#fff" stroke-width="{0.9 * unit:.2f}"/>')
        drawn.append(f'<rect {sides} stroke="{look}" stroke-width="{0.5 * unit:.2f}"/>')
        drawn.append(_label(xmin - 1.6 * unit, ymin + 2.4 * unit, str(number), unit, size))
    return "".join(drawn)


def _label(u: float, v: float, text: str, unit: float, size: tuple[int, int]) -> str:
    if not text:
        return ""
    wide, high = (0.62 * 3.2 * len(text) + 1.6) * unit, 4.4 * unit
    left = u + 2 * unit if u + 2 * unit + wide <= size[0] else u - 2 * unit - wide
    top = min(max(v - high / 2, 0.0), size[1] - high)
    return (
        f'<rect x="{left:.2f}" y="{top:.2f}" width="{wide:.2f}" height="{high:.2f}" '
        f'rx="{0.6 * unit:.2f}" fill="#fff" fill-opacity=".92"/><text x="{left + wide / 2:.2f}" '
        f'y="{top + 0.74 * high:.2f}" font-size="{3.2 * unit:.2f}" text-anchor="middle" '
        f'fill="#111">{html.escape(text)}</text>'
    )
