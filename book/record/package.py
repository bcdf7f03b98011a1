"""Make finished runs the packaged tiny model, with its card and the record of its training.

python book/record/package.py FOLDER

FOLDER has the runs that `tiny.toml` names: those of `pretrain.py`, which taught the eyes, then
those of `vlm3 train`, `teach.py` and `photos.py`, each of which began with what the one before
ended with. Runs that are recorded already are not read again, and need not be there.

Writes model.safetensors and taught.json into vlm3/qwen/checkpoints/tiny and
book/recorded/tiny_training.json. The card is written from that record and from
book/recorded/tiny_scores.json and those on photographs, so run it again after
`book/record/scores.py`.
"""

import argparse
import json
import shutil
from functools import partial
from pathlib import Path

import courses
import numpy as np
from safetensors import safe_open

from vlm3 import tasks
from vlm3.pages import recorded
from vlm3.training import log

ROOT = Path(__file__).resolve().parents[2]
TINY = ROOT / "vlm3" / "qwen" / "checkpoints" / "tiny"
RECORDED = ROOT / "book" / "recorded"
TRAINING = RECORDED / "tiny_training.json"
EVERY = 100  # steps whose losses are told as one
SEEN = 500  # steps of pre-training that are told as one
BOTH = {"validation": "losses", "shuffled": "shuffled"}  # losses of a record, and their name here
NOTHING = {"eyes": [], "stages": [], "samples": 0, "training": [], "validation": []}
HEADS = ("tower", "depth", "flow", "seen", "pose", "match")
# Tests, of each of which `scores.py` has a record.
PHOTOGRAPHS = ("office", "tables", "board", "ibims")
HEADLINES = {name: tasks.get(name).headline for name in courses.TASKS}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    before = json.loads(TRAINING.read_text())["results"] if TRAINING.exists() else NOTHING
    taught = courses.runs(folder, "words", len(before["stages"]))
    if taught:
        last = folder / taught[-1].told["folder"] / "model"
        for name in ("model.safetensors", "taught.json"):
            shutil.copyfile(last / name, TINY / name)
        write(folder, taught, before)
    (TINY / "README.md").write_text(card())


def write(folder: Path, taught: list[courses.Run], before: dict) -> None:
    """Write how the model was made: what was recorded before, and these runs."""
    opened = courses.runs(folder, "eyes", len(before["eyes"]))
    results = {
        "weights": _weights(),
        "eyes": before["eyes"] + [eyes(run) for run in opened],
        **words(taught, before),
    }
    stages = [*results["eyes"], *results["stages"]]
    made = recorded.provenance(
        "; ".join(stage["command"] for stage in stages), 0, sum(s["seconds"] for s in stages)
    )
    made["device"] = ", then ".join(dict.fromkeys(stage["device"] for stage in stages))
    recorded.write(TRAINING, "training of the packaged tiny model, toy results", made, results)


def eyes(run: courses.Run) -> dict:
    """A pre-training: how long it was, and its losses."""
    told, records = run.told, run.records
    parts = [records[k : k + SEEN] for k in range(0, len(records) - SEEN + 1, SEEN)]
    curve = [
        {"step": part[-1]["step"]}
        | {name: round(float(np.mean([r[name] for r in part])), 4) for name in HEADS}
        for part in parts
    ]
    shown, again = (told["scenes"] * n for n in (len(records), records[-1].get("again", 0)))
    names = ("command", "began", "note", "device", "mixture", "scenes")
    return {name: told[name] for name in names if name in told} | {
        "steps": len(records),
        "scenes_shown": shown,
        "scenes_new": shown - again,
        "seconds": round(run.seconds),
        "curve": curve,
    }


def words(runs: list[courses.Run], before: dict) -> dict:
    """Stages of fine-tuning and both curves, whose steps are counted over all stages."""
    training, unseen = before["training"].copy(), before["validation"].copy()
    steps, samples = sum(stage["steps"] for stage in before["stages"]), before["samples"]
    for run in runs:
        at = partial(_counted, steps=steps, samples=samples, batch=run.settings["batch"])
        training += [at(found) for found in log.means(run.records, EVERY)]
        unseen += [
            at({"step": r["step"]} | {to: of_tasks(r[of]["losses"]) for of, to in BOTH.items()})
            for r in run.records
            if "validation" in r
        ]
        steps, samples = steps + len(run.records), samples + run.samples
    stages = before["stages"] + [stage(run) for run in runs]
    return {"stages": stages, "samples": samples, "training": training, "validation": unseen}


def of_tasks(losses: dict[str, float]) -> dict[str, float]:
    """Validation losses on homes, which are called by their tasks where there is nothing else."""
    named = {task: (task, f"rooms_{task}") for task in courses.TASKS}
    return {task: losses[n] for task, names in named.items() for n in names if n in losses}


def _counted(found: dict, steps: int, samples: int, batch: int) -> dict:
    return found | {"step": steps + found["step"], "samples": samples + batch * found["step"]}


def stage(run: courses.Run) -> dict:
    """What a run was asked to do, and how far it went."""
    shares = {n: round(source["share"], 3) for n, source in run.settings["sources"].items()}
    names = {name: Path(run.settings[name]).stem for name in ("mixture", "model")}
    settings = {k: v for k, v in run.settings.items() if k != "sources"} | names
    return {k: run.told[k] for k in ("command", "note", "device") if k in run.told} | {
        "settings": settings,
        "steps": len(run.records),
        "shares": shares,
        "samples": run.samples,
        "seconds": round(run.seconds),
    }


def _weights() -> int:
    with safe_open(TINY / "model.safetensors", "np") as file:
        return sum(int(np.prod(file.get_slice(name).get_shape())) for name in file.keys())  # noqa: SIM118


