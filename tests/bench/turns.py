"""The packaged model before and after a lesson in cameras that only turn: a run on `rooms-turns` that began with it.

vlm3 train tiny --model tiny --mixture rooms-turns --steps 5000 --batch 8 --lr 0.0015 --warmup 0.01 --seed 4 --out RUN
python tests/bench/turns.py RUN [--samples 500] [--out DIR] [--save FILE.json]

Toy results, on test rooms of `rooms-turns-test`. Predictions go to DIR, so a run that was stopped goes on.
"""

import argparse
import json
import shlex
import sys
import time
from pathlib import Path

from vlm3 import bench, runs
from vlm3.evaluate import Evaluation, evaluate, pairs

TASKS, BASELINES = ("correspondence", "pose"), ("constant", "opencv")
EVERY = 100  # steps whose losses are told as one
WHAT = "a lesson in cameras that only turn, and what is known before and after it, toy results"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    parser.add_argument("--samples", type=int, default=500)
    parser.add_argument("--out", type=Path, default=Path("_build/turns"))
    parser.add_argument("--save", type=Path)
    args = parser.parse_args()
    began, models = time.perf_counter(), {"before": "tiny", "after": str(args.run / "model")}
    found = {name: asked(models.get(name, name), args.out / name, args.samples) for name in (*models, *BASELINES)}
    if args.save:
        told = bench.provenance(shlex.join(["python", *sys.argv]), 0, time.perf_counter() - began)
        bench.write(args.save, WHAT, told, {"samples": args.samples, "training": lesson(args.run), "models": found})


def asked(model: str, out: Path, samples: int) -> dict:
    """Scores of both tasks, and of each pair the (true, answered) yaw in degrees, null where there is none."""
    scores = {}
    for task in TASKS:
        what = Evaluation(task, "rooms-turns-test", model, out / task, samples)
        found = evaluate(what)
        scores[task] = {name: value for name, value in found.items() if value == value}
        print(out.name, task, {name: round(value, 3) for name, value in scores[task].items()}, flush=True)
    yaws = [(round(truth["yaw_deg"], 2), (said or {}).get("yaw_deg"))
            for said, truth in pairs(out / "pose") if "yaw_deg" in truth]  # fmt: skip
    return {"scores": scores, "yaw_deg": yaws}


def lesson(run: Path) -> dict:
    """What the run was asked to do, how long it took, and its losses, each on rooms not seen before."""
    config, log = json.loads((run / "config.json").read_text()), runs.read(run)
    return {"settings": {name: value for name, value in config.items() if name != "sources"}, "steps": len(log),
            "seconds": round(sum(record["seconds"] for record in log)), "losses": runs.means(log, EVERY)}  # fmt: skip


if __name__ == "__main__":
    main()
