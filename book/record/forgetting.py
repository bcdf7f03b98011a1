"""What learning one thing costs another: the tiny model is taught general skills, by all of its
weights and by adapters, and asked its own four tasks before and after. Adapters learn less in as
many steps, so that all weights are also stopped about where adapters end; and half of the samples
may be of what it knows already.

python book/record/forgetting.py OUT [--only all adapters] [--steps 300] [--scenes 40]
[--save FILE.json]

OUT/NAME is a run, which the same command resumes; --only lets two work side by side. --save: then
test the packaged model and both runs, beside those who do not look, and write the scores.
"""

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path

from vlm3 import mixture
from vlm3.mixture import Source
from vlm3.pages import recorded
from vlm3.scoring import board, evaluate
from vlm3.scoring.evaluate import Evaluation
from vlm3.sources.printed import Printed
from vlm3.training import log, sft
from vlm3.training.config import Config

HERE = Path(__file__).parent
ARMS = {
    "all": {"lr": 5e-4},
    "adapters": {"lr": 2e-3, "lora": 16},
    "all, stopped": {"lr": 5e-4, "steps": 40},
    "all, mixed": {"lr": 5e-4, "steps": 150, "mixture": "skills_and_homes.toml"},
}
TASKS = ("depth", "correspondence", "pose", "objects")


def config(name: str, args: argparse.Namespace) -> Config:
    return Config(
        out=folder(name, args),
        model="tiny",
        batch=16,
        warmup=0.03,
        precision="fp32",
        shard=1,
        save_every=50,
        progress=False,
        **({"steps": args.steps} | ARMS[name] | {"mixture": str(taught(name))}),
    )


def taught(name: str) -> Path:
    return HERE / ARMS[name].get("mixture", "skills.toml")


def folder(name: str, args: argparse.Namespace) -> Path:
    return args.out / name.replace(", ", "-")


def asked(task: str, model: str, args: argparse.Namespace) -> dict:
    """The scores of a model, called "model", on one task, beside those who do not look."""
    source = "homes-test" if task in TASKS else str(HERE / "skills.toml")
    out = args.out / "scores"
    how = Evaluation(task, source, model, out, args.scenes, progress=False)
    found = evaluate.named(how)
    rows = board.table(board.ask(how, source=found if task in TASKS else unseen(found)))
    return {name.replace(model, "model"): row for name, row in rows.items()}


def unseen(source: Source) -> Source:
    """The same about rooms of the test split."""
    arguments = {**source.origin["arguments"], "split": "test"}
    items, origin = Printed(**arguments), {**source.origin, "arguments": arguments}
    return replace(source, items=items, origin=origin)


def told(args: argparse.Namespace) -> dict:
    models = {"before": "tiny"} | {name: str(folder(name, args) / "model") for name in ARMS}
    scores = {
        name: {task: asked(task, model, args) for task in (*TASKS, "skills")}
        for name, model in models.items()
    }
    losses = {name: [r["loss"] for r in log.records(folder(name, args))][-1] for name in ARMS}
    arms = {name: {"steps": args.steps, **how, "loss": losses[name]} for name, how in ARMS.items()}
    return {"samples_per_step": 16, "scenes": args.scenes, "arms": arms, "scores": scores}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", nargs="+", default=list(ARMS), choices=ARMS)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--scenes", type=int, default=40)
    parser.add_argument("--save", type=Path)
    args = parser.parse_args()
    began = time.perf_counter()
    for name in args.only:
        sft.train(config(name, args), mixture.load(taught(name)), on_step=shown)
    if args.save:
        found = told(args)
        made = recorded.provenance(" ".join(["python", *sys.argv]), 0, time.perf_counter() - began)
        what = "the tiny model, taught general skills by all weights and by adapters: a toy"
        recorded.write(args.save, what, made, found)


def shown(record: dict) -> None:
    if record["step"] % 10 == 0:
        print(record["step"], round(record["loss"], 3), round(record["seconds"], 1), flush=True)


if __name__ == "__main__":
    main()
