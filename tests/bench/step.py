"""What a step of the tiny model costs, and what each thing that makes it cheaper brings.

python tests/bench/step.py [--steps 30] [--compiled]

One JSON line for each arm, which has one thing more than the arm before. Seconds are those of one
core, the median over steps of a real stream, without the making of samples: no two batches are
alike. The arms take turns, batch by batch, so that whatever else the machine does slows all of them
alike; `ratio` is to the first.
"""

import argparse
import json
import platform
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch

from vlm3 import mixture, parallel
from vlm3.qwen import batching, network
from vlm3.qwen.packing import Packed
from vlm3.training import optimizers, sft
from vlm3.training.config import TINY
from vlm3.training.loader import Share


@dataclass(frozen=True)
class Arm:
    """One way to make a step; off, and the first mixture: as it was before."""

    name: str
    mixture: str = "rooms"
    tower: bool = False
    muon: bool = False
    compiled: bool = False


ARMS = [
    Arm("tree attention in groups"),
    Arm("images side by side", tower=True),
    Arm("matrices of one shape together", tower=True, muon=True),
    Arm("one wording per sample", "rooms-brief", tower=True, muon=True),
]
COMPILED = Arm("compiled layers", "rooms-brief", tower=True, muon=True, compiled=True)


class Measured:
    """An arm with its network and its stream; `step` tells the seconds of one step."""

    def __init__(self, arm: Arm):
        self.arm = arm
        self.config = replace(TINY, model="random:tiny", compiled=arm.compiled, progress=False)
        vlm = sft.start(self.config)
        network.use_side_by_side(vlm.net, arm.tower)
        samples = mixture.load(arm.mixture)
        self.share = Share(samples, self.config, vlm.tokenizer)
        tasks = sorted({source.task for source in samples.sources.values()})
        kind = optimizers.Muon
        optimizers.Muon = kind if arm.muon else torch.optim.Muon
        try:
            net = sft.prepared(vlm, self.config)
            self.learner = sft.Learner(self.config, net, parallel.place(), tasks)
        finally:
            optimizers.Muon = kind

    def step(self, number: int) -> float:
        packs = [pack for part in self.share.parts(number) for pack in self.share[part]]
        began = time.process_time()
        self.learner.step(number, _Ready(packs, self.config.tokens))
        return time.process_time() - began


class _Ready:
    """What stands in the place of a `Feed`: a step whose samples are made already."""

    wait_s = 0.0

    class stop:
        @staticmethod
        def is_set() -> bool:
            return False

    def __init__(self, packs: list[Packed], tokens: int):
        self.packs, self.tokens = packs, tokens

    def step(self) -> Iterator[batching.Batch]:
        return batching.batches(self.packs, self.tokens)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--compiled", action="store_true", help="needs minutes and a C++ compiler")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    arms = [Measured(arm) for arm in [*ARMS, *[COMPILED] * asked.compiled]]
    taken = [[arm.step(number) for arm in arms] for number in range(asked.steps + 3)]
    seconds = np.median(taken[3:], 0)  # the first ones warm up
    for arm, each in zip(arms, seconds.tolist(), strict=True):
        told = {"arm": arm.arm.name, "mixture": arm.arm.mixture, "seconds": round(each, 4)}
        rates = {"samples_per_s": round(arm.config.batch / each, 1), "ratio": seconds[0] / each}
        versions = {"torch": torch.__version__, "machine": platform.machine()}
        print(json.dumps(told | rates | {"steps": asked.steps} | versions), flush=True)


if __name__ == "__main__":
    main()
