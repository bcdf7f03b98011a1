"""Pairs of views that see the same, as far as one likes: for correspondence and pose."""

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from time import sleep

import numpy as np

from vlm3.geometry import relative_pose, rotation_angle_deg
from vlm3.sources.curation.candidates import bins, evenly
from vlm3.sources.curation.indexing import beside, finished, index, rows
from vlm3.sources.reading import Frame, Reader, named
from vlm3.views import View

__all__ = ["Pairs", "index"]
SMALL = 2_000  # frames of a reader whose index is made without being asked for


class Pairs(Sequence):
    """(view1, view2) of one scene each, the pairs of an index.

    of, arguments: the reader, see `vlm3.sources.reading`. index: the folder that
    `vlm3 data pairs` made, of these frames or of more of the same data set; None is one beside the
    data, which is made at once for up to 2,000 frames. covisible: least and most of the share that
    is seen in the other view, of the view of which less is seen; angle_deg, distance_m: of the
    motion between the cameras. most: at most so many, drawn with seed. Scenes share evenly, and in
    each bins of angle x distance, as far as there are pairs; in this order they stand, so that the
    first n are as even as n can be. rows: the pairs as records of first, second (places in
    `reader.frames`), covisible (both ways), angle_deg, distance_m. FileNotFoundError or ValueError
    for an index that is absent or of something else, and where no pair is left.
    """

    def __init__(
        self,
        of: str,
        arguments: Mapping,
        index: str | Path | None = None,
        covisible: Sequence[float] = (0.1, 0.8),
        angle_deg: Sequence[float] = (0, 180),
        distance_m: Sequence[float] = (0, math.inf),
        most: int | None = None,
        seed: int = 0,
    ):
        if (most is not None and most < 1) or seed < 0:
            raise ValueError(f"most must be 1 or more, seed 0 or more, got {most} and {seed}")
        self.reader = named(of)(**arguments)
        self.index = _made(self.reader) if index is None else Path(index)
        found = rows(self.index, self.reader)
        ranges = {"covisible": covisible, "angle_deg": angle_deg, "distance_m": distance_m}
        for name, ends in ranges.items():
            if not isinstance(ends, Sequence) or len(ends) != 2:
                raise ValueError(f"{name} is a range, such as {name} = [0.1, 0.8], got {ends!r}")
        kept = found[_within(found, ranges)]
        if not len(kept):
            raise ValueError(f"{self.index}: {_none_left(found, ranges)}")
        self.rows = kept[_order(kept, self.reader, seed)[:most]]

    @cached_property
    def frames(self) -> list[tuple[Frame, Frame]]:
        """Of each pair, so that packs keep their names."""
        ends = zip(self.rows["first"].tolist(), self.rows["second"].tolist(), strict=True)
        return [(self.reader.frames[a], self.reader.frames[b]) for a, b in ends]

    @property
    def metric(self) -> bool:
        """Whether lengths are metres."""
        return self.reader.metric

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, item: int) -> tuple[View, View]:
        row = self.rows[item]
        view1, view2 = self.reader[int(row["first"])], self.reader[int(row["second"])]
        told = _told(view1, view2, row)
        if told:
            names = [self.reader.frames[row[k]].name for k in ("first", "second")]
            raise ValueError(
                f"{self.reader.root}: the cameras of {' and '.join(names)} are {told} as "
                f"{self.index} says: it is an index of other data; make another one"
            )
        return view1, view2


def _told(view1: View, view2: View, row: np.void) -> str:
    """How the motion between two views differs from that of their pair, "" where it does not.

    Data of the same names may lie elsewhere, which only their poses tell.
    """
    motion = relative_pose(view1.world_from_cam, view2.world_from_cam)
    angle_deg, distance_m = rotation_angle_deg(motion[:3, :3]), np.linalg.norm(motion[:3, 3])
    # to the digits that an index has
    if abs(angle_deg - row["angle_deg"]) > 0.02:
        return f"{angle_deg:.2f} degrees apart, not {row['angle_deg']:.2f}"
    if not math.isclose(distance_m, row["distance_m"], rel_tol=1e-3, abs_tol=1e-6):
        return f"{distance_m:.5g} m apart, not {row['distance_m']:.5g}"
    return ""


def smaller(found: np.ndarray) -> np.ndarray:
    """(M,) covisibility of pairs as a range counts it, of the view of which less is seen: there is
    at least so much to ask about whichever view comes first."""
    return found["covisible"].min(-1)


def _values(found: np.ndarray) -> dict[str, np.ndarray]:
    motions = {name: found[name] for name in ("angle_deg", "distance_m")}
    return {"covisible": smaller(found)} | motions


def _within(found: np.ndarray, ranges: Mapping[str, Sequence[float]]) -> np.ndarray:
    values = _values(found)
    within = [(values[k] >= low) & (values[k] <= high) for k, (low, high) in ranges.items()]
    return np.all(within, 0)


def _order(found: np.ndarray, reader: Reader, seed: int) -> np.ndarray:
    """(M,) places of pairs, those of scenes by turns, and in each those of bins."""
    number = {scene: k for k, scene in enumerate(reader.scenes)}
    scene = np.array([number[reader.frames[k].scene] for k in found["first"]])
    unit_m = float(np.median(found["distance_m"]))
    of_motion = bins(found["angle_deg"], found["distance_m"], unit_m)
    of_scene = scene * (of_motion.max() + 1) + of_motion
    chance = np.random.default_rng(seed).permutation(len(found))
    place = np.empty(len(found), int)
    place[evenly(of_scene, chance)] = np.arange(len(found))
    return evenly(scene, place)


def _made(reader: Reader) -> Path:
    """The index beside the data, made where the reader is small."""
    path = beside(reader)
    while not finished(path) and len(reader) <= SMALL:
        try:
            # alone: others would read the script again that calls this
            index(reader, path, processes=1)
        except BlockingIOError:  # another process of the same run makes it
            sleep(1)
    return path


def _none_left(found: np.ndarray, ranges: Mapping[str, Sequence[float]]) -> str:
    if not len(found):
        return "it has no pairs of these frames"
    wanted = ", ".join(f"{name} from {low} to {high}" for name, (low, high) in ranges.items())
    values = _values(found)
    there = ", ".join(f"{k} from {v.min():.3g} to {v.max():.3g}" for k, v in values.items())
    return f"none of {len(found)} pairs has {wanted}; theirs have {there}"
