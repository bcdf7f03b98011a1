"""An index of pairs: which frames of a data set see how much of each other.

A folder with config.json, what it was made from; frames.jsonl, a frame a line: scene, name, and why
it cannot be used where that is so; pairs.jsonl, a pair a line: scene, the names of two frames,
covisible (the share of the first that the second sees, and the other way round), angle_deg and
distance_m between their cameras; and made.json, which comes last, with the digests of the others.
While it is made, `parts` lies beside them. Frames are read once, and only a small grid of their
depth is kept.
"""

import hashlib
import inspect
import json
import shlex
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from vlm3 import disk
from vlm3.sources.curation import parts
from vlm3.sources.curation.covisibility import GRID
from vlm3.sources.reading import Reader, name_of

NEIGHBOURS = 24
_FILES = ("config.json", "frames.jsonl", "pairs.jsonl")


def index(
    reader: Reader,
    path: str | Path | None = None,
    neighbours: int = NEIGHBOURS,
    grid: int = GRID,
    seed: int = 0,
    processes: int | None = None,
    progress: bool = True,
) -> Path:
    """Make the index of a reader's pairs, or go on making it; returns its folder.

    path: by default beside the data, see `beside`. neighbours: so many pairs are measured for each
    frame, drawn from all in its scene that may see the same, alike in number over angle and
    distance; grid: see `covisibility`; processes: as many as there are cores, unless told: then a
    script calls this below `if __name__ == "__main__":`. Frames without a pose or depth, and those
    that cannot be read, have no pairs, and a warning tells of them. ValueError where the folder
    holds the index of another reader, arguments or frames, or where no frame can be used;
    BlockingIOError where another command works in it.
    """
    path = beside(reader) if path is None else Path(path)
    how = {"neighbours": neighbours, "grid": grid, "seed": seed}
    with disk.held(_folder(path)):
        disk.claim(path, identity(reader) | how, begun=(path / "config.json").exists())
        if not finished(path):
            _make(
                reader, path, how | {"metric": reader.metric}, processes or parts.cores(), progress
            )
        shutil.rmtree(path / "parts", ignore_errors=True)
        _warn(reader, path)
    return path


def finished(path: Path) -> bool:
    """Whether an index is there in full."""
    return (path / "made.json").exists()


def _folder(path: Path) -> Path:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PermissionError(f"{path}: cannot be made ({error}): say another --index") from None
    return path


def beside(reader: Reader) -> Path:
    """Where the index of a reader lies unless told: beside its folder, another for each choice of
    scenes, frames and arguments."""
    known = hashlib.sha256(json.dumps(identity(reader), default=str).encode()).hexdigest()
    root = reader.root.resolve()
    return root.with_name(f"{root.name}-pairs-{known[:8]}")


def identity(reader: Reader) -> dict:
    """What an index is made from: the reader, its arguments, and its frames; not where they lie."""
    frames = "".join(f"{frame.scene}\t{frame.name}\n" for frame in reader.frames)
    return {
        "reader": name_of(reader),
        "arguments": arguments_of(reader),
        "metric": reader.metric,
        "frames": len(reader),
        "names": hashlib.sha256(frames.encode()).hexdigest()[:16],
    }


def arguments_of(reader: Reader) -> dict:
    """Those that are particular to the reader, as its attributes of the same names tell."""
    names = list(inspect.signature(type(reader).__init__).parameters)[1:]
    special = [name for name in names if name not in ("root", "scenes", "frames")]
    return {name: getattr(reader, name) for name in special if hasattr(reader, name)}


def _options(reader: Reader) -> str:
    """What `vlm3 data` is told of a reader's arguments."""
    usual = inspect.signature(type(reader).__init__).parameters
    own = {k: v for k, v in arguments_of(reader).items() if v is not None}
    told = [f"{k}={json.dumps(v)}" for k, v in own.items() if v != usual[k].default]
    return "".join(f" --option {shlex.quote(word)}" for word in told)


def _make(reader: Reader, path: Path, how: dict, processes: int, progress: bool) -> None:
    work, starts = path / "parts", range(0, len(reader), parts.PART)
    work.mkdir(exist_ok=True)
    frames = {start: work / f"frames-{start:08}.npz" for start in starts}
    pairs = {start: work / f"pairs-{start:08}.npz" for start in starts}
    reading = [(parts.part_of(reader, k), file, how["grid"]) for k, file in _absent(frames)]
    spans = parts.spans_of(reader)
    pairing = [(work, k, parts.touching(spans, k), how, file) for k, file in _absent(pairs)]
    parts.forget()  # the folder may have held another index
    with parts.workers(min(processes, len(starts))) as mapped:
        parts.act(mapped, parts.read_part, reading, "frames" if progress else "")
        _list(reader, [error for file in frames.values() for error in parts.errors(file)], path)
        parts.act(mapped, parts.pair_part, pairing, "pairs" if progress else "")
    parts.forget()
    found = np.concatenate([parts.pairs(file) for file in pairs.values()])
    disk.write(path / "pairs.jsonl", "".join(_line(reader, row) for row in found))
    disk.write(path / "made.json", json.dumps(_digests(path), indent=1) + "\n")


