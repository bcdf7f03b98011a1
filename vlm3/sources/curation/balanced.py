"""Few photographs of which most are near, or most are far: the rarer ones come more often.

What a model cannot tell it takes to be as it mostly was: from a walk through mostly small rooms it
may learn that rooms are small.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np

from vlm3.sources.reading import Frame, Reader, named
from vlm3.views import View


class Balanced(Sequence):
    """Frames of a reader, each at least once, so that all depths come about as often.

    of, arguments: the reader, see `vlm3.sources.reading`; all its depths are read once. bins: of
    the median depth of a frame, equally wide in its logarithm, that share evenly. far: with 1, the
    share of a bin grows as its depth does; with 0 it does not. most: no frame comes more often.
    ValueError for a frame without depth.
    """

    def __init__(self, of: str, arguments: Mapping, bins: int = 8, far: float = 0.0, most: int = 8):
        if bins < 1 or most < 1:
            raise ValueError(f"bins and most must be 1 or more, got {bins} and {most}")
        self.reader = named(of)(**arguments)
        times = repeats(medians_m(self.reader), bins, far, most)
        self.order = np.repeat(np.arange(len(times)), times)

    @cached_property
    def frames(self) -> list[Frame]:
        """Of each item, so that packs keep their names."""
        return [self.reader.frames[k] for k in self.order]

    @property
    def metric(self) -> bool:
        """Whether lengths are metres."""
        return self.reader.metric

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, item: int) -> View:
        return self.reader[int(self.order[item])]


def medians_m(reader: Reader) -> np.ndarray:
    """(N,) median depths of all frames of a reader; ValueError for one without depth."""
    return np.array([_median_m(view, reader.frames[k].name) for k, view in enumerate(reader)])


def _median_m(view: View, name: str) -> float:
    z_m = view.points[:, 2] if view.depth_m is None and view.points is not None else view.depth_m
    if z_m is None or not np.isfinite(z_m).any():
        raise ValueError(f"frame {name} has no depth, by which frames are balanced")
    return float(np.nanmedian(z_m))


def repeats(medians_m: np.ndarray, bins: int, far: float, most: int) -> np.ndarray:
    """(N,) how often each frame comes: the most frequent ones once."""
    logs = np.log(medians_m)
    edges = np.linspace(logs.min(), logs.max(), bins + 1)[1:-1]
    place = np.searchsorted(edges, logs)
    weight = np.exp(far * logs) / np.bincount(place, minlength=bins)[place]
    return np.clip(np.round(weight / weight.min()), 1, most).astype(int)
