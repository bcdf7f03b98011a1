"""Scores of the packaged model and of what it has to beat, on toy rooms that it never saw.

python tests/bench/scores.py [--model tiny] [--samples 100 1000] [--out DIR] [--save FILE.json]

The chapters regenerate the first of these numbers of samples and hold their headlines against what is recorded here.
Predictions go to DIR, so a run that was stopped goes on.
"""

import argparse
import sys
import time
from pathlib import Path

from vlm3 import bench, tasks
from vlm3.evaluate import Evaluation, evaluate

BASELINES = ("constant", "random:tiny", "opencv")
CLASSICAL = ("correspondence", "pose")  # what OpenCV solves without learning


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--samples", type=int, nargs="+", default=[100, 1000])
    parser.add_argument("--out", type=Path, default=Path("_build/scores"))
    parser.add_argument("--save", type=Path)
    args = parser.parse_args()
    began, results = time.perf_counter(), {}
    found_on_disk = len(list(args.out.glob("*/scores.json")))
    for samples in args.samples:
        for task in tasks.NAMES:
            for model in (args.model, *BASELINES):
                if model == "opencv" and task not in CLASSICAL:
                    continue
                out = args.out / f"{samples}-{task}-{model.replace(':', '-')}"
                found = evaluate(Evaluation(task, model=model, samples=samples, out=out))
                results.setdefault(str(samples), {}).setdefault(task, {})[model] = found
                print(samples, task, model, {k: round(v, 3) for k, v in found.items()}, flush=True)
    if args.save:
        told = bench.provenance(" ".join(["python", *sys.argv]), 0, time.perf_counter() - began)
        told["evaluations_found_on_disk"] = found_on_disk  # which take next to no time
        bench.write(args.save, "the tiny model on the test split of the large toy rooms: toy results", told, results)


if __name__ == "__main__":
    main()
