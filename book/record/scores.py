"""Scores of the packaged model and of what it has to beat, on scenes that it never saw.

[VLM3_BASELINES=book/record/baselines] python book/record/scores.py [--model tiny]
[--source homes-test] [--tasks depth ...] [--others expert:RUN ...] [--samples 100 1000]
[--out DIR] [--save FILE.json]

Beside the model stand those who never look, the same model with other images, and OpenCV on pairs;
others may be the network before it learned anything (random:tiny) and the expert of the same eyes,
which has heads in place of words (`baselines/expert.py`). An expert of the guide is a model of its
own: --model roma --tasks correspondence pose. Of each its scores, what it has above the
best blind answer with a 95 per cent interval over scenes, and where its answers have become one.
The chapters regenerate the first of these numbers of samples and hold their headlines against what
is recorded here. Predictions go to DIR; what was asked of the same weights about the same scenes is
not asked again, so a run that was stopped goes on, and only the rows of a new model take time.
"""

import argparse
import sys
import time
from pathlib import Path

from vlm3 import mixture
from vlm3.pages import recorded
from vlm3.scoring import board, evaluate
from vlm3.scoring.evaluate import Evaluation


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--source", default="homes-test", help="a mixture")
    parser.add_argument("--tasks", nargs="+", help="of the mixture, by default all")
    parser.add_argument("--others", nargs="*", default=[], help="further rows")
    parser.add_argument("--samples", type=int, nargs="+", default=[100, 1000])
    parser.add_argument("--out", type=Path, default=Path("_build/scores"))
    parser.add_argument("--save", type=Path)
    args = parser.parse_args()
    began, results = time.perf_counter(), {}
    every = sorted({source.task for source in mixture.load(args.source).sources.values()})
    found_on_disk = len(list(args.out.glob("*/scores.json")))
    for samples in args.samples:
        for task in args.tasks or every:
            config = Evaluation(task, args.source, args.model, args.out, samples, progress=False)
            results.setdefault(str(samples), {})[task] = found = scored(config, args.others)
            print("\n".join(f"{samples} {task} {told(*row)}" for row in found.items()), flush=True)
    if args.save:
        made = recorded.provenance(" ".join(["python", *sys.argv]), 0, time.perf_counter() - began)
        made["evaluations_found_on_disk"] = found_on_disk  # which take next to no time
        made["source"] = args.source
        what = f"the tiny model on the scenes of {args.source}, which it never saw: toy results"
        if args.model != "tiny":
            what = f"{args.model} on the scenes of {args.source}, beside those who never look"
        args.save.parent.mkdir(parents=True, exist_ok=True)
        recorded.write(args.save, what, made, results)


def scored(config: Evaluation, others: list[str]) -> dict[str, dict]:
    source = evaluate.named(config)
    rows = board.models(config.model, source, others)
    found = board.table(board.ask(config, rows, source))
    return {
        name.partition(":")[0] if name.startswith("expert:") else name: row
        for name, row in found.items()
    }


def told(model: str, found: dict) -> str:
    """A row in one line: scores, what is above guessing, which answers have become one."""
    scores = {name: round(v, 3) for name, v in found.items() if isinstance(v, float)}
    above = {name: round(each["by"], 3) for name, each in found["above_guessing"].items()}
    same = [kind for kind, each in found["collapse"].items() if each["collapsed"]]
    return f"{model} {scores} above guessing {above} one answer to {same}"


if __name__ == "__main__":
    main()
