"""A model before and after a lesson in cameras that only turn, the mixture `rooms-turns`.

python book/record/turns.py RUN [--model tiny] [--samples 300] [--out DIR] [--save FILE.json]

RUN is such a run, started with the model before: `vlm3 train tiny --model MODEL --mixture
rooms-turns ... --out RUN`.

Toy results, on test rooms of `rooms-turns-test`. Predictions go to DIR, so a run that was stopped
goes on.
"""

import argparse
import json
import time
from pathlib import Path

from vlm3.pages import recorded
from vlm3.scoring.evaluate import Evaluation, evaluate, pairs
from vlm3.training import log

TASKS, BASELINES = ("correspondence", "pose"), ("constant", "opencv")
EVERY = 100  # steps whose losses are told as one
WHAT = "a lesson in cameras that only turn, and what is known before and after it, toy results"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    parser.add_argument("--model", default="tiny", help="the one before")
    parser.add_argument("--samples", type=int, default=300)
    parser.add_argument("--out", type=Path, default=Path("_build/turns"))
    parser.add_argument("--save", type=Path)
    args = parser.parse_args()
    began, models = time.perf_counter(), {"before": args.model, "after": str(args.run / "model")}
    found = {
        name: asked(models.get(name, name), args.out / name, args.samples)
        for name in (*models, *BASELINES)
    }
    if args.save:
        command = f"python book/record/turns.py RUN --samples {args.samples}"
        told = recorded.provenance(command, 0, time.perf_counter() - began)
        recorded.write(
            args.save,
            WHAT,
            told,
            {"samples": args.samples, "training": lesson(args.run), "models": found},
        )


def asked(model: str, out: Path, samples: int) -> dict:
    """Scores of both tasks, and of each pair the (true, answered) yaw in degrees, null where there
    is none."""
    scores = {}
    for task in TASKS:
        what = Evaluation(task, "rooms-turns-test", model, out / task, samples)
        found = evaluate(what)
        scores[task] = {name: value for name, value in found.items() if value == value}
        print(
            out.name,
            task,
            {name: round(value, 3) for name, value in scores[task].items()},
            flush=True,
        )
    yaws = [
        (round(truth["yaw_deg"], 2), (said or {}).get("yaw_deg"))
        for said, truth in pairs(out / "pose")
        if "yaw_deg" in truth
    ]
    return {"scores": scores, "yaw_deg": yaws}


def lesson(run: Path) -> dict:
    """What the run was asked to do, how long it took, and its losses, each on rooms not seen
    before."""
    config, records = json.loads((run / "config.json").read_text()), log.records(run)
    settings = {
        name: value for name, value in config.items() if name not in ("sources", "out", "model")
    }
    seconds = round(sum(record["seconds"] for record in records))
    return {
        "settings": settings,
        "steps": len(records),
        "seconds": seconds,
        "losses": log.means(records, EVERY),
    }


if __name__ == "__main__":
    main()
