"""Samples on their way to the network: made by workers, put into micro-batches, waiting as bytes.

Workers hand on a few packed samples at a time, through pipes, so the size of /dev/shm does not
matter. A thread puts them together, in the order of the stream, into batches within the token
budget, and the network takes those as they come. So what waits does not grow with the samples of a
step: at most AHEAD x workers x TOGETHER samples and AHEAD + 3 batches. A sample is mostly its
images, three bytes a pixel: 3.4 MB for one of 1216x928.
"""

import multiprocessing
import os
import queue
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch.utils.data import DataLoader, Dataset
from transformers import PreTrainedTokenizerFast

from vlm3.mixture import Mixture, NoSample
from vlm3.qwen import batching, packing
from vlm3.qwen.architecture import MERGE
from vlm3.qwen.batching import Batch
from vlm3.qwen.packing import Packed
from vlm3.training.config import Config

# Samples that a worker hands on at once: fewer cost time where samples are small, more cost memory.
TOGETHER = 4
AHEAD = 2  # how often each worker is ahead, and how many batches wait for the network
GONE_S = 6.0  # torch looks after its workers every five seconds
NICE = 5  # on a machine that is full, whoever begins the operations of a GPU goes first
LOOK_S = 0.2  # how often one who waits looks whether there is still something to wait for


@dataclass(frozen=True, eq=False)
class Share(Dataset):
    """What one process of `world` sees of a stream: `share[range(3, 9, 2)]` are its samples 3, 5
    and 7, packed."""

    samples: Mixture
    config: Config
    tokenizer: PreTrainedTokenizerFast
    rank: int = 0
    world: int = 1
    merge: int = MERGE  # patches per token side, see `VLM.merge`

    def __post_init__(self):
        whole = self.world * len(self.samples.names)
        if self.samples.same_items and self.config.batch % whole:
            raise ValueError(
                f"a batch of {self.config.batch} is not the same number of items for each of "
                f"{self.world} processes, each asked about {len(self.samples.names)} times: take "
                f"a multiple of {whole}"
            )
        if self.config.batch < self.world:
            raise ValueError(
                f"{self.config.batch} samples do not give each of {self.world} processes one: "
                "raise batch and validate_samples, or take fewer processes"
            )

    def of(self, samples: Mixture, batch: int) -> "Share":
        """The same of other samples."""
        return replace(self, samples=samples, config=replace(self.config, batch=batch))

    def parts(self, step: int) -> Iterator[range]:
        """The samples of a step, a few at a time."""
        if self.samples.same_items:
            return self._items(step)
        batch = self.config.batch
        # Interleaved, so that every process gets of every source within a step.
        mine = range(step * batch + self.rank, (step + 1) * batch, self.world)
        return (mine[i : i + TOGETHER] for i in range(0, len(mine), TOGETHER))

    def _items(self, step: int) -> Iterator[range]:
        """All samples of an item at a time, so that one process makes it once."""
        each = len(self.samples.names)
        first, end = step * self.config.batch, (step + 1) * self.config.batch
        starts = range(first + self.rank * each, end, self.world * each)
        return (range(start, min(start + each, end)) for start in starts)

    def __getitem__(self, part: range) -> list[Packed]:
        how = self.tokenizer, self.config.layout, self.config.weighting
        packs = (packing.pack(self.samples[i], *how, self.merge) for i in part)
        return [batching.needed(packed) for packed in packs]

    def sources(self, part: range) -> str:
        """Where samples come from, in words."""
        draws = [self.samples.draw(i) for i in part]
        return ", ".join(f"{draw.source}[{draw.item}]" for draw in draws)


class Stop(threading.Event):
    """Set where a run is to end; reason: the exception that it ends with."""

    reason: BaseException | None = None

    def because(self, reason: BaseException) -> None:
        """Set, for the first of several reasons."""
        self.reason = self.reason or reason
        self.set()


