"""How far the toy's eyes alone would go: its vision tower, with one linear layer on it that says
all depths at once.

python book/record/eyes.py [--of MODEL] [--steps 2300] [--batch 16] [--lr 2e-3] [--seed 0]
[--samples 1000]
                           [--save FILE.json]

Not the method, but a yardstick for it: the same tower, toy rooms and test pixels as in the text
task, without words. From random weights all of it learns. With --of, the tower is that of a model
and stays as it is, and only the layer
learns: where this does better than the model, the words hold it back; where it does no better, the
eyes do.
"""

import argparse
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from vlm3 import mixture
from vlm3.pages import recorded
from vlm3.qwen import model, patches
from vlm3.qwen.architecture import MERGE, PATCH
from vlm3.scoring import evaluate
from vlm3.scoring.evaluate import Evaluation
from vlm3.training import sft
from vlm3.training.config import Config
from vlm3.views import View

MEAN = 1.0  # of the logarithm of depths in metres, about: where training starts


class Eyes(torch.nn.Module):
    def __init__(self, seed: int, of: str | None = None):
        super().__init__()
        self.tower = (
            model.load(of, dtype=torch.float32) if of else model.new("tiny", seed)
        ).net.model.visual
        self.tower.requires_grad_(not of)
        side = self.tower.config.hidden_size
        self.norm = (
            torch.nn.LayerNorm(side, elementwise_affine=False) if of else torch.nn.Identity()
        )  # as its merger
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            self.head = torch.nn.Linear(side, PATCH**2)

    def forward(self, images: Sequence[np.ndarray]) -> list[torch.Tensor]:
        """HxWx3 uint8 each -> (H, W) logarithms of depths in metres."""
        grids = np.stack([patches.grid(image) for image in images])
        pixels = torch.cat([patches.patches(torch.from_numpy(image)) for image in images])
        with torch.autocast("cpu", torch.bfloat16):
            seen = self.tower(pixels, grid_thw=torch.from_numpy(grids)).last_hidden_state
            said = self.head(self.norm(seen)).float() + MEAN
        rows = said.split(grids.prod(1).tolist())
        return [whole(each, *grid[1:]) for each, grid in zip(rows, grids.tolist(), strict=True)]


def whole(rows: torch.Tensor, high: int, wide: int) -> torch.Tensor:
    """Patches in the order of the model, blocks of 2 x 2, to the image that they are of."""
    blocks = rows.view(high // MERGE, wide // MERGE, MERGE, MERGE, PATCH, PATCH)
    return blocks.permute(0, 2, 4, 1, 3, 5).reshape(high * PATCH, wide * PATCH)


def loss(eyes: Eyes, views: Sequence[View]) -> torch.Tensor:
    """Mean distance of logarithms over all pixels of known depth."""
    known = [np.isfinite(view.depth_m) for view in views]
    true = np.concatenate([np.log(view.depth_m[k]) for view, k in zip(views, known, strict=True)])
    said = eyes([view.image for view in views])
    said = torch.cat([each[torch.from_numpy(k)] for each, k in zip(said, known, strict=True)])
    return (said - torch.from_numpy(true)).abs().mean()


def learned(config: Config, steps: int, of: str | None) -> Eyes:
    """Trained on the samples of the toy's own lessons in depth, whose questions nobody reads."""
    eyes, lesson = (
        Eyes(config.seed, of).train(),
        mixture.load("rooms", config.seed).sources["depth"],
    )
    samples = mixture.Mixture({"depth": lesson}, seed=config.seed)
    optimizers = sft.optimizers(eyes, config)
    for step in range(steps):
        views = [samples[i].views[0] for i in range(step * config.batch, (step + 1) * config.batch)]
        value = loss(eyes, views)
        value.backward()
        torch.nn.utils.clip_grad_norm_(eyes.parameters(), config.clip)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = sft.learning_rate(step, config)
            optimizer.step()
            optimizer.zero_grad()
        if (step + 1) % 100 == 0:
            print(f"step {step + 1}, loss {value:.3f}", flush=True)
    return eyes.eval()


@torch.no_grad()
def scored(eyes: Eyes, samples: int) -> dict[str, float]:
    """At the pixels that the text task asks about, in the order of `vlm3 evaluate`."""
    source, found = evaluate.named(Evaluation("depth")), []
    for _, sample in evaluate.samples(source, iter(range(samples)), 0):
        (view,) = sample.views
        depth_m = eyes([view.image])[0].exp().numpy()
        for qa in sample.qas:
            scale, (place,) = source.bound.templates["scale"], qa.about
            column, row = (np.array(place) + 0.5) / scale * view.size
            found.append((float(depth_m[int(row), int(column)]), qa.truth))
    return source.bound.score(found)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--of")
    parser.add_argument("--steps", type=int, default=2300)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--save", type=Path)
    args = parser.parse_args()
    config = Config(
        steps=args.steps,
        batch=args.batch,
        lr=args.lr,
        seed=args.seed,
        warmup=0.02,
        optimizer="muon",
    )
    began = time.perf_counter()
    eyes = learned(config, args.steps, args.of)
    took = time.perf_counter() - began
    found = {
        "images": args.steps * args.batch,
        "training_s": round(took),
        "scores": scored(eyes, args.samples),
    }
    print(found)
    if args.save:
        told = recorded.provenance(
            shlex.join(["python", *sys.argv]), args.seed, time.perf_counter() - began
        )
        tower = args.of or "random:tiny, which learns, too"
        what = f"a linear layer for depth on the tower of {tower}, toy results"
        recorded.write(args.save, what, told, found)


if __name__ == "__main__":
    main()
