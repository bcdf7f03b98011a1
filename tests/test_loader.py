"""Samples on their way to the network: the same whoever makes them, few at a time, and never waited
for in vain."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import psutil
import pytest
import torch

from tests.training import small
from vlm3.geometry import Camera
from vlm3.mixture import Mixture, NoSample, Source
from vlm3.qwen import batching
from vlm3.qwen.batching import Batch
from vlm3.training import loader
from vlm3.training.config import Config
from vlm3.training.loader import Feed, Share, Stop
from vlm3.views import View


class Views(Sequence):
    """Small views of one colour each; `before` is called in whichever process makes them."""

    def __init__(
        self, size: int, before: Callable[[int], object] = lambda index: None, side: int = 32
    ):
        self.size, self.before, self.side = size, before, side

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> View:
        self.before(index)
        side = self.side
        camera = Camera(
            1000, 1000, side / 2, side / 2, side, side
        )  # unification leaves it as it is
        depth_m = np.full((side, side), 1 + index, np.float32)
        return View(np.full((side, side, 3), index % 256, np.uint8), camera, depth_m)


def share(vlm, views: Sequence, **changes) -> Share:
    config = Config(**dict(batch=6, steps=5, tokens=150) | changes)
    return Share(Mixture({"attic": Source(views, "depth", 2)}), config, vlm.tokenizer)


def fed(share: Share, workers: int, stop: Stop | None = None) -> list[list[Batch]]:
    stop = stop or Stop()
    with Feed(share, range(1, share.config.steps), workers, stop) as feed:
        found = [list(feed.step()) for _ in feed.steps]
    if stop.reason:
        raise stop.reason
    return found


def left_over() -> list[psutil.Process]:
    """Workers that still run."""
    return [child for child in psutil.Process().children() if child.name().startswith("pt_data")]


@pytest.mark.filterwarnings(
    "ignore:This DataLoader will create"
)  # more workers than some machines have cores
@pytest.mark.parametrize("workers", [0, 1, 4])
def test_batches_are_those_of_the_stream_whoever_makes_them(vlm, monkeypatch, workers):
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")
    views = share(vlm, Views(100))
    found = fed(views, workers)
    for step, batches in enumerate(found, 1):
        packs = [packed for part in views.parts(step) for packed in views[part]]
        expected = list(batching.batches(packs, 150))
        assert len(batches) == len(expected) > 1
        for batch, other in zip(batches, expected, strict=True):
            assert batch.ids.tolist() == other.ids.tolist()
            assert batch.weights.tolist() == other.weights.tolist()
            assert torch.equal(batch.pixels, other.pixels)
    assert left_over() == []


def test_all_samples_of_an_item_are_made_by_one_process(vlm):
    sources = {name: Source(Views(50), "depth", 2) for name in "abc"}
    stream = Mixture(sources, "uniform", same_items=True)
    config = Config(batch=12, steps=5, tokens=150)
    shares = [Share(stream, config, vlm.tokenizer, rank, 2) for rank in range(2)]
    parts = [part for each in shares for part in each.parts(3)]
    assert sorted(i for part in parts for i in part) == list(range(36, 48))
    assert all(len({stream.draw(i).item for i in part}) == 1 for part in parts)
    assert [len(list(each.parts(3))) for each in shares] == [2, 2]
    with pytest.raises(ValueError, match="not the same number of items"):
        Share(stream, Config(batch=9), vlm.tokenizer, 0, 2)


@pytest.mark.parametrize("world", [2, 4])
def test_ranks_share_what_one_process_would_see(vlm, world):
    alone = share(vlm, Views(50), batch=8, tokens=1)  # each sample in a batch of its own

    def seen(rank: int, world: int) -> list[tuple]:
        mine = replace(alone, rank=rank, world=world)
        packs = [p for step in range(2) for part in mine.parts(step) for p in mine[part]]
        return [(p.ids.tolist(), int(p.images[0][0, 0, 0])) for p in packs]

    parts = [seen(rank, world) for rank in range(world)]
    assert [len(part) for part in parts] == [16 // world] * world
    assert sorted(sum(parts, [])) == sorted(seen(0, 1))


def test_how_many_samples_are_made_ahead_does_not_depend_on_the_batch(vlm):
    made = []
    views = share(vlm, Views(5000, made.append), batch=2000)
    with Feed(views, range(2), 0, Stop()) as feed:
        batch = next(feed.step())
        time.sleep(0.5)  # as long as the network computes
    most = (loader.AHEAD + 3) * len(batch.tasks) + loader.TOGETHER
    assert len(batch.tasks) <= len(made) <= most < 100


def test_nothing_of_the_samples_lies_in_shared_memory(vlm):
    """So a container with Docker's 64 MB of /dev/shm trains on images of any size."""
    before = set(os.listdir("/dev/shm"))
    with Feed(share(vlm, Views(100)), range(5), 1, Stop()) as feed:
        next(feed.step())
        time.sleep(0.5)
        new = {name for name in set(os.listdir("/dev/shm")) - before if not name.startswith("sem.")}
    assert not any(name.startswith("torch_") for name in new)


