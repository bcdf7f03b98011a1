"""Pre-training of the tiny model, before it learns words: what stands in for the pre-training that
a released Qwen3-VL brings along.

[torchrun --nproc-per-node 2] python book/record/pretrain.py RUN [--model random:tiny]
[--steps 6000] [--batch 8] [--lr 2e-3] [--seed 0] [--compiled] [--workers 0] [--minutes 5]
[--mixture book/record/eyes.toml]

Pairs of `homes`, or those that a mixture asks about, both ways round, are shown to the tower and to
the first layers of the language model, which read images only: no question is asked. Linear heads,
which are thrown away, say

- on the tower: the depth of each pixel, and 64 numbers for each patch that are alike in both views
  where these show the same (a contrastive loss over points of eight pairs);
- on the language model: depth in cells of 4 pixels; for cells of 8 pixels of the second image,
  where the first one shows the same and whether it does; and, on the last token, the pose.

So the eyes, and the comparing of two images, are taught by regression; the words are not. batch:
scenes of each process in a step. RUN gets state.pt, from which the same command goes on,
log.jsonl, and at the end model/, from which `vlm3 train` begins, and heads.safetensors, with
which `baselines/expert.py` answers.

On a GPU, --workers processes make scenes, and those that were shown are shown again while new ones
are not ready, so that what is learned there depends on the machine's pace. --minutes: it ends after
so many, whatever the steps, and the learning rate falls with whichever comes first.
"""

import argparse
import json
import math
import os
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import dense
import numpy as np
import pools
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.utils.data import Dataset

from vlm3 import mixture, parallel
from vlm3.mixture import Mixture
from vlm3.qwen import attention, model, network
from vlm3.training import sft
from vlm3.training.config import Config

MOST = 10_000_000  # batches that a GPU may ask for


@dataclass(frozen=True)
class Made(Dataset):
    """The scenes of each step, which depend on seed and step alone: of homes, or the views of a
    mixture, which must be of one size."""

    seed: int
    batch: int
    rank: int = 0
    world: int = 1
    mixture: Mixture | None = None

    def __getitem__(self, step: int) -> dense.Labels:
        sizes = dense.SIZES
        size = sizes[np.random.default_rng([self.seed, step]).integers(len(sizes))]
        return self.of(size, step)

    def of(self, size: tuple[int, int], step: int) -> dense.Labels:
        first = (step * self.world + self.rank) * self.batch
        numbers = range(first, first + self.batch)
        if self.mixture:
            return dense.labelled([self.mixture[k].views for k in numbers], first)
        return dense.labelled(dense.rooms(size).batch(numbers), first)


class Learner:
    """The network, what changes it, and where it is in the stream of scenes."""

    def __init__(self, args: argparse.Namespace):
        first = str(args.after / "model") if args.after else args.model
        vlm = model.named(first, dtype=torch.float32, seed=args.seed)
        attention.use(vlm.net)
        vlm = replace(vlm, net=vlm.net.to(parallel.place().device))
        self.args, self.dense = args, dense.Dense(vlm, args.seed).to(vlm.device).train()
        text = vlm.net.model.language_model
        self.whole, text.layers = text.layers, text.layers[: dense.LAYERS]
        if args.compiled:
            for layer in network.layers(vlm.net):
                layer.compile(dynamic=False)  # there are but three sizes
        config = Config(lr=args.lr, optimizer="muon")
        self.optimizers, self.step = sft.optimizers(self.dense, config), 0

    def advance(self, true: dense.Labels, share: float) -> dict[str, float]:
        """One change of the weights; share: of the run that is behind it."""
        found = self._gradients(true)
        learned = [p for p in self.dense.parameters() if p.grad is not None]
        _averaged(learned)
        nn.utils.clip_grad_norm_(learned, 1.0)
        rate = learning_rate(self.step, share, self.args)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
        self.step += 1
        values = torch.stack(list(found.values())).tolist()
        return {name: round(value, 4) for name, value in zip(found, values, strict=True)}

    def _gradients(self, true: dense.Labels) -> dict[str, torch.Tensor]:
        if true.images.is_cuda:
            return self.graphs[true.images.shape](true)
        self.dense.zero_grad()
        found, total = self.losses(true)
        total.backward()
        return found

    def losses(self, true: dense.Labels) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """By name, and their sum."""
        found = dense.losses(self.dense(true.images), true)
        return found, sum(dense.WEIGHTS[name] * loss for name, loss in found.items())

    def record(self, made: "Made") -> None:
        """The operations of a step, for each size of images; see `pools.Graph`."""
        self.graphs = {}
        for size in dict.fromkeys(dense.SIZES):
            true = made.of(size, 0).to(self.dense.vlm.device)
            self.graphs[true.images.shape] = pools.Graph(self.losses, true, self.dense)

    def save(self, out: Path) -> None:
        """state.pt, whole or not at all."""
        state = {
            "dense": {k: v for k, v in self.dense.state_dict().items()},
            "optimizers": [each.state_dict() for each in self.optimizers],
            "step": self.step,
        }
        torch.save(state, out / "state.part")
        os.replace(out / "state.part", out / "state.pt")

    def resume(self, out: Path) -> None:
        state = torch.load(out / "state.pt", self.dense.vlm.device)
        self.dense.load_state_dict(state["dense"])
        for optimizer, known in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(known)
        self.step = state["step"]

    def begin(self, other: Path) -> None:
        """With the heads that another pre-training ended with."""
        self.dense.load_state_dict(load_file(other / "heads.safetensors"), strict=False)

    def finish(self, out: Path) -> None:
        """The network as it is, with the layers that wait for words."""
        self.dense.net.language_model.layers = self.whole
        attention.use(self.dense.vlm.net, False)
        model.save(self.dense.vlm, out / "model")
        state = self.dense.state_dict()
        heads = {name: weight for name, weight in state.items() if not name.startswith("net.")}
        save_file(heads, out / "heads.safetensors")


