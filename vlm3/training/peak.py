"""How much memory a step of training takes where there is no GPU to ask: every tensor is counted.

On a CPU, torch does not say what was the most that it held at once. Here each operation's results
are counted as they are made, and taken off when nothing holds them any more.
"""

import weakref
from collections.abc import Iterable
from dataclasses import replace

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from vlm3 import parallel
from vlm3.qwen import model, network
from vlm3.qwen.batching import Batch
from vlm3.qwen.model import VLM, Settings
from vlm3.training import bench, memory, sft
from vlm3.training.config import Config


class Peak(TorchDispatchMode):
    """Counts the bytes of all tensors that are made as long as it is entered, and of those `held`
    before. `now`, and `most` at once; what an operation needs within itself is not seen."""

    def __init__(self, held: Iterable[torch.Tensor] = ()):
        super().__init__()
        self.now = self.most = 0
        self._known: set[int] = set()
        for tensor in held:
            self._count(tensor)

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        found = function(*args, **(kwargs or {}))
        tree_map_only(torch.Tensor, self._count, found)
        return found

    def _count(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage._cdata in self._known:
            return
        self._known.add(storage._cdata)
        self.now += storage.nbytes()
        self.most = max(self.most, self.now)
        weakref.finalize(storage, self._gone, storage._cdata, storage.nbytes())

    def _gone(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size


def compared(settings: Settings, config: Config, size: tuple[int, int] = (128, 96)) -> dict:
    """Bytes at the peak of a step as `vlm3.training.memory` computes them, and as they are counted
    here, for one sample of the depth task and a network of this configuration."""
    vlm, config = model.new(settings), replace(config, batch=1, peak_tflops=1.0)
    if config.base != "fp32":
        network.cast(vlm.net, torch.bfloat16)  # as it is loaded
    (batch,) = bench.noisy(vlm, config, "depth", size)
    computed = sum(memory.plan(settings, config, memory.Load.of(batch), gpu=False).values())
    return {"computed": computed, "measured": of_step(config, vlm, batch), "tokens": len(batch)}


def of_step(config: Config, vlm: VLM, batch: Batch) -> int:
    """Bytes at the peak of two steps of two equal batches each, the network and the optimiser
    included; the first step makes the optimiser's state."""
    learner = sft.Learner(config, sft.prepared(vlm, config), parallel.place(), [*set(batch.tasks)])
    with Peak([*learner.net.parameters(), *learner.net.buffers()]) as peak:
        for _ in range(2):
            for _ in range(2):
                learner.gradients(batch, counts=True)
            learner._gathered(2 * float(batch.weights.sum()))
            for optimizer in learner.optimizers:
                optimizer.step()
                optimizer.zero_grad()
    return peak.most