def _die(index: int) -> None:
    if index == 7:
        os.kill(os.getpid(), signal.SIGKILL)


def _fail(index: int) -> None:
    if index == 7:
        raise OSError("the disk is gone")


def _leave(index: int) -> None:
    if index == 7:
        sys.exit("enough")


def _say_nothing(index: int) -> None:
    if index == 7:
        raise MemoryError


def _say_much(index: int) -> None:
    if index == 7:
        raise OSError("the disk\n  is gone\n")


def _hang(index: int) -> None:
    if index == 7:
        time.sleep(3600)


@pytest.mark.parametrize(
    ("before", "workers", "patience_s", "message"),
    [
        (_die, 1, 60.0, r"worker .*\d+.* killed for want of memory\? Fewer --workers"),
        (_leave, 0, 60.0, r"^enough$"),
        (_say_nothing, 0, 60.0, r"^sample \d+, item 7 of source 'attic': MemoryError$"),
        (_say_much, 1, 60.0, r"^sample \d+, item 7 of source 'attic': the disk is gone$"),
        (_fail, 0, 60.0, r"^sample \d+, item 7 of source 'attic': the disk is gone$"),
        (_fail, 2, 60.0, r"^sample \d+, item 7 of source 'attic': the disk is gone$"),
        (_hang, 0, 1.0, r"nothing came for 1 s, asked for was .*attic\[7\].*--patience-s"),
        (_hang, 1, 1.0, r"nothing came for 1 s, asked for was .*attic\[7\].*--patience-s"),
    ],
)
def test_samples_that_do_not_come_end_in_one_line_that_names_them(
    vlm, before, workers, patience_s, message
):
    with pytest.raises(NoSample, match=message) as raised:
        fed(share(vlm, Views(10, before), patience_s=patience_s), workers)
    assert "\n" not in str(raised.value)
    assert left_over() == []


def test_a_worker_killed_while_it_hands_on_a_sample_ends_the_run_soon(vlm):
    """Half of a message is in the pipe then, and the other half never comes."""
    views = share(vlm, Views(100, side=512), batch=96, tokens=1)
    stop = Stop()
    with Feed(views, range(5), 1, stop) as feed:
        next(feed.step())
        time.sleep(0.5)  # until it is blocked
        (worker,) = left_over()
        worker.kill()
        began = time.monotonic()
        assert sum(1 for _ in feed.step()) < 96
    assert "died: killed for want of memory?" in str(stop.reason)
    assert time.monotonic() - began < 60  # and not the patience of a quarter of an hour


def test_workers_end_with_the_run_that_was_killed(tmp_path):
    config = small(tmp_path, workers=2, steps=1000)
    names = "from pathlib import PosixPath; from vlm3.training.sft import Config, train"
    process = psutil.Popen([sys.executable, "-c", f"{names}; train({config!r})"])
    while process.poll() is None and len(found := process.children()) < 2:
        time.sleep(0.05)
    assert len(found) == 2
    process.kill()
    process.wait()
    assert psutil.wait_procs(found, timeout=60)[1] == []


def test_workers_that_cannot_be_started_end_in_one_line(vlm, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(loader, "DataLoader", full)
    with pytest.raises(NoSample, match="No space left on device.*/dev/shm full.*--workers 0"):
        fed(share(vlm, Views(10)), 1)


def test_once_stopped_no_more_batches_come_though_a_source_hangs(vlm):
    stop = Stop()
    threading.Timer(0.5, stop.set).start()
    found = fed(share(vlm, Views(10, _hang)), 1, stop)
    assert found[-1] == []
    assert left_over() == []


def test_the_time_that_the_network_waits_is_told(vlm):
    with Feed(share(vlm, Views(10, lambda index: time.sleep(0.02))), range(2), 0, Stop()) as feed:
        list(feed.step())
        waited = feed.wait_s
        list(feed.step())
    assert feed.wait_s > waited > 0.02
