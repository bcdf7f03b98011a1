"""Items that lie together, such as those of a shard, are drawn together."""

import fsspec
import pytest

from tests.walls import Made
from vlm3.mixture import Mixture, Source
from vlm3.mixture.stream import in_stretches
from vlm3.sources import folders, shards
from vlm3.sources.curation.packing import Packing, pack
from vlm3.sources.shards import Shards

SIZES = (3, 10, 0, 1, 10)
SHARDS = [shard for shard, size in enumerate(SIZES) for _ in range(size)]


class Sharded(Made):
    stretches = SIZES


def changes(items: list[int]) -> int:
    shards = [SHARDS[k] for k in items]
    return sum(a != b for a, b in zip(shards, shards[1:], strict=False))


def test_stretches_come_one_after_another_and_each_item_once_in_another_order_each_pass():
    orders = [[in_stretches(k, SIZES, (7, 0, p)) for k in range(24)] for p in range(4)]
    for order in orders:
        assert sorted(order) == list(range(24))
        assert changes(order) == 3
    assert len({tuple(order) for order in orders}) == 4
    assert len({SHARDS[order[0]] for order in orders}) > 1


def test_a_mixture_goes_through_shards_one_after_another_and_remembers_that_it_does():
    mixture = Mixture({"a": Source(Sharded(24), "depth"), "b": Source(Made(24), "depth")}, seed=3)
    draws = [mixture.draw(k) for k in range(48)]
    items = [draw.item for draw in draws if draw.source == "a"]
    assert sorted(items) == list(range(24))
    assert changes(items) == 3
    assert mixture.description["a"]["stretches"] == 5
    assert "stretches" not in mixture.description["b"]


def test_same_items_are_refused_where_only_one_source_has_stretches():
    sources = {"a": Source(Sharded(24), "depth"), "b": Source(Made(24), "depth")}
    with pytest.raises(ValueError, match="with equal weights, in one order"):
        Mixture(sources, "uniform", same_items=True)


def test_in_shard_order_each_shard_is_fetched_once_a_pass(tmp_path, monkeypatch):
    how = Packing(focal_px=100.0, points=40, per_shard=4)
    pack(Made(20), tmp_path / "pack", how)
    fsspec.filesystem("memory").put(f"{tmp_path}/pack/", "/once/", recursive=True)
    fetched, plain = [], folders._fetch
    monkeypatch.setattr(shards, "_group", shards._group.__wrapped__)  # which remembers some items
    monkeypatch.setattr(folders, "_fetch", lambda *given: (fetched.append(given[1]), plain(*given)))
    for in_order, most in ((True, 5), (False, 20)):
        fetched.clear()
        far = Shards("memory://once", in_order, keep_in=tmp_path / str(in_order), keep=1)
        mixture = Mixture({"far": Source(far, "depth", 2, 100.0)}, seed=1)
        assert [len(mixture[k].qas) for k in range(20)] == [2] * 20
        assert len(fetched) <= most
    assert len(fetched) > 5
