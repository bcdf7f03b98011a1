"""How the packaged model came to look: its losses with its images and with others, and what it
could do at some stages.

python book/record/learning.py FOLDER [--stages SAMPLES=MODEL ...] [--scenes 60] [--few 60]
[--scene 14] [--out DIR] [--save FILE.json]

FOLDER has the runs that `tiny.toml` names; samples are counted over all that taught words.
--stages are models in hub format after so many samples, as `stages.py` writes them; the model of
the last run is the last stage in any case.

Stages are asked about --scenes of homes-validation, those below 5,000 samples about --few, since
what they say may be long nonsense, and map the depth of --scene of the test split. Predictions go
to DIR, so a run that was stopped goes on.
"""

import argparse
import json
import re
import shlex
import sys
import time
from dataclasses import fields
from itertools import pairwise
from pathlib import Path

import courses
import numpy as np
import torch
from accelerate import PartialState

from vlm3 import disk, mixture
from vlm3.pages import recorded
from vlm3.qwen import model
from vlm3.scoring import bootstrap
from vlm3.scoring.evaluate import Evaluation, evaluate
from vlm3.sources.rooms import Rooms
from vlm3.terminal import ask
from vlm3.training import sft
from vlm3.training.config import Config
from vlm3.training.loader import Share, Stop

BLIND = {  # a rule of each task that needs no image
    "depth": "place",
    "correspondence": "same_place",
    "pose": "mean_motion",
    "objects": "boxes",
}
ASKED = "homes-validation"
POINTS = 40  # of a curve of training losses, closer together where a run begins
EARLY = 5_000  # samples, before which answers may be no answers
STRIDE = 4  # pixels between those of a depth map
TOLD = ("mixture", "validation", "batch", "lr", "optimizer", "warmup", "weighting", "precision")
WHAT = "how the tiny model came to look, by losses, stages and depth maps, toy results"


def main() -> None:
    args = arguments()
    began, taught = time.perf_counter(), courses.runs(args.folder, "words")
    last = args.folder / taught[-1].told["folder"] / "model"
    stages = dict(map(named, args.stages)) | {sum(run.samples for run in taught): last}
    results = {
        "eyes": eyes(courses.runs(args.folder, "eyes")),
        **course(taught),
        "asked": {"mixture": ASKED, "scenes": args.scenes},
        "scene": {"collection": "homes", "split": "test", "item": args.scene, "stride": STRIDE},
        "blind": {task: blind(task, args) for task in courses.TASKS},
        "stages": [stage(*each, taught[0].settings, args) for each in sorted(stages.items())],
    }
    if args.save:
        seed, took_s = taught[0].settings["seed"], time.perf_counter() - began
        told = recorded.provenance(command(sys.argv), seed, took_s)
        recorded.write(args.save, WHAT, told, results)


def command(words: list[str]) -> str:
    """The call, where folders elsewhere go by their names."""
    return shlex.join(["python", *(re.sub(r"(^|=)/.*/", r"\1", word) for word in words)])


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--stages", nargs="*", default=[], metavar="SAMPLES=MODEL")
    parser.add_argument("--scenes", type=int, default=60)
    parser.add_argument("--few", type=int, default=60)
    parser.add_argument("--scene", type=int, default=14)
    parser.add_argument("--out", type=Path, default=Path("_build/learning"))
    parser.add_argument("--save", type=Path)
    return parser.parse_args()


def named(words: str) -> tuple[int, Path]:
    """A stage as it is given."""
    samples, _, folder = words.partition("=")
    return int(samples), Path(folder)


def eyes(runs: list[courses.Run]) -> dict[str, object]:
    """How the pre-training went: its runs, and the means of its losses over parts of them."""
    found: dict[str, list] = {"runs": [], "training": []}
    before = 0
    for run in runs:
        names = [name for name in run.records[0] if name not in ("step", "seconds", "again")]
        found["runs"].append({"steps": len(run.records), **took(run)})
        found["training"] += [
            {"step": before + part[-1]["step"] - run.records[0]["step"] + 1}
            | {"losses": _means([{name: record[name] for name in names} for record in part])}
            for part in parts(run.records)
        ]
        before += len(run.records)
    return {"began": runs[0].told.get("began", ""), **found}


def took(run: courses.Run) -> dict:
    """How long steps took, and where."""
    return {"seconds": run.seconds, "device": run.told["device"]}


def parts(records: list[dict]) -> list[list[dict]]:
    """A log in parts that begin at evenly spaced logarithms of the step."""
    edges = np.unique(np.geomspace(1, len(records) + 1, POINTS).round().astype(int))
    return [records[first - 1 : after - 1] for first, after in pairwise(edges)]


