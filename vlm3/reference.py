"""Ingredient 2: pixels and boxes as text.

A pixel is written as two whole numbers, normalised to [0, scale) over the width and the height of
the image, so that the same words mean the same place at any resolution. Sizes are (width, height);
pixel coordinates are continuous (see `vlm3.geometry`).
"""

import math
import re
from dataclasses import dataclass

Point = tuple[float, float]
Size = tuple[int, int]


@dataclass(frozen=True)
class PixelText:
    """Turns pixels into words and back.

    scale: number of bins per side; 2000 for points, 1000 for boxes, as in the paper.
    rounding: "floor" (default) names the bin that holds the point, and decoding gives the bin's
    centre; "nearest" matches released labels: round(index / size * scale) for the centre of the
    pixel with that index. A round trip of a point ("floor") or of a pixel centre ("nearest") is off
    by at most half a bin: size / scale / 2 pixels; the far edge of a box, which may lie on the
    border, by at most one bin.
    """

    scale: int = 2000
    rounding: str = "floor"

    def __post_init__(self):
        if isinstance(self.scale, bool) or not isinstance(self.scale, int) or self.scale < 1:
            raise ValueError(f"scale must be a positive whole number, got {self.scale!r}")
        if self.rounding not in ("floor", "nearest"):
            raise ValueError(f"rounding must be 'floor' or 'nearest', got {self.rounding!r}")

    def encode(self, uv: Point, size: Size) -> str:
        """(u, v) in pixels -> "(x, y)"; ValueError for a point outside the image, never clamped."""
        width, height = _checked(size)
        u, v = uv
        if not (0 <= u < width and 0 <= v < height):
            raise ValueError(f"pixel ({u}, {v}) lies outside the {width}x{height} image")
        if self.rounding == "nearest":  # released labels count whole pixels: index, not centre
            u, v = u - 0.5, v - 0.5
        return f"({self._bin(u, width)}, {self._bin(v, height)})"

    def position(self, uv: Point, size: Size) -> Point:
        """(u, v) in pixels -> the exact (x, y) that the text rounds.

        Both are whole numbers where decoding gives the point back exactly.
        """
        shift_px, shift = (0.5, 0.0) if self.rounding == "nearest" else (0.0, 0.5)
        sides = zip(uv[:2], _checked(size), strict=True)
        x, y = ((p - shift_px) / side * self.scale - shift for p, side in sides)
        return x, y

    def place(self, position: Point, size: Size) -> Point:
        """The exact (x, y) of a text -> (u, v) in pixels: `position` the other way round."""
        shift_px, shift = (0.5, 0.0) if self.rounding == "nearest" else (0.0, 0.5)
        sides = zip(position[:2], _checked(size), strict=True)
        u, v = ((p + shift) / self.scale * side + shift_px for p, side in sides)
        return u, v

    def decode(self, text: str, size: Size) -> Point:
        """ "(x, y)" -> (u, v) in pixels, the centre of the bin. ValueError for any other text."""
        width, height = _checked(size)
        x, y = self._numbers(text, 2)
        return self._centre(x, width), self._centre(y, height)

    def encode_box(self, box: tuple, size: Size) -> str:
        """(xmin, ymin, xmax, ymax[, name]) in pixels -> "(x1, y1, x2, y2)".

        A far edge may lie on the border. ValueError for an empty box, or one that leaves the image.
        """
        width, height = _checked(size)
        xmin, ymin, xmax, ymax = box[:4]
        if not (0 <= xmin < xmax <= width and 0 <= ymin < ymax <= height):
            edges = f"({xmin}, {ymin}, {xmax}, {ymax})"
            raise ValueError(f"box {edges} is empty or leaves the {width}x{height} image")
        sides = zip(box[:4], (width, height) * 2, strict=True)
        return f"({', '.join(str(self._bin(p, side)) for p, side in sides)})"

    def decode_box(self, text: str, size: Size) -> tuple[float, float, float, float]:
        """ "(x1, y1, x2, y2)" -> (xmin, ymin, xmax, ymax) in pixels; ValueError for other text."""
        width, height = _checked(size)
        numbers = self._numbers(text, 4)
        if numbers[0] > numbers[2] or numbers[1] > numbers[3]:
            raise ValueError(f"box {text!r} ends before it begins: it is (xmin, ymin, xmax, ymax)")
        shift = 0.5 if self.rounding == "floor" else 0.0
        sides = zip(numbers, (width, height) * 2, strict=True)
        return tuple((n + shift) / self.scale * side for n, side in sides)

    def _bin(self, position: float, length: int) -> int:
        bins = position / length * self.scale
        index = round(bins) if self.rounding == "nearest" else int(bins)
        # the image's own border belongs to its first and last bin
        return min(max(index, 0), self.scale - 1)

    def _centre(self, index: int, length: int) -> float:
        if self.rounding == "nearest":
            # with more bins than pixels, the last bins lie beyond the last pixel's index
            return min(index / self.scale * length, length - 1) + 0.5
        return (index + 0.5) / self.scale * length

    def _numbers(self, text: str, count: int) -> list[int]:
        # nine digits: Python itself refuses to read whole numbers of more than 4300
        match = re.fullmatch(r"\s*\(([0-9]{1,9}(?:, ?[0-9]{1,9})*)\)\s*", text)
        numbers = [int(n) for n in match[1].split(",")] if match else []
        if len(numbers) != count or max(numbers) >= self.scale:
            shape = ", ".join("xyzw"[:2] if count == 2 else ("x1", "y1", "x2", "y2"))
            raise ValueError(
                f"expected ({shape}) with whole numbers in [0, {self.scale}), got {text!r}"
            )
        return numbers


def _checked(size: Size) -> Size:
    width, height = size
    if not (1 <= width < math.inf and 1 <= height < math.inf):
        raise ValueError(f"image size must be positive and finite, got {width}x{height}")
    return width, height