def learning_rate(step: int, share: float, args: argparse.Namespace) -> float:
    """Up within 50 steps, the highest up to a share of the run, then along a cosine to zero."""
    left = (share - args.flat) / (1 - args.flat)
    return args.lr * min(1, (step + 1) / 50) * (1 + math.cos(math.pi * max(0.0, left))) / 2


def _averaged(parameters: list[nn.Parameter]) -> None:
    """Gradients of all processes."""
    count = parallel.place().num_processes
    if count > 1:
        together = torch.cat([p.grad.flatten() for p in parameters])
        torch.distributed.all_reduce(together)
        parts = (together / count).split([p.numel() for p in parameters])
        for p, part in zip(parameters, parts, strict=True):
            p.grad.copy_(part.view_as(p))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", default="random:tiny")
    parser.add_argument("--mixture", help="of pairs of 128x96 pixels at a focal length of 100")
    parser.add_argument("--after", type=Path, help="go on from what another one ended with")
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--flat", type=float, default=0.6, help="share of the steps at that rate")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--compiled", action="store_true")
    parser.add_argument("--save-every", type=int, default=250)
    parser.add_argument("--workers", type=int, default=4, help="that make scenes, on a GPU")
    parser.add_argument("--minutes", type=float, default=math.inf)
    parser.add_argument("--stop", type=int, help="after so many of the steps, to go on later")
    args = parser.parse_args()
    began = time.perf_counter()
    learner, place = Learner(args), parallel.place()
    args.out.mkdir(parents=True, exist_ok=True)
    if (args.out / "state.pt").exists():
        learner.resume(args.out)
    elif args.after:
        learner.begin(args.after)
    pairs = mixture.load(args.mixture, args.seed) if args.mixture else None
    made = Made(args.seed, args.batch, place.process_index, place.num_processes, pairs)
    end, share = min(args.steps, args.stop or args.steps), 0.0
    with closing(_scenes(learner, made, args.workers)) as scenes:
        while learner.step < end and share < 1:
            before = time.perf_counter()
            told = {"step": learner.step + 1}
            told |= learner.advance(next(scenes), max(share, learner.step / args.steps))
            now = time.perf_counter()
            told |= {"seconds": round(now - before, 4), "again": getattr(scenes, "again", 0)}
            share = (now - began) / 60 / args.minutes
            if parallel.leads():
                _log(told, args.out)
                if learner.step % args.save_every == 0 or learner.step == end:
                    print(told, flush=True)
                    learner.save(args.out)
    if parallel.leads() and (learner.step == args.steps or share >= 1):
        learner.finish(args.out)


def _scenes(learner: Learner, made: Made, workers: int) -> Iterator[dense.Labels]:
    """Those of the steps that are left: made when they are asked for, or by others and ahead."""
    device, numbers = parallel.place().device, range(learner.step, learner.step + MOST)
    if device.type == "cpu":
        return (made[step] for step in numbers)
    learner.record(made)
    return pools.Pool(made, numbers, workers, device)


def _log(told: dict, out: Path) -> None:
    with (out / "log.jsonl").open("a") as file:
        file.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main()
