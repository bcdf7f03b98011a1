"""Which scenes are for training and which for testing, and what is on both sides all the same.

A split is a JSON file that names, for each side, the scenes of each data set, as readers take them:

    {"share": 0.1, "seed": 0, "train": {"scannet": ["scene0000_00", ...]}, "test": {...}}
"""

import glob
import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vlm3 import disk
from vlm3.sources.curation.hashes import BITS, hashes, near, perceptual_hash
from vlm3.sources.reading import Frame, Reader
from vlm3.sources.reading.sides import SIDES, Scenes, load

__all__ = ["Overlap", "Twin", "load", "overlap", "perceptual_hash", "place", "save", "split"]


class Twin(NamedTuple):
    """A photograph for testing that looks like one for training.

    train, test: the data set, as it was called, and the name of the frame; bits: how many of 64
    differ.
    """

    train: tuple[str, str]
    test: tuple[str, str]
    bits: int


@dataclass(frozen=True)
class Overlap:
    """What is on both sides.

    places: a data set for training, one for testing, and a place that both show, by its name;
    twins: for each photograph for testing the most alike one for training, where one is so near.
    photos: how many there are for training and for testing; plain: how many of these have too
    little structure to be told from others, and so were compared with none.
    """

    places: tuple[tuple[str, str, str], ...]
    twins: tuple[Twin, ...]
    photos: tuple[int, int]
    plain: tuple[int, int]

    @property
    def clean(self) -> bool:
        """Whether nothing was found."""
        return not (self.places or self.twins)


def split(readers: Mapping[str, Reader], share: float, seed: int = 0) -> dict[str, Scenes]:
    """{"train": ..., "test": ...}: the scenes of each data set, about `share` of the frames of each
    kind of reader for testing.

    Places, see `place`, stay whole, and on the same side for all readers of one kind: sources that
    draw on the same data. Of a kind with two places or more each side has one at least; one with a
    single place is for training. A data set with no scene on a side is not named there. The same
    seed and data give the same split, whatever else is split with them. ValueError for a share that
    is not between 0 and 1.
    """
    if not 0 < share < 1:
        raise ValueError(f"share must lie between 0 and 1, got {share!r}")
    kinds = defaultdict(lambda: defaultdict(int))
    for reader in readers.values():
        for frame in reader.frames:
            kinds[type(reader)][place(frame)] += 1
    tested = {kind: _drawn(sizes, share, kind, seed) for kind, sizes in kinds.items()}
    sides: dict[str, Scenes] = {side: {} for side in SIDES}
    for name, reader in readers.items():
        for frame in reader.frames:
            side = sides[SIDES[place(frame) in tested[type(reader)]]]
            # a dict as a set that has an order
            side.setdefault(name, {})[glob.escape(frame.scene)] = None
    return {side: {name: list(of) for name, of in found.items()} for side, found in sides.items()}


def place(frame: Frame) -> str:
    """What must not be on both sides: the scene, or several that show one place, where the frames
    of a data set say so."""
    return getattr(frame, "place", frame.scene)


def _drawn(sizes: Mapping[str, int], share: float, kind: type, seed: int) -> set[str]:
    rng = np.random.default_rng([seed, *kind.__name__.encode()])
    order = rng.permutation(sorted(sizes)).tolist()
    wanted, got, found = share * sum(sizes.values()), 0, []
    for name in order:
        if abs(got + sizes[name] - wanted) < abs(got - wanted):
            found.append(name)
            got += sizes[name]
    least = min(order, key=sizes.get)
    if len(order) > 1 and len(found) in (0, len(order)):
        return {least} if not found else {*found} - {least}
    return {*found} if len(order) > 1 else set()


def save(path: str | Path, sides: Mapping[str, Scenes], **how: float) -> None:
    """Write a split; how: what it was made with, such as share and seed."""
    disk.write(Path(path), json.dumps({**how, **sides}, indent=1) + "\n")


def overlap(
    train: Mapping[str, Reader],
    test: Mapping[str, Reader],
    bits: int = BITS,
    processes: int | None = None,
    progress: bool = True,
) -> Overlap:
    """Places that both sides show, and photographs for testing that are nearly the same as one for
    training: at most `bits` of their `perceptual_hash` differ.

    All photographs are read once. Places are the same where a name is the same and the kind of
    reader, too, so also where the sides have parts of it that are far apart. ValueError or OSError,
    naming the frame, for one that cannot be read.
    """
    places = [
        (a, b, name)
        for (a, trained), (b, tested) in product(train.items(), test.items())
        if type(trained) is type(tested)
        for name in sorted(set(map(place, trained.frames)) & set(map(place, tested.frames)))
    ]
    (names1, hashes1), (names2, hashes2) = (
        _all(side, processes, progress) for side in (train, test)
    )
    known1, known2 = ([k for k, h in enumerate(of) if h is not None] for of in (hashes1, hashes2))
    nearest, apart = near([hashes1[k] for k in known1], [hashes2[k] for k in known2])
    twins = [
        Twin(names1[known1[nearest[k]]], names2[known2[k]], int(apart[k]))
        for k in np.flatnonzero(apart <= bits)
    ]
    photos = len(hashes1), len(hashes2)
    plain = photos[0] - len(known1), photos[1] - len(known2)
    return Overlap(tuple(places), tuple(twins), photos, plain)


def _all(
    readers: Mapping[str, Reader], processes: int | None, progress: bool
) -> tuple[list[tuple[str, str]], list[int | None]]:
    names, found = [], []
    for name, reader in readers.items():
        names += [(name, frame.name) for frame in reader.frames]
        found += hashes(reader, processes, name if progress else "")
    return names, found
