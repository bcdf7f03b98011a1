"""Some items of a source as a Parquet file: each view at one focal length, with what is kept of its
labels."""

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

import numpy as np

from vlm3.focal import unify_focal, unify_pair
from vlm3.sources import rows
from vlm3.sources.reading.extras import need
from vlm3.views import Pair, View

PER_GROUP = 8  # items that are read together: over a network, asking takes as long as 1 MB does


@dataclass(frozen=True)
class Packing:
    """What is kept of items. Packs that differ in any of it never share a folder.

    focal_px, max_pixels: see `unify_focal`. quality: of the JPEG files, or None for PNG, which
    loses nothing. points: at most so many places of known depth of a view, and matches of a Pair,
    drawn with the seed. dense: whole depth maps as well, and no points in their place; covisibility
    needs them; None: for items of several views that are no Pair. per_shard: items of a file.
    may_fail: so many items of each shard may be impossible to read: they are left out, and the
    manifest tells why. origin: what made the items ("from" and "arguments", as in a mixture);
    terms: under which they may be used.
    """

    focal_px: float = 1000.0
    max_pixels: int | None = None
    quality: int | None = 92
    points: int = 500
    dense: bool | None = None
    seed: int = 0
    per_shard: int = 1000
    may_fail: int = 0
    origin: Mapping = field(default_factory=dict)
    terms: str = ""

    def __post_init__(self):
        if not self.focal_px > 0:
            raise ValueError(f"focal_px must be above 0, got {self.focal_px}")
        for name, least in {"points": 1, "per_shard": 1, "may_fail": 0}.items():
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be {least} or more, got {getattr(self, name)}")


def file_of(items: Sequence, numbers: range, how: Packing) -> tuple[bytes, dict]:
    """A Parquet file of these items, and what it holds: items, rows, kind ("view", "views" or
    "pair"), views (of each item), and left_out, why by number.

    The same bytes whenever and wherever it is made with the same libraries. ValueError, naming the
    item, for one that cannot be packed, unless it may fail, and where items are of several kinds.
    """
    arrow, parquet, schema = (
        need("pyarrow", "datasets"),
        need("pyarrow.parquet", "datasets"),
        rows.features().arrow_schema,
    )
    file, kinds, left_out = io.BytesIO(), {}, {}
    packed = _packed(items, numbers, how, left_out)
    # photographs have no dictionary, and nobody asks for the least of them
    plain = {"compression": "zstd", "use_dictionary": False, "write_statistics": False}
    with parquet.ParquetWriter(file, schema, **plain) as writer:
        while group := list(islice(packed, PER_GROUP)):
            for kind, found in group:
                kinds[kind, len(found)] = kinds.get((kind, len(found)), 0) + 1
            together = [row for _, found in group for row in found]
            writer.write_table(arrow.Table.from_pylist(together, schema=schema))
    if len(kinds) > 1:
        raise ValueError(f"items {numbers}: not of one kind: {sorted(kinds)}: pack each by itself")
    (kind, views), count = next(iter(kinds.items()), (("", 0), 0))
    told = {"items": count, "rows": count * views, "kind": kind, "views": views}
    return file.getvalue(), told | {"left_out": left_out}


def _packed(
    items: Sequence, numbers: range, how: Packing, left_out: dict
) -> Iterator[tuple[str, list[dict]]]:
    """Kind and rows of each item; those that fail go to left_out."""
    for k in numbers:
        try:
            yield _item(items, k, how)
        except Exception as error:  # a source may raise anything
            left_out[k] = " ".join(f"{type(error).__name__}: {error}".split())
            if len(left_out) > how.may_fail:
                raise ValueError(
                    f"item {k}: {error}; mend it, or let may_fail = {len(left_out)} items of a "
                    "shard be left out"
                ) from error


def _item(items: Sequence, k: int, how: Packing) -> tuple[str, list[dict]]:
    item, rng = items[k], np.random.default_rng([how.seed, k])
    kind = "pair" if isinstance(item, Pair) else "view" if isinstance(item, View) else "views"
    views, places = _unified(item, kind, how, rng)
    rows_of_it = [
        {"item": k, **name, **rows.row_of(view, how.quality, uv)}
        for name, view, uv in zip(_names(items, k, len(views)), views, places, strict=True)
    ]
    return kind, rows_of_it


def _unified(
    item: View | tuple | Pair, kind: str, how: Packing, rng: np.random.Generator
) -> tuple[Sequence[View], Sequence[np.ndarray | None]]:
    """The views of an item at one focal length, and where the points of a Pair lie in each."""
    options = {"focal_px": how.focal_px, "max_pixels": how.max_pixels}
    dense = kind == "views" if how.dense is None else how.dense
    views = (item,) if kind == "view" else item[:2] if kind == "pair" else item
    # before the views are resampled, so that points are what was measured
    views = [_kept(view, how.points, dense, rng) for view in views]
    if kind != "pair":
        return [unify_focal(view, **options) for view in views], [None] * len(views)
    found = unify_pair(Pair(*views, *item[2:]), **options)
    chosen = rng.permutation(len(found.uv1))[: how.points]
    return found[:2], (found.uv1[chosen], found.uv2[chosen])


def _kept(view: View, points: int, dense: bool, rng: np.random.Generator) -> View:
    """The view with few of its points, or of its depth."""
    if view.points is None and (dense or view.depth_m is None):
        return view
    uv, z_m = view.places(points, rng)
    depth_m = view.depth_m if dense else None
    return replace(view, depth_m=depth_m, points=np.column_stack([uv, z_m]))


def _names(items: Sequence, k: int, views: int) -> list[dict]:
    """Scene and frame of each view, where the items tell them as a `Reader` does."""
    frames = getattr(items, "frames", ())
    if len(frames) != len(items):
        return [{"scene": "", "frame": ""}] * views
    several = frames[k] if isinstance(frames[k], tuple) else (frames[k],) * views
    return [{"scene": frame.scene, "frame": frame.name} for frame in several]
