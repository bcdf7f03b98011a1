"""Make a finished run the packaged tiny model, with its card and the record of its training.

python book/record/package.py RUN [RUN ...] --wall-time-s SECONDS [--further] [--device TEXT]
[--processes N]

Several runs are stages, each of which began with the model of the one before; with --further, the
first one began with the packaged model, whose recorded stages and time are kept. Writes
model.safetensors and taught.json into vlm3/qwen/checkpoints/tiny and
book/recorded/tiny_training.json. The card is written from that record and from
book/recorded/tiny_scores.json, so run it again after `book/record/scores.py`.
"""

import argparse
import json
import shlex
import shutil
from pathlib import Path

import numpy as np
from safetensors import safe_open

from vlm3 import tasks
from vlm3.pages import recorded
from vlm3.training import log
from vlm3.training.config import PRESETS

ROOT = Path(__file__).resolve().parents[2]
TINY = ROOT / "vlm3" / "qwen" / "checkpoints" / "tiny"
RECORDED = ROOT / "book" / "recorded"
TRAINING = RECORDED / "tiny_training.json"
NOTHING = {
    "stages": [],
    "training": [],
    "validation": [],
    "seconds_in_steps": 0,
}  # of a model not yet trained
EVERY = 100  # steps whose losses are told as one
TASKS = ("depth", "correspondence", "pose", "objects")
HEADLINES = {name: tasks.get(name).headline for name in TASKS}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--wall-time-s", type=float, required=True)
    parser.add_argument("--further", action="store_true", help="keep the stages recorded so far")
    parser.add_argument("--device", default="2 CPU cores, x86_64")
    parser.add_argument("--processes", type=int, default=2)
    args = parser.parse_args()
    before = (
        json.loads(TRAINING.read_text())
        if args.further
        else {"wall_time_s": 0.0, "results": NOTHING}
    )
    for name in ("model.safetensors", "taught.json"):
        shutil.copyfile(args.runs[-1] / "model" / name, TINY / name)
    known = before["results"]["stages"]
    stages = known + [
        stage(len(known) + n, run, args.processes) for n, run in enumerate(args.runs, 1)
    ]
    command = "; ".join(found["command"] for found in stages)
    seconds = before["wall_time_s"] + args.wall_time_s
    told = recorded.provenance(command, stages[0]["settings"]["seed"], seconds) | {
        "device": args.device
    }
    results = trained(before["results"], stages, [log.records(run) for run in args.runs])
    recorded.write(TRAINING, "training of the packaged tiny model, toy results", told, results)
    (TINY / "README.md").write_text(card())


def stage(number: int, run: Path, processes: int) -> dict:
    """What a run was asked to do, and how far it went."""
    config, steps = json.loads((run / "config.json").read_text()), len(log.records(run))
    sources = config.pop("sources")
    config.pop("stream_seed", None)  # that of the settings
    if number > 1:
        config["model"] = f"RUN{number - 1}/model"
    changed = [
        word
        for name, value in config.items()
        for word in (f"--{name.replace('_', '-')}", str(value))
        if value != getattr(PRESETS["tiny"], name) and not isinstance(value, list)
    ]
    launch = ["torchrun", "--nproc-per-node", str(processes), "-m", "vlm3", "train", "tiny"]
    return {
        "command": shlex.join([*launch, *changed, "--out", f"RUN{number}"]),
        "settings": config,
        "steps": steps,
        "shares": {name: round(source["share"], 3) for name, source in sources.items()},
        "samples": steps * config["batch"],
    }


def trained(before: dict, stages: list[dict], logs: list[list[dict]]) -> dict:
    """Stages, size and both curves, whose steps are counted over all stages."""
    known = sum(each["steps"] for each in before["stages"])
    firsts = np.cumsum([known, *map(len, logs)]).tolist()
    records = [
        r | {"step": r["step"] + first}
        for first, log in zip(firsts, logs, strict=False)
        for r in log
    ]
    unseen = [{"step": r["step"], **r["validation"]} for r in records if "validation" in r]
    return {
        "stages": stages,
        "samples": sum(s["samples"] for s in stages),
        "weights": _weights(),
        "seconds_in_steps": before["seconds_in_steps"] + round(sum(r["seconds"] for r in records)),
        "training": before["training"] + log.means(records, EVERY),
        "validation": before["validation"] + unseen,
    }


