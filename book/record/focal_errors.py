"""What a focal length that is wrong by some per cent does to each task: rooms and photographs.

VLM3_REAL=FOLDER VLM3_PAIRS=FOLDER python book/record/focal_errors.py [--scenes 32] [--photos 20]
[--only depth ...] [--out DIR] [--save FILE.json]

The packaged tiny model is asked about scenes of `homes-test` and about photographs
(`focal_errors.toml`), their cameras said to have a focal length 1, 5, 10 and 20 per cent too short
and too long; who never looks is asked with the true one. Predictions go to DIR; what is there is
not asked again, so a run that was stopped goes on, and --only lets several work side by side.
"""

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path

from vlm3.pages import recorded
from vlm3.scoring import evaluate, wrong_focal
from vlm3.scoring.evaluate import Evaluation

TASKS = ("correspondence", "depth", "objects", "pose")
RATIOS = (0.8, 0.9, 0.95, 0.99, 1.0, 1.01, 1.05, 1.1, 1.2)
PHOTOS = Path(__file__).with_name("focal_errors.toml")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--scenes", type=int, default=32)
    parser.add_argument("--photos", type=int, default=20)
    parser.add_argument("--only", nargs="+", default=list(TASKS), help="tasks")
    parser.add_argument("--out", type=Path, default=Path("_build/focal_errors"))
    parser.add_argument("--save", type=Path)
    args = parser.parse_args()
    began, results = time.perf_counter(), {"rooms": {}, "photos": {}}
    found_on_disk = len(list(args.out.glob("*/scores.json")))
    for task in args.only:
        for where, source, many in (
            ("rooms", "homes-test", args.scenes),
            ("photos", str(PHOTOS), args.photos),
        ):
            config = Evaluation(task, source, "tiny", args.out, many, progress=False)
            results[where][task] = found = asked(config)
            for ratio, each in found["ratios"].items():
                print(where, task, ratio, each["model"], each["gains"], flush=True)
    print(f"{time.process_time():.0f} s of one core")
    if args.save:
        made = recorded.provenance(" ".join(["python", *sys.argv]), 0, time.perf_counter() - began)
        made["evaluations_found_on_disk"] = found_on_disk  # which take next to no time
        what = "the tiny model, asked with focal lengths that are wrong by some per cent: a toy"
        recorded.write(args.save, what, made, results)


def asked(config: Evaluation) -> dict:
    """The items are spread over the source, since photographs follow each other on a walk."""
    source = evaluate.named(config)
    chosen = Spread(source.items, config.samples)
    return wrong_focal.measured(config, replace(source, items=chosen), RATIOS)


class Spread:
    """So many items of a sequence, evenly from all over."""

    def __init__(self, items, many: int):
        self.items, self.many = items, min(many, len(items))
        self.metric = getattr(items, "metric", True)

    def __len__(self) -> int:
        return self.many

    def __getitem__(self, index: int):
        return self.items[index * len(self.items) // self.many]


if __name__ == "__main__":
    main()
