"""Scores of the packaged model and of what it has to beat, on toy rooms that it never saw.

python book/record/scores.py [--model tiny] [--samples 100 1000] [--out DIR] [--save FILE.json]
[--keep]

The chapters regenerate the first of these numbers of samples and hold their headlines against what
is recorded here. Predictions go to DIR, so a run that was stopped goes on. With --keep, what
FILE.json says of the baselines stays, since they do not change with the model.
"""

import argparse
import json
import sys
import time
from pathlib import Path

from vlm3 import tasks
from vlm3.pages import recorded
from vlm3.scoring.evaluate import Evaluation, evaluate

BASELINES = ("constant", "random:tiny", "opencv")
CLASSICAL = ("correspondence", "pose")  # what OpenCV solves without learning


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--samples", type=int, nargs="+", default=[100, 1000])
    parser.add_argument("--out", type=Path, default=Path("_build/scores"))
    parser.add_argument("--save", type=Path)
    parser.add_argument("--keep", action="store_true")
    args = parser.parse_args()
    began, results = time.perf_counter(), {}
    kept = json.loads(args.save.read_text())["results"] if args.keep else {}
    found_on_disk = len(list(args.out.glob("*/scores.json")))
    for samples in args.samples:
        for task in tasks.NAMES:
            for model in (args.model, *BASELINES):
                if model == "opencv" and task not in CLASSICAL:
                    continue
                out = args.out / f"{samples}-{task}-{model.replace(':', '-')}"
                found = (
                    kept.get(str(samples), {}).get(task, {}).get(model)
                    if model in BASELINES
                    else None
                )
                found = found or evaluate(
                    Evaluation(task, model=model, samples=samples, out=out, progress=False)
                )
                results.setdefault(str(samples), {}).setdefault(task, {})[model] = found
                print(samples, task, model, {k: round(v, 3) for k, v in found.items()}, flush=True)
    if args.save:
        told = recorded.provenance(" ".join(["python", *sys.argv]), 0, time.perf_counter() - began)
        told["evaluations_found_on_disk"] = found_on_disk  # which take next to no time
        told["baselines_kept"] = args.keep
        recorded.write(
            args.save,
            "the tiny model on the test split of the large toy rooms: toy results",
            told,
            results,
        )


if __name__ == "__main__":
    main()
