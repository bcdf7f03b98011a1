"""Pre-training of the tiny model, before it learns words: what stands in for the pre-training that
a released Qwen3-VL brings along.

[torchrun --nproc-per-node 2] python book/record/pretrain.py RUN [--model random:tiny]
[--steps 6000] [--batch 8] [--lr 2e-3] [--seed 0] [--compiled]

Pairs of `homes`, both ways round, are shown to the tower and to the first layers of the language
model, which read images only: no question is asked. Linear heads, which are thrown away, say

- on the tower: the depth of each pixel, and 64 numbers for each patch that are alike in both views
  where these show the same (a contrastive loss over points of eight pairs);
- on the language model: depth in cells of 4 pixels; for cells of 8 pixels of the second image,
  where the first one shows the same and whether it does; and, on the last token, the pose.

So the eyes, and the comparing of two images, are taught by regression; the words are not. batch:
scenes of each process in a step. RUN gets state.pt, from which the same command goes on,
log.jsonl, and at the end model/, from which `vlm3 train` begins, and heads.safetensors, with
which `baselines/expert.py` answers.
"""

import argparse
import json
import math
import os
import time
from pathlib import Path

import dense
import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from vlm3 import parallel
from vlm3.qwen import attention, model, network
from vlm3.training import sft
from vlm3.training.config import Config


class Learner:
    """The network, what changes it, and where it is in the stream of scenes."""

    def __init__(self, args: argparse.Namespace):
        vlm = model.named(args.model, dtype=torch.float32, seed=args.seed)
        attention.use(vlm.net)
        self.args, self.dense = args, dense.Dense(vlm, args.seed).train()
        text = vlm.net.model.language_model
        self.whole, text.layers = text.layers, text.layers[: dense.LAYERS]
        if args.compiled:
            for layer in network.layers(vlm.net):
                layer.compile(dynamic=False)  # there are but three sizes
        config = Config(lr=args.lr, optimizer="muon")
        self.optimizers, self.step = sft.optimizers(self.dense, config), 0
        self.rooms = {size: dense.rooms(size) for size in dense.SIZES}

    def advance(self) -> dict[str, float]:
        """One change of the weights; what is drawn for a step depends on seed and step alone."""
        args, place = self.args, parallel.place()
        draw = np.random.default_rng([args.seed, self.step])
        size = dense.SIZES[draw.integers(len(dense.SIZES))]
        first = (self.step * place.num_processes + place.process_index) * args.batch
        true = dense.labelled(self.rooms[size], range(first, first + args.batch))
        found = dense.losses(self.dense(true.images), true, torch.Generator().manual_seed(first))
        sum(dense.WEIGHTS[name] * loss for name, loss in found.items()).backward()
        learned = [p for p in self.dense.parameters() if p.grad is not None]
        _averaged(learned)
        nn.utils.clip_grad_norm_(learned, 1.0)
        rate = learning_rate(self.step, args)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
            optimizer.zero_grad()
        self.step += 1
        return {name: round(loss.item(), 4) for name, loss in found.items()}

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
        state = torch.load(out / "state.pt")
        self.dense.load_state_dict(state["dense"])
        for optimizer, known in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(known)
        self.step = state["step"]

    def finish(self, out: Path) -> None:
        """The network as it is, with the layers that wait for words."""
        self.dense.net.language_model.layers = self.whole
        attention.use(self.dense.vlm.net, False)
        model.save(self.dense.vlm, out / "model")
        state = self.dense.state_dict()
        heads = {name: weight for name, weight in state.items() if not name.startswith("net.")}
        save_file(heads, out / "heads.safetensors")


def learning_rate(step: int, args: argparse.Namespace) -> float:
    """Up within 50 steps, the highest for most of the way, then along a cosine to zero."""
    left = (step / args.steps - args.flat) / (1 - args.flat)
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
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--flat", type=float, default=0.6, help="share of the steps at that rate")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--compiled", action="store_true")
    parser.add_argument("--save-every", type=int, default=250)
    parser.add_argument("--stop", type=int, help="after so many of the steps, to go on later")
    args = parser.parse_args()
    learner = Learner(args)
    args.out.mkdir(parents=True, exist_ok=True)
    if (args.out / "state.pt").exists():
        learner.resume(args.out)
    end = min(args.steps, args.stop or args.steps)
    while learner.step < end:
        began = time.perf_counter()
        record = {"step": learner.step + 1} | learner.advance()
        record["seconds"] = round(time.perf_counter() - began, 3)
        if parallel.leads():
            with (args.out / "log.jsonl").open("a") as file:
                file.write(json.dumps(record) + "\n")
            if learner.step % args.save_every == 0 or learner.step == end:
                print(record, flush=True)
                learner.save(args.out)
    if parallel.leads() and learner.step == args.steps:
        learner.finish(args.out)


if __name__ == "__main__":
    main()