def _weights() -> int:
    with safe_open(TINY / "model.safetensors", "np") as file:
        return sum(int(np.prod(file.get_slice(name).get_shape())) for name in file.keys())  # noqa: SIM118


def _row(number: int, stage: dict) -> str:
    s = stage["settings"]
    shares = ", ".join(f"{name} {100 * share:.0f} %" for name, share in stage["shares"].items())
    steps = f"{stage['steps']} of {s['steps']}" if stage["steps"] < s["steps"] else s["steps"]
    row = (number, f"`{s['mixture']}`: {shares}", steps, s["batch"], s["lr"], s["seed"])
    return f"| {' | '.join(map(str, row))} |"


def card() -> str:
    record = json.loads(TRAINING.read_text())
    scores = json.loads((RECORDED / "tiny_scores.json").read_text())["results"]
    found, samples = record["results"], max(scores, key=int)
    settings = found["stages"][-1]["settings"]
    stages = "\n".join(_row(number, each) for number, each in enumerate(found["stages"], 1))
    curve = "\n".join(
        f"| {p['step']} | " + " | ".join(f"{p['losses'][t]:.3f}" for t in HEADLINES) + " |"
        for p in found["validation"]
    )
    names = list(dict.fromkeys(name for found in scores[samples].values() for name in found))
    board = "\n".join(
        f"| {t}, {s} | "
        + " | ".join(
            f"{scores[samples][t][n][s]:.3f}" if n in scores[samples][t] else "" for n in names
        )
        + " |"
        for t, s in HEADLINES.items()
    )
    return f"""---
license: apache-2.0
library_name: transformers
pipeline_tag: image-text-to-text
---

# VLM3 tiny

A toy: a Qwen3-VL with {found["weights"] / 1e6:.1f} million weights, \
trained from scratch by `vlm3` on toy rooms,
one model for depth, correspondence, pose and objects. It is there so that every line \
of the book runs on a laptop.
It has never seen a photograph, and its answers about yours are those of a toy.

- Architecture: that of Qwen3-VL, unmodified; its sizes are in `config.json`.
- Tokenizer: byte-level BPE, made from `corpus.txt.gz`, beside the weights; \
every digit is one token.
- Images: both sides multiples of 32, focal length unified to 100 px; \
places in hundredths (`taught.json`).

## Training

{found["samples"]:,} samples of toy rooms and nothing else, in stages of which each \
goes on with the model before it:

| stage | samples of | steps | batch | highest lr | seed |
|--:|---|--:|--:|--:|--:|
{stages}

- Command of a stage: `book/recorded/tiny_training.json`; \
other settings are those of the preset `tiny`
- Optimiser: {settings["optimizer"]}
- Device: {record["device"]}; {record["wall_time_s"] / 60:.0f} minutes; {record["date"]}
- How the recipe was found, dead ends included: `book/recorded/tiny_recipe.json`

Validation loss on {settings["validate_samples"]} unseen rooms, nats per token, \
each answer weighing the same; steps are
counted over all stages. The rooms are shared out among the tasks as a stage's samples are, \
so compare within a stage:

| step | {" | ".join(HEADLINES)} |
|---|{"--:|" * len(HEADLINES)}
{curve}

## Scores

On {samples} samples of the test split (`python book/record/scores.py`); \
correspondence is a mean error in pixels of a
560x420 frame, lower is better; elsewhere higher is better.

| task, score | {" | ".join(names)} |
|---|{"--:|" * len(names)}
{board}
"""


if __name__ == "__main__":
    main()
