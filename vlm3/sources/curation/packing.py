"""Packing: what training needs of any source, in shards that are read from anywhere.

Each view comes to one focal length, once, and its row (see `vlm3.sources.rows`) goes into a Parquet
file with those of other items. Which items a shard holds, and what is drawn for them, depends on
their numbers alone, so any process of any machine packs any shard, in any order, to the same bytes.
A shard counts once made/NUMBER.json tells of it, which comes last: what was stopped goes on where
it was. Shards that have been damaged since are packed anew.

    pack(items, out, how)                  all of it, on this machine, in several processes
    pack(items, out, how, part=(3, 100))   shards 3, 103, 203, ...: one task of an array
    pack_shard(items, k, out, how)         one shard, after `begin`: the step that Ray Data maps
    finish(out)                            after either: the manifest, once all shards are there
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import asdict
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path

from tqdm.auto import tqdm

import vlm3
from vlm3 import disk
from vlm3.sources.curation.parquet import PER_GROUP, Packing, file_of
from vlm3.sources.folders import Folder
from vlm3.sources.reading import Frame
from vlm3.sources.shards import MANIFEST

__all__ = ["Packing", "begin", "finish", "pack", "pack_shard", "shards_of"]

_MADE_WITH = ("numpy", "pillow", "pyarrow", "datasets")


def pack(
    items: Sequence,
    out: str | Path,
    how: Packing,
    processes: int = 1,
    part: tuple[int, int] = (0, 1),
    progress: bool = False,
) -> dict | None:
    """Pack all shards k with k % part[1] == part[0] that are not there yet; where that is all of
    them, finish, and return what the manifest tells.

    items: Views, tuples of equally many Views, or Pairs; the names of a `Reader` are kept, too.
    out: a folder, or an address that fsspec opens. ValueError where the folder was begun with
    another configuration, and for an item that cannot be packed; BlockingIOError where another
    command packs into the same folder of this machine, unless part says that several do.
    """
    this, of = part
    if not 0 <= this < of:
        raise ValueError(f"part must be (i, n) with 0 <= i < n, got {part}")
    if processes < 1:
        raise ValueError(f"processes must be 1 or more, got {processes}")
    path = Folder(str(out)).path
    with disk.held(path) if path and of == 1 else nullcontext():
        begin(items, out, how, writes=this == 0)
        numbers = range(this, shards_of(len(items), how.per_shard), of)
        made = _each(numbers, (items, out, how), processes)
        for _ in tqdm(made, total=len(numbers), unit="shard", disable=not progress):
            pass
        return finish(out) if of == 1 else None


def begin(items: Sequence, out: str | Path, how: Packing, writes: bool = True) -> None:
    """Write config.json, which says what fills the folder; ValueError where it says something
    else, and a shard was packed so."""
    if not len(items):
        raise ValueError("nothing to pack: there are no items")
    folder, wanted = Folder(str(out)), _config(items, how)
    found = folder.read(["config.json"])
    if found and folder.has("made"):
        _demand_same(folder, json.loads(found["config.json"]), wanted)
    elif writes:
        folder.write("config.json", json.dumps(wanted, indent=1).encode())


def pack_shard(items: Sequence, k: int, out: str | Path, how: Packing) -> dict:
    """Pack shard k, unless it is there, and whole: per_shard items from k x per_shard on.

    Returns what made/k.json tells of it: its file, items, rows, kind, views, left_out (see
    `tables.file_of`), bytes and sha256.
    """
    folder, told, config = Folder(str(out)), _told(k), _digest(_config(items, how))
    if found := folder.read([told]):
        entry = _of(config, json.loads(found[told]), folder)
        if _sha256(folder, entry["file"]) == entry["sha256"]:
            return entry
    numbers = range(len(items))[k * how.per_shard : (k + 1) * how.per_shard]
    content, held = file_of(items, numbers, how)
    name = f"{k:05}-of-{shards_of(len(items), how.per_shard):05}.parquet"
    folder.write(name, content)
    file = {"file": name, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    entry = file | held | {"config": config, "made_with": _versions()}
    folder.write(told, json.dumps(entry).encode())
    return entry


def finish(out: str | Path) -> dict:
    """Write manifest.json, which makes a pack of the shards, and return what it tells.

    ValueError where shards are missing or do not belong together.
    """
    folder = Folder(str(out))
    if not (begun := folder.read(["config.json"])):
        raise FileNotFoundError(f"{folder.at}: no config.json: no pack was begun there")
    config = json.loads(begun["config.json"])
    names = [_told(k) for k in range(shards_of(config["items"], config["per_shard"]))]
    found = folder.read(names)
    if lacking := [name for name in names if name not in found]:
        raise ValueError(
            f"{folder.at}: {len(lacking)} of {len(names)} shards are not packed yet, such as "
            f"those of {', '.join(lacking[:4])}: pack them first"
        )
    digest = _digest(config)
    manifest = _manifest(config, [_of(digest, json.loads(found[n]), folder) for n in names], folder)
    folder.write(MANIFEST, json.dumps(manifest, indent=1).encode())
    return manifest


def shards_of(items: int, per_shard: int) -> int:
    """How many shards so many items fill."""
    return -(-items // per_shard)


def _told(k: int) -> str:
    return f"made/{k:05}.json"


def _sha256(folder: Folder, name: str) -> str:
    return hashlib.sha256(folder.read([name]).get(name, b"")).hexdigest()


def _versions() -> dict[str, str]:
    return {"vlm3": vlm3.__version__} | {name: version(name) for name in _MADE_WITH}


def _config(items: Sequence, how: Packing) -> dict:
    known = {"layout": 1, "items": len(items), "metric": getattr(items, "metric", True)}
    if (frames := getattr(items, "frames", None)) is not None:
        known["frames"] = _named(frames)
    # as the file will give it back: tuples are lists there, paths are text
    return json.loads(json.dumps(known | asdict(how), default=str))


def _named(frames: Sequence) -> str:
    """A digest of which frames, in which order: as many others would not be the same pack."""
    several = ((item,) if isinstance(item, Frame) else item for item in frames)
    names = [[(frame.scene, frame.name) for frame in each] for each in several]
    return hashlib.sha256(json.dumps(names).encode()).hexdigest()[:16]


def _digest(config: Mapping) -> str:
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:16]


def _demand_same(folder: Folder, old: Mapping, new: Mapping) -> None:
    a, b = disk.flat(old), disk.flat(new)
    if changed := [name for name in sorted(a.keys() | b.keys()) if a.get(name) != b.get(name)]:
        told = "; ".join(f"{name} was {a.get(name)!r}, is {b.get(name)!r}" for name in changed)
        raise ValueError(
            f"{folder.at} was begun with another configuration: {told}. "
            "Restore it to go on, or choose another folder"
        )


def _of(config: str, entry: dict, folder: Folder) -> dict:
    if entry["config"] != config:
        raise ValueError(
            f"{folder.at}/{entry['file']} was packed with another configuration: "
            "choose another folder, or empty this one"
        )
    return entry


def _manifest(config: dict, entries: list[dict], folder: Folder) -> dict:
    """What readers of a pack need, what it was made from, and its shards."""
    kinds = {(entry["kind"], entry["views"]) for entry in entries if entry["items"]}
    if len(kinds) != 1:
        raise ValueError(f"{folder.at}: its shards hold no items of one kind, but {sorted(kinds)}")
    ((kind, views),) = kinds
    told = ("file", "items", "rows", "bytes", "sha256")
    made_with = {json.dumps(entry["made_with"]): entry["made_with"] for entry in entries}
    return config | {
        "packed": sum(entry["items"] for entry in entries),
        "kind": kind,
        "views": views,
        "per_group": PER_GROUP,
        "left_out": {k: why for entry in entries for k, why in entry["left_out"].items()},
        "made_with": list(made_with.values()),
        "shards": [{name: entry[name] for name in told} for entry in entries],
    }


# What a process of a pool packs from, given once: a list of a million frames is long on its way.
_given: list = []


def _each(numbers: Iterable[int], given: tuple, processes: int) -> Iterator[dict]:
    if processes < 2:
        items, out, how = given
        yield from (pack_shard(items, k, out, how) for k in numbers)
        return
    # not forked: the threads of Arrow do not survive it
    pool = ProcessPoolExecutor(processes, get_context("spawn"), _take, (given,))
    try:
        yield from pool.map(_pack_given, numbers)
    finally:
        pool.shutdown(cancel_futures=True)


def _pack_given(k: int) -> dict:
    items, out, how = _given
    return pack_shard(items, k, out, how)


def _take(given: tuple) -> None:
    _given.extend(given)