def _eyes_row(number: int, stage: dict) -> str:
    end = stage["curve"][-1]
    of = f"`{stage.get('mixture', 'homes')}`"
    row = (number, of, f"{stage['steps']:,}", f"{stage['scenes_new']:,}", stage["device"])
    return f"| {' | '.join(map(str, row))} | {end['depth']:.3f} | {end['flow']:.3f} |"


def _words_row(number: int, stage: dict) -> str:
    s = stage["settings"]
    row = (number, f"`{s['mixture']}`", f"{stage['steps']:,}", s["batch"], s["lr"])
    row = (*row, s["weighting"], stage["device"])
    return f"| {' | '.join(map(str, row))} |"


def card() -> str:
    record = json.loads(TRAINING.read_text())
    scores = json.loads((RECORDED / "tiny_scores.json").read_text())
    found, samples = record["results"], max(scores["results"], key=int)
    eyes_rows = "\n".join(_eyes_row(*each) for each in enumerate(found["eyes"], 1))
    words_rows = "\n".join(_words_row(*each) for each in enumerate(found["stages"], 1))
    curve = "\n".join(_validated(point) for point in found["validation"])
    return f"""---
license: apache-2.0
library_name: transformers
pipeline_tag: image-text-to-text
---

# VLM3 tiny

A toy: a Qwen3-VL with {found["weights"] / 1e6:.1f} million weights, \
trained from scratch by `vlm3` on rendered homes
and on photographs of a few places, one model for depth, correspondence, pose and objects. \
It is there so that every line of the book
runs on a laptop. Of other places it knows little, and its answers about your photographs are \
those of a toy.

- Architecture: that of Qwen3-VL, unmodified; its sizes are in `config.json`. \
A token stands for one patch.
- Tokenizer: byte-level BPE, made from `corpus.txt.gz`, beside the weights; \
every digit is one token.
- Images: both sides multiples of 32, focal length unified to 100 px; \
places in hundredths (`taught.json`).

## Training

**First the eyes, by regression.** A released model brings eyes along that have seen the world; \
these were given theirs.
Pairs were shown to the tower and to the first layers of the language model, and linear \
heads, since thrown away, said the
depth of each pixel, where the other image shows the same, and how the camera had moved \
(`book/record/pretrain.py`):

| stage | pairs of | steps | scenes | device | depth, error of its logarithm \
| flow, error in sides |
|--:|---|--:|--:|---|--:|--:|
{eyes_rows}

The first stage went on from {found["eyes"][0]["began"]}. \
Those of `eyes`, rooms papered with photographs and photographs, came
after the words about homes, each before one of `papered`.

**Then words, as text and nothing else.** {found["samples"]:,} samples in stages of which each \
goes on with the model before it:

| stage | samples of | steps | batch | highest lr | what weighs the same | device |
|--:|---|--:|--:|--:|---|---|
{words_rows}

- Commands: `book/recorded/tiny_training.json`; {record["wall_time_s"] / 60:.0f} minutes in steps; \
{record["date"]}
- How the recipe was found, dead ends included: `book/recorded/pretraining_search.json` and \
`book/recorded/tiny_recipe.json`

Validation loss on unseen homes, nats per token, and behind it that of the same questions about
other images; samples are counted over all stages, each of which drew questions of its own and \
weighed them as it was taught:

| samples | {" | ".join(HEADLINES)} |
|--:|{"---|" * len(HEADLINES)}
{curve}

## Photographs that it learned from

Their terms allow research; they are not packaged, and no photograph of a test is among them.

| of | what | published by | terms |
|---|---|---|---|
| 280 of an office floor, one walk | depth, matches, pose | sample data of deep-video-mvs | MIT |
| 250 of a kitchen | depth (eyes), matches, pose | 7-Scenes, Microsoft | non-commercial research |
| 45 of tables | depth, objects | Object Segmentation Database, TU Wien | research |
| 50 of a desk | paper of rendered rooms | sample data of tsdf-fusion | BSD |

## Scores

On {samples} samples of `{scores["source"]}`, which it never saw \
(`python book/record/scores.py`); correspondence is a mean error in
pixels of a 560x420 frame, lower is better; elsewhere higher is better.

{_board(scores["results"][samples])}

## Scores on photographs

The end of the walk, which comes back to some of its rooms, other arrangements on tables, \
a board of markers, and iBims-1, which
has other buildings; who does not look
learned from the very questions that are asked.

{_board(_on_photographs())}
"""


def _on_photographs() -> dict:
    """What `_board` takes, of all tests on photographs for which there is a record."""
    found = {}
    for test in PHOTOGRAPHS:
        path = RECORDED / f"tiny_scores_{test}.json"
        (by_task,) = json.loads(path.read_text())["results"].values()
        found |= {f"{test}, {task}": rows for task, rows in by_task.items()}
    return found


def _validated(point: dict) -> str:
    cells = (f"{point['losses'][task]:.3f} ({point['shuffled'][task]:.3f})" for task in HEADLINES)
    return f"| {point['samples']:,} | " + " | ".join(cells) + " |"


def _board(scores: dict) -> str:
    """scores: by task, or by a test and its task, the rows of a table."""
    names = list(dict.fromkeys(name for found in scores.values() for name in found))
    told = {what: HEADLINES[what.rpartition(", ")[2]] for what in scores}
    rows = [
        f"| {what}, {score} | "
        + " | ".join(f"{scores[what][n][score]:.3f}" if n in scores[what] else "" for n in names)
        + " |"
        for what, score in told.items()
    ]
    return "\n".join(
        [f"| task, score | {' | '.join(names)} |", f"|---|{'--:|' * len(names)}", *rows]
    )


if __name__ == "__main__":
    main()