def course(runs: list[courses.Run]) -> dict[str, list]:
    """What runs were asked to do, and their losses against the samples of all: of what they
    learned from, and, with its images and with others, of what they did not."""
    found: dict[str, list] = {"runs": [], "training": [], "watched": []}
    before = 0
    for run in runs:
        batch, after = run.settings["batch"], before + run.samples
        what = {"from": before, "to": after, "steps": len(run.records)}
        what |= took(run) | {name: run.settings[name] for name in TOLD}
        what["mixture"] = Path(what["mixture"]).stem  # of one's own, wherever it lies
        found["runs"].append(what)
        found["training"] += [
            {"samples": before + batch * part[-1]["step"]}
            | {"losses": _means([record["losses"] for record in part])}
            for part in parts(run.records)
        ]
        found["watched"] += [
            watched(before + batch * record["step"], record["validation"], record["shuffled"])
            for record in run.records
            if "shuffled" in record
        ]
        before = after
    return found


def watched(samples: int, true: dict, other: dict) -> dict:
    """Losses of unseen samples, with their images and with those of other samples."""
    losses = {
        name: {task: round(value, 4) for task, value in sorted(of["losses"].items())}
        for name, of in (("images", true), ("others", other))
    }
    return {"samples": samples} | losses


def _means(losses: list[dict[str, float]]) -> dict[str, float]:
    names = sorted({name for each in losses for name in each})
    found = {name: [each[name] for each in losses if name in each] for name in names}
    return {name: round(float(np.mean(values)), 4) for name, values in found.items()}


def blind(task: str, args: argparse.Namespace) -> dict:
    """The scores of one who answers without looking."""
    name = BLIND[task]
    config = Evaluation(task, ASKED, name, args.out / name, args.scenes, progress=False)
    return {"who": name, "scores": known(evaluate(config))}


def known(scores: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in scores.items() if value == value}


def stage(samples: int, folder: Path, settings: dict, args: argparse.Namespace) -> dict:
    """What a model could do after so many samples; settings: of the run that validates it."""
    vlm = model.load(folder, dtype=torch.float32)
    scenes = args.few if samples < EARLY else args.scenes
    found = {"samples": samples, "scenes": scenes, "watched": looks(vlm, samples, settings)}
    found |= {"scores": {}, "interval": {}}
    for task in courses.TASKS:
        out = args.out / f"{samples}-{task}"
        config = Evaluation(task, ASKED, str(folder), out, scenes, progress=False)
        found["scores"][task] = known(evaluate(config))
        _, *limits = bootstrap.interval(out)  # of the headline, 95 per cent
        found["interval"][task] = [round(v, 4) if v == v else None for v in limits]
        print(samples, task, found["scores"][task], flush=True)
    path = args.out / f"{samples}-map-{args.scene}.json"
    found["depth_m"] = mapped(vlm, args.scene, path, found["scores"]["depth"]["parsed"] > 0)
    return found


def mapped(vlm: model.VLM, scene: int, path: Path, lengths: bool) -> list[list[float | None]]:
    """The depth map that a model writes of a scene, or wrote, where it is on disk. One that gave no
    length to any question is not asked, since its answers take long."""
    if not path.exists():
        ((view,),) = Rooms("homes", "test", views=1).batch([scene])
        blank = np.full(ask.grid(view.size, STRIDE).shape[:2], np.nan)
        metres = ask.depth_map(vlm, view, STRIDE, progress=False) if lengths else blank
        rows = [[round(m, 2) if m == m else None for m in row] for row in metres.tolist()]
        disk.write(path, json.dumps(rows))
    return json.loads(path.read_text())


def looks(vlm: model.VLM, samples: int, settings: dict) -> dict:
    """The losses that a validation of a run with these settings would have logged here."""
    given = {field.name for field in fields(Config)}
    asked = {name: value for name, value in settings.items() if name in given}
    config = Config(**asked | {"freeze": (), "compiled": False, "lora": 0, "peak_tflops": 1.0})
    unseen = mixture.load(config.validation, config.seed)
    learner = sft.Learner(config, sft.prepared(vlm, config), PartialState(), list(courses.TASKS))
    share = Share(unseen, config, vlm.tokenizer, 0, 1, vlm.merge)
    both = [
        learner.validate(share.of(each, config.validate_samples), Stop())
        for each in (unseen, unseen.shuffled())
    ]
    vlm.net.eval()
    return watched(samples, *both)


if __name__ == "__main__":
    main()
