"""What isolated questions are worth: the same samples learned from as branches of their own, and as
chats.

python book/record/layouts.py [--steps 800] [--batch 16] [--seeds 0 1] [--save FILE.json]

A small network learns depth from scratch in the flats of mixing.py, eight questions about each
picture, packed one way or the other. Every so often it is asked about unseen flats one question at
a time, as in any evaluation. One core.
"""

import argparse
import shlex
import sys
import tempfile
import time
from pathlib import Path

import torch
from mixing import FOCAL_PX, NETWORK, QUESTIONS, WORDS, ready, rooms, shown

from vlm3.mixture import Mixture, Source
from vlm3.pages import recorded
from vlm3.qwen import model, packing
from vlm3.scoring import evaluate
from vlm3.scoring.evaluate import Evaluation
from vlm3.scoring.predictors import network
from vlm3.training import log, sft
from vlm3.training.config import Config

UNSEEN = 480  # flats, a question each


def run(layout: str, seed: int, steps: int, batch: int, unseen: Source) -> dict:
    """One training, and how it went: loss on questions asked alone, their delta_1 at the end."""
    seen = Mixture(
        {"flats": Source(rooms("flats"), "depth", QUESTIONS, FOCAL_PX, WORDS)}, seed=seed
    )
    with tempfile.TemporaryDirectory() as folder:
        start, out = Path(folder) / "start", Path(folder) / "run"
        model.save(model.new(model.config("tiny", **NETWORK), seed), start)
        config = Config(
            out,
            str(start),
            layout=layout,
            steps=steps,
            batch=batch,
            lr=2e-3,
            warmup=0.05,
            seed=seed,
            validate_every=max(1, steps // 10),
            validate_samples=UNSEEN,
            workers=0,
            save_every=steps,
            progress=False,
            peak_tflops=1.0,
        )
        weights = sft.train(config, seen, Mixture({"unseen flats": unseen}, seed=1), shown)
        asked = Evaluation(
            "depth",
            "flats",
            str(weights),
            samples=UNSEEN,
            out=Path(folder) / "asked",
            progress=False,
        )
        scores = evaluate.evaluate(asked, unseen, network.predictor(str(weights), unseen))
        points = [
            {"step": r["step"], "loss": round(r["validation"]["loss"], 4)}
            for r in log.records(out)
            if "validation" in r
        ]
    return {
        "layout": layout,
        "seed": seed,
        "delta_1": round(scores["delta_1"], 4),
        "validation": points,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--save", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    began, results = (
        time.perf_counter(),
        {"steps": args.steps, "batch": args.batch, "questions": QUESTIONS, "runs": []},
    )
    unseen = Source(
        ready(rooms("flats", "validation", scenes=10 * UNSEEN)), "depth", 1, FOCAL_PX, WORDS
    )
    for seed in args.seeds:
        for layout in packing.LAYOUTS:
            results["runs"].append(run(layout, seed, args.steps, args.batch, unseen))
            print(results["runs"][-1], flush=True)
            if args.save:
                command = shlex.join(["python", *sys.argv])
                told = recorded.provenance(command, args.seeds[0], time.perf_counter() - began)
                what = (
                    "depth learned from isolated questions and from chats, asked alone, toy results"
                )
                recorded.write(args.save, what, told, results)


if __name__ == "__main__":
    main()
