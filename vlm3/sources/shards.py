"""Items that were packed into shards, see `vlm3.sources.curation.packing`: from a disk or a bucket.

A pack is a folder with manifest.json and Parquet files, the shards. Their rows lie in groups of a
few items, so one item costs one small read, wherever the folder is: at random access over a
network, too, where 8 photographs of 150 kB come in one request. That suits many machines that each
take a part of the items. Where requests are slow or counted, shards are better fetched whole
(`keep_in`) and gone through one after another (`in_shard_order`). Samples are the same either way.
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vlm3.sources import rows
from vlm3.sources.folders import Folder, Kept
from vlm3.sources.reading import Frame
from vlm3.sources.reading.extras import need
from vlm3.views import Pair, View

if TYPE_CHECKING:
    from pyarrow import Table
    from pyarrow.parquet import FileMetaData

MANIFEST = "manifest.json"


class Shards(Sequence):
    """The items of a pack: Views, tuples of Views, or Pairs.

    path: its folder, or an address such as s3://bucket/folder or hf://datasets/name/folder;
    options: of the address, as fsspec has them. keep_in: a folder of this machine, for nothing
    else, into which shards from elsewhere are fetched whole, once for all processes; the last
    `keep` stay. in_shard_order: a mixture ends one shard before it begins the next: shards in
    random order, items in random order within each.

    Nothing is held open, so shards go to other processes as they are. Raises FileNotFoundError for
    a folder without a manifest; ValueError, naming the shard, where one cannot be read.
    """

    def __init__(
        self,
        path: str | Path,
        in_shard_order: bool = False,
        keep_in: str | Path | None = None,
        keep: int = 8,
        options: Mapping | None = None,
    ):
        self.folder = Folder(str(path), tuple((options or {}).items()))
        self.manifest = _manifest(self.folder)
        kept = None if keep_in is None or self.folder.path else Kept(Path(keep_in), keep)
        shards = self.manifest["shards"]
        self.shards = tuple(_Shard(self.folder, s["file"], s["sha256"], kept) for s in shards)
        self.sizes = tuple(shard["items"] for shard in shards)
        self.stretches = self.sizes if in_shard_order else None

    @property
    def metric(self) -> bool:
        """Whether lengths are metres."""
        return self.manifest["metric"]

    @property
    def focal_px(self) -> float:
        """Of the views, as they were packed."""
        return self.manifest["focal_px"]

    @cached_property
    def frames(self) -> tuple[Frame, ...]:
        """Scene and name of each item, of its first view, as the packed sequence told them."""
        tables = [_table(shard, columns=["scene", "frame"]) for shard in self.shards]
        names = [name for table in tables for name in table.to_pylist()]
        return tuple(Frame(n["scene"], n["frame"]) for n in names[:: self.manifest["views"]])

    @cached_property
    def _ends(self) -> np.ndarray:
        return np.array(list(accumulate(self.sizes)))

    def __len__(self) -> int:
        return sum(self.sizes)

    def __getitem__(self, index: int) -> View | tuple[View, ...] | Pair:
        index = range(len(self))[index]
        shard = int(np.searchsorted(self._ends, index, "right"))
        place = index - int(self._ends[shard]) + self.sizes[shard]
        return self._item(self.shards[shard], *divmod(place, self.manifest["per_group"]))

    def _item(self, shard: "_Shard", group: int, place: int) -> View | tuple[View, ...] | Pair:
        count = self.manifest["views"]
        found = _group(shard, group).slice(place * count, count).to_pylist()
        try:
            views = tuple(rows.view_of(row) for row in found)
        except (ValueError, TypeError, KeyError) as error:
            name = found[0]["frame"] or found[0]["item"]
            raise ValueError(f"{shard}, item {name}: {error}; {_AGAIN}") from error
        if self.manifest["kind"] == "pair":
            return Pair(*views, *(rows.uv_of(row) for row in found))
        return views[0] if self.manifest["kind"] == "view" else views


_AGAIN = "where this comes again, copy or pack it again"


def _manifest(folder: Folder) -> dict:
    found = folder.read([MANIFEST])
    if not found:
        raise FileNotFoundError(
            f"{folder.at}: no {MANIFEST}; give the folder of a pack, and one that was begun must "
            "be packed to its end: the same command goes on with it"
        )
    try:
        return json.loads(found[MANIFEST])
    except ValueError as error:
        raise ValueError(f"{folder.at}/{MANIFEST}: damaged ({error}); {_AGAIN}") from None


@dataclass(frozen=True)
class _Shard:
    """A file of a pack. sha256: also tells it from one that takes its place."""

    folder: Folder
    name: str
    sha256: str
    kept: Kept | None

    def __str__(self) -> str:
        return f"{self.folder.at}/{self.name}"

    def opened(self) -> AbstractContextManager:
        path = self.folder.path and self.folder.path / self.name
        if self.kept:
            path = self.kept.path(self.folder, self.name, self.sha256)
        return (
            need("pyarrow", "datasets").memory_map(str(path))
            if path
            else self.folder.opened(self.name)
        )


@lru_cache(maxsize=64)  # 2 MB each for a thousand photographs
def _footer(shard: _Shard) -> "FileMetaData":
    """Where in a shard what lies."""
    parquet = need("pyarrow.parquet", "datasets")
    return _read(shard, lambda file: parquet.ParquetFile(file).metadata)


@lru_cache(maxsize=8)  # so that those who take items in order read each group once
def _group(shard: _Shard, number: int) -> "Table":
    parquet, footer = need("pyarrow.parquet", "datasets"), _footer(shard)

    def read(file):
        # the columns of a group lie side by side: one request
        found = parquet.ParquetFile(file, metadata=footer, pre_buffer=True)
        return found.read_row_group(number, use_threads=False)

    return _read(shard, read)


def _table(shard: _Shard, columns: list[str]) -> "Table":
    parquet = need("pyarrow.parquet", "datasets")
    return _read(shard, lambda file: parquet.ParquetFile(file).read(columns))


def _read(shard: _Shard, how):
    try:
        with shard.opened() as file:
            return how(file)
    except FileNotFoundError:
        raise FileNotFoundError(f"{shard}: missing; {_AGAIN}") from None
    except (need("pyarrow", "datasets").ArrowException, OSError) as error:
        raise ValueError(f"{shard}: cannot be read ({error}); {_AGAIN}") from error
