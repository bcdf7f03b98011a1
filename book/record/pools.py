"""What a GPU waits for, made by many processes, and a step of it recorded once, for `pretrain.py`.

A small network spends its time on a GPU with the beginning of thousands of short operations. A
graph begins all of them at once.
"""

import os
import random
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence

import torch
from dense import Labels
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.data import DataLoader, Dataset

KEPT = 1_500  # old batches of each of three sizes: of 32 scenes 11 MB each, together 50 GB
NICE = 5  # who begins the operations of a GPU goes first
PATIENCE_S = 60
WARM_UP = 3  # torch's advice before a graph is recorded


class Pool:
    """Batches as fast as workers make them, and in between, so that the GPU never waits, old ones
    once more; `again`: how many of those given out were."""

    def __init__(self, made: Dataset, numbers: Sequence[int], workers: int, device: torch.device):
        self.new, self.old, self.again = _by_size(), _by_size(KEPT), 0
        self._draw, self._device = random.Random(0), device
        self._first, self._closed = threading.Event(), threading.Event()
        how = {
            "num_workers": workers,
            "prefetch_factor": 4,
            "worker_init_fn": lambda _: os.nice(NICE),
        }
        loader = DataLoader(made, None, sampler=numbers, **how)
        self._filling = threading.Thread(target=self._fill, args=(iter(loader),), daemon=True)
        self._filling.start()

    def _fill(self, loader: Iterator[Labels]) -> None:
        stream = torch.cuda.Stream(self._device)
        for labels in loader:
            if self._closed.is_set():
                return
            with torch.cuda.stream(stream):
                here = Labels(*labels).to(self._device)
                stream.synchronize()
            self.new[here.images.shape].append(here)
            self._first.set()

    def __next__(self) -> Labels:
        """A new batch where there is one."""
        if not self._first.wait(PATIENCE_S):
            raise TimeoutError(f"no scenes came for {PATIENCE_S} s")
        waiting = [batches for batches in list(self.new.values()) if batches]
        if waiting:
            labels = max(waiting, key=len).popleft()
            self.old[labels.images.shape].append(labels)
            return labels
        self.again += 1
        kept = list(self.old.values())
        (batches,) = self._draw.choices(kept, [len(batches) for batches in kept])
        return batches[self._draw.randrange(len(batches))]

    def close(self) -> None:
        """Lets the workers go."""
        self._closed.set()
        self._filling.join(PATIENCE_S)


def _by_size(most: int | None = None) -> dict[torch.Size, deque[Labels]]:
    return defaultdict(lambda: deque(maxlen=most))


class Graph:
    """Gradients of a loss of tensors of one size, all operations begun at once.

    loss: of tensors, in any nest of tuples, to what is told and what is to fall. A call leaves
    gradients where optimisers look for them, and returns what is told.
    """

    def __init__(
        self, loss: Callable[[tuple], tuple[object, Tensor]], given: tuple, net: torch.nn.Module
    ):
        self._given = tree_map(torch.clone, given)
        self._weights = list(net.parameters())
        beside = torch.cuda.Stream()
        beside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(beside):
            for _ in range(WARM_UP):
                net.zero_grad()
                loss(self._given)[1].backward()
        torch.cuda.current_stream().wait_stream(beside)
        net.zero_grad()
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._told, total = loss(self._given)
            total.backward()
        self._gradients = [weight.grad for weight in self._weights]

    def __call__(self, given: tuple) -> object:
        for ours, theirs in zip(tree_leaves(self._given), tree_leaves(given), strict=True):
            ours.copy_(theirs)
        self._graph.replay()
        for weight, gradient in zip(self._weights, self._gradients, strict=True):
            weight.grad = gradient
        return self._told
