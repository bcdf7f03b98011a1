"""The work on an index of pairs in parts of 64 frames, each there in full or not at all, so that a
run that was stopped goes on where it was, and how many processes work changes nothing."""

import copy
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from itertools import groupby
from multiprocessing import get_context
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from tqdm.auto import tqdm

from vlm3 import disk
from vlm3.sources.curation.candidates import candidates, motions
from vlm3.sources.curation.covisibility import Glances
from vlm3.sources.reading import Reader

PART = 64
LEAST = 0.005  # pairs of which less is seen both ways are left out
ROW = np.dtype(
    [
        ("first", "i4"),
        ("second", "i4"),
        ("covisible", "f4", 2),
        ("angle_deg", "f4"),
        ("distance_m", "f4"),
    ]
)
_SEEN_M = 2.0  # half of what is seen is nearer, where lengths are not metres


def cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def workers(processes: int) -> Iterator[Callable]:
    """A `map` whose work so many processes do."""
    if processes < 2:
        yield map
        return
    # spawned: a fork of a process with threads, as torch has them, may hang
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        yield pool.map


def act(mapped: Callable, do: Callable, works: Sequence[tuple], what: str) -> None:
    """do(*work) for each, with a bar of this name, or none for ""."""
    with tqdm(total=len(works), desc=what, unit="part", disable=not what) as bar:
        for _ in mapped(do, *zip(*works, strict=True)) if works else ():
            bar.update()


def part_of(reader: Reader, start: int) -> Reader:
    """A reader of one part alone, which is cheap to send to another process."""
    found = copy.copy(reader)
    found.frames = reader.frames[start : start + PART]
    return found


def read_part(reader: Reader, path: Path, grid: int) -> None:
    """Read all views of a reader, and write what covisibility needs of them."""
    found = [_read(reader, k, grid) for k in range(len(reader))]
    arrays = {"errors": np.array([error for _, error in found])}
    if frames := [frame for frame, _ in found if frame]:
        both = Glances.join(frames)
        names = ("z_m", "camera", "pose", "sparse") + (("uv",) if both.sparse.any() else ())
        arrays |= {name: getattr(both, name) for name in names}
    with disk.whole(path) as draft, draft.open("wb") as file:
        np.savez(file, **arrays)


def _read(reader: Reader, k: int, grid: int) -> tuple[Glances | None, str]:
    """A frame, or why it cannot be used."""
    try:
        return Glances.of(reader[k], grid), ""
    except (ValueError, FileNotFoundError) as error:
        if not reader.root.is_dir():  # a disk that went away is not a broken frame
            raise
        return None, str(error)


def errors(path: Path) -> list[str]:
    """Why frames of a part cannot be used, "" for those that can."""
    return _load(path, "errors")["errors"].tolist()


def pair_part(
    folder: Path, start: int, spans: list[tuple[int, int]], how: dict, path: Path
) -> None:
    """Find the pairs of all frames of a part with others of their scenes, and write them.

    spans: first frame and end of each of these scenes.
    """
    found = [
        _pairs_of(folder, span, k, how)
        for span in spans
        for k in range(max(span[0], start), min(span[1], start + PART))
    ]
    with disk.whole(path) as draft, draft.open("wb") as file:
        np.savez(file, pairs=np.concatenate(found))


def pairs(path: Path) -> np.ndarray:
    """The pairs of a part, as records of ROW with numbers of frames."""
    return _load(path)["pairs"]


def spans_of(reader: Reader) -> list[tuple[int, int]]:
    """First frame and end of each scene."""
    lengths = [len(list(frames)) for _, frames in groupby(reader.frames, lambda f: f.scene)]
    ends = np.cumsum(lengths).tolist()
    return list(zip([0, *ends], ends, strict=False))


def touching(spans: Sequence[tuple[int, int]], start: int) -> list[tuple[int, int]]:
    """Those scenes of which a part has frames."""
    return [(first, end) for first, end in spans if first < start + PART and end > start]


def _pairs_of(folder: Path, span: tuple[int, int], k: int, how: dict) -> np.ndarray:
    """Rows of frame k with those that it is asked about."""
    numbers, scene = _scene(folder, *span, how["metric"])
    here = int(np.searchsorted(numbers, k))
    if here == len(numbers) or numbers[here] != k:
        return np.zeros(0, ROW)
    # of the frame alone, so that parts may be made in any order
    others = candidates(scene, here, how["neighbours"], np.random.default_rng([how["seed"], k]))
    found, same = np.zeros(len(others), ROW), np.full_like(others, here)
    found["first"], found["second"] = k, numbers[others]
    found["covisible"][:, 0] = scene.shares(same, others)
    found["covisible"][:, 1] = scene.shares(others, same)
    found["angle_deg"], found["distance_m"] = motions(scene.pose[here], scene.pose[others])
    return found[found["covisible"].max(1) >= LEAST]


@lru_cache(1)
def _scene(folder: Path, start: int, end: int, metric: bool) -> tuple[np.ndarray, Glances | None]:
    """Numbers of the frames of a scene that can be used, and what covisibility needs of them."""
    firsts = range(start // PART * PART, end, PART)
    files = [_load(folder / f"frames-{first:08}.npz") for first in firsts]
    numbers = [f + np.flatnonzero(a["errors"] == "") for f, a in zip(firsts, files, strict=True)]
    kept = [(n >= start) & (n < end) for n in numbers]
    parts = [
        Glances(**{name: array[keep] for name, array in arrays.items() if name != "errors"})
        for keep, arrays in zip(kept, files, strict=True)
        if keep.any()
    ]
    if not parts:
        return np.zeros(0, int), None
    scene = Glances.join(parts)
    if not metric:
        scene = replace(scene, unit_m=float(np.nanmedian(scene.z_m)) / _SEEN_M)
    return np.concatenate(numbers)[np.concatenate(kept)], scene


def forget() -> None:
    """Let go of the scene that is held in memory."""
    _scene.cache_clear()


def _load(path: Path, *names: str) -> dict[str, np.ndarray]:
    """The arrays of a file, or those of these names."""
    try:
        with np.load(path) as found:
            return {name: found[name] for name in names or found}
    except (ValueError, OSError, EOFError, BadZipFile) as error:  # as a power cut leaves it
        raise ValueError(f"{path}: damaged ({error}): remove it and go on") from error