def _digests(path: Path) -> dict[str, str]:
    """Of each file of an index, "" of one that is not there."""
    files = {name: path / name for name in _FILES}
    return {
        name: hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else ""
        for name, file in files.items()
    }


def _absent(files: Mapping[int, Path]) -> list[tuple[int, Path]]:
    return [(start, file) for start, file in files.items() if not file.exists()]


def _list(reader: Reader, errors: list[str], path: Path) -> None:
    """Which frames there are, and why some cannot be used; ValueError where none can."""
    if all(errors):
        shutil.rmtree(path / "parts")  # else the same call would not look again
        first = f"the first is {reader.frames[0].name}: {errors[0]}"
        raise ValueError(f"{reader.root}: none of {len(errors)} frames can be used, {first}")
    lines = [
        {"scene": frame.scene, "name": frame.name} | ({"error": error} if error else {})
        for frame, error in zip(reader.frames, errors, strict=True)
    ]
    disk.write(path / "frames.jsonl", "".join(json.dumps(line) + "\n" for line in lines))


def _warn(reader: Reader, path: Path) -> None:
    """Of frames that cannot be used, each time that an index is asked for."""
    lines = disk.jsonl(path / "frames.jsonl")
    if bad := [line for line in lines if "error" in line]:
        warnings.warn(
            f"{reader.root}: {len(bad)} of {len(lines)} frames cannot be used, the first is "
            f"{bad[0]['name']} ({bad[0]['error']}); they have no pairs. Once they are mended, "
            f"remove {path}, and the same command makes it again",
            stacklevel=3,
        )


def _line(reader: Reader, row: np.void) -> str:
    first, second = (reader.frames[row[name]] for name in ("first", "second"))
    told = {
        "scene": first.scene,
        "frames": [first.name, second.name],
        "covisible": [round(float(seen), 3) for seen in row["covisible"]],
        "angle_deg": round(float(row["angle_deg"]), 2),
        "distance_m": float(f"{row['distance_m']:.5g}"),
    }
    return json.dumps(told) + "\n"


def rows(path: str | Path, reader: Reader) -> np.ndarray:
    """The pairs of an index between frames of a reader, as (M,) records of `parts.ROW`: first and
    second are places in `reader.frames`.

    The index may be of more frames than the reader has. FileNotFoundError where there is none, or
    one that was not finished; ValueError for that of another reader or of other frames, and for one
    whose files are not those that were made.
    """
    path = Path(path)
    _demand(path, reader)
    place = {frame.name: k for k, frame in enumerate(reader.frames)}
    names = ("frames", "covisible", "angle_deg", "distance_m")
    found = [
        (place[a], place[b], tuple(seen), angle_deg, distance_m)
        for line in disk.jsonl(path / "pairs.jsonl", *names)
        for (a, b), seen, angle_deg, distance_m in [[line[name] for name in names]]
        if a in place and b in place
    ]
    return np.array(found, parts.ROW)


def _demand(path: Path, reader: Reader) -> None:
    own = name_of(reader)
    ask = f"vlm3 data pairs {own} {reader.root} --index {path}{_options(reader)}"
    if not finished(path):
        begun = "an index that was not finished" if (path / "config.json").exists() else "no index"
        raise FileNotFoundError(f"{path}: {begun} of pairs; make it: {ask}")
    made, there = json.loads(disk.text(path / "made.json")), _digests(path)
    if changed := [name for name in _FILES if there[name] != made[name]]:
        raise ValueError(
            f"{path / changed[0]}: cut off, changed or gone since it was made; remove {path} and "
            f"make it again: {ask}"
        )
    if (of := json.loads(disk.text(path / "config.json"))["reader"]) != own:
        raise ValueError(f"{path} is an index of {of}, not of {own}: make another one")
    known = {line["name"] for line in disk.jsonl(path / "frames.jsonl", "name")}
    if lacking := [frame.name for frame in reader.frames if frame.name not in known]:
        raise ValueError(
            f"{path} lacks {len(lacking)} of {len(reader)} frames, the first is {lacking[0]}: "
            "it is an index of other data, or of a part of them; make another one"
        )