class Feed:
    """The batches of some steps, made ahead; a context that leaves no process behind.

    wait_s: for how long the network has waited for batches so far. Once `stop` is set no more of
    them come. It is set here, with NoSample as its reason, where the next batch is asked for and
    does not come: its samples cannot be made, a worker died, or nothing came for
    `config.patience_s` seconds. Raises NoSample where workers cannot be started.
    """

    def __init__(self, share: Share, steps: Sequence[int], workers: int, stop: Stop):
        self.share, self.steps, self.stop, self.wait_s = share, steps, stop, 0.0
        self._batches: queue.Queue = queue.Queue(AHEAD)
        self._closed, self._awaited, self._came = threading.Event(), range(0), time.monotonic()
        self._device = torch.cuda.current_device() if torch.cuda.is_available() else None
        # torch hands out no handles of its workers; they are what is new among the children.
        others = set(multiprocessing.active_children())
        self._loader = self._begun(workers)
        self._workers = set(multiprocessing.active_children()) - others
        self._filling = threading.Thread(target=self._fill, daemon=True)
        self._filling.start()

    def _begun(self, workers: int) -> Iterator[list[Packed]]:
        parts = (part for step in self.steps for part in self.share.parts(step))
        before = signal.getsignal(signal.SIGCHLD)
        try:
            return iter(
                DataLoader(
                    self.share,
                    batch_size=None,
                    sampler=parts,
                    num_workers=workers,
                    collate_fn=list,
                    prefetch_factor=AHEAD if workers else None,
                    worker_init_fn=_deaf,
                )
            )
        except OSError as error:
            raise NoSample(
                f"worker processes cannot be started ({error}): is /dev/shm full, or memory? "
                "--workers 0 does without them"
            ) from error
        finally:
            # torch lets a worker's death interrupt this process wherever it is; here it is noticed
            # in `_fill`.
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGCHLD, before or signal.SIG_DFL)

    def _fill(self) -> None:
        try:
            if self._device is not None:
                torch.cuda.set_device(self._device)  # else a thread pins memory for the first GPU
            for step in self.steps:
                for batch in batching.batches(self._packs(step), self.share.config.tokens):
                    self._put(batch if self._device is None else batch.pin_memory())
                self._put(None)
            next(self._loader, None)  # lets the workers go
        except BaseException as error:  # a source may even say exit
            if not self._closed.is_set():
                self._put(NoSample(_reason(error)))

    def _packs(self, step: int) -> Iterator[Packed]:
        for part in self.share.parts(step):
            self._awaited = part
            packs = next(self._loader)
            self._came = time.monotonic()
            yield from packs

    def _put(self, item: Batch | NoSample | None) -> None:
        while not self._closed.is_set():
            with suppress(queue.Full):
                return self._batches.put(item, timeout=LOOK_S)
        raise InterruptedError("nobody waits for batches any more")

    def step(self) -> Iterator[Batch]:
        """The batches of the next step, in their order; fewer where it is stopped."""
        return iter(self._next, None)

    def _next(self) -> Batch | None:
        began = time.monotonic()
        found = None
        while found is None and not self.stop.is_set():
            try:
                found = self._batches.get(timeout=LOOK_S)
                break
            except queue.Empty:
                found = self._fault(began)
        self.wait_s += time.monotonic() - began
        if isinstance(found, NoSample):
            self.stop.because(found)
            return None
        return found

    def _fault(self, began: float) -> NoSample | None:
        """Why there is no sense in waiting on."""
        if dead := [worker.pid for worker in self._workers if worker.exitcode]:
            return NoSample(_dead(f"worker process {', '.join(map(str, dead))} died"))
        patience = self.share.config.patience_s
        if time.monotonic() - max(began, self._came) > patience:
            wanted = self.share.sources(self._awaited)
            return NoSample(
                f"nothing came for {patience:g} s, asked for was {wanted}: "
                "a disk or a network may hang; --patience-s waits longer"
            )
        return None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        for worker in self._workers:
            worker.kill()  # one in a source that hangs would not listen to anything else
        for each in (*self._workers, self._filling):
            each.join(GONE_S)


def _deaf(worker: int) -> None:
    """Workers leave signals, which often reach a whole group, to the process that they work for: it
    has to save. They end when it does, however that ends: what they wrote would fill a pipe that
    nobody reads."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    os.nice(NICE)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)


def _reason(error: BaseException) -> str:
    """One line; a worker's error begins with its traceback."""
    lines = str(error).strip().splitlines() or [repr(error)]
    reason = lines[-1].removeprefix(f"{NoSample.__module__}.{NoSample.__name__}: ")
    return _dead(reason) if "DataLoader worker" in reason else reason


def _dead(what: str) -> str:
    return f"{what}: killed for want of memory? Fewer --workers need less of it"
