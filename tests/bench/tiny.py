"""What the packaged tiny model answers on toy rooms that it never saw, beside two predictors that see nothing.

python tests/bench/tiny.py [--model tiny] [--collection large] [--split test] [--scenes 200] [--save FILE.json]

`constant` gives each kind of question the middle or the most frequent answer of the training split; `untrained` is the
same network with the random weights that training began with.
"""

import argparse
import json
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import torch

from vlm3 import bench, mixture, model, tasks
from vlm3.answer import answer_all
from vlm3.mixture import Source
from vlm3.sources.rooms import Rooms
from vlm3.views import NothingToAsk, Sample

QUESTIONS, AT_ONCE = 8, 16
TAUGHT = mixture.read("rooms").taught
HEADLINES = {"depth": ("delta_1", "abs_rel"), "correspondence": ("epe_px_all", "pck_10"),
             "pose": ("auc_30", "rotation_error_deg", "direction_error_deg"),
             "objects": ("qualitative", "quantitative")}  # fmt: skip


def samples(task: str, collection: str, split: str, scenes: int) -> list[Sample]:
    views = 2 if task in ("correspondence", "pose") else 1
    source = Source(Rooms(collection, split, views), task, QUESTIONS, **TAUGHT[task])
    found = []
    for i in range(min(scenes, len(source.items))):
        try:
            found.append(source.sample(i, collection, np.random.default_rng([1, i])))
        except NothingToAsk:
            continue
    return found


def scaled(task: str) -> dict:
    """What parsing and scoring a task need to know: places are counted in the units of the text."""
    return {"scale": TAUGHT[task]["templates"]["scale"]} if task == "correspondence" else {}


def value(task: str, qa, text: str):
    module = tasks.get(task)
    return module.read(qa, text) if task == "objects" else module.parse(text, **scaled(task))


def said(vlm: model.VLM, asked: list[Sample]) -> list[str]:
    texts = []
    for first in range(0, len(asked), AT_ONCE):
        texts += [a.text for found in answer_all(vlm, asked[first : first + AT_ONCE]) for a in found]
    return texts


def kind(task: str, truth) -> str:
    return str(truth.category) if task == "objects" else "-".join(sorted(truth)) if task == "pose" else task


def middle(task: str, truths: list):
    """The one answer that suits many: the most frequent word, else the middle of each number."""
    if task == "objects" and isinstance(truths[0].value, (bool, str)):
        return Counter(t.value for t in truths).most_common(1)[0][0]
    if task == "objects":
        return type(truths[0].value)(np.median([t.value for t in truths]))
    if task == "pose":
        fields = set(truths[0]) - {"pair"}
        found = {f: np.median([t[f] for t in truths], axis=0).tolist() for f in fields}
        return {f: (0.0, 0.0, 1.0) if f == "direction" else v for f, v in found.items()}
    return tuple(np.median(truths, axis=0)) if task == "correspondence" else float(np.median(truths))


def constants(task: str, collection: str) -> dict:
    truths = defaultdict(list)
    for sample in samples(task, collection, "train", 300):
        for qa in sample.qas:
            truths[kind(task, qa.truth)].append(qa.truth)
    return {name: middle(task, found) for name, found in truths.items()}


def scores(task: str, values: list, asked: list[Sample]) -> dict[str, float]:
    truths = [qa.truth for sample in asked for qa in sample.qas]
    found = tasks.get(task).score(list(zip(values, truths, strict=True)), **scaled(task))
    return {name: found[name] for name in (*HEADLINES[task], "parsed")} | {"questions": len(truths)}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--collection", default="large")
    parser.add_argument("--split", default="test")
    parser.add_argument("--scenes", type=int, default=200)
    parser.add_argument("--save", type=Path)
    args = parser.parse_args()
    began, results = time.perf_counter(), {}
    networks = {"trained": model.load(args.model, dtype=torch.float32), "untrained": model.new("tiny")}
    for task in tasks.NAMES:
        asked = samples(task, args.collection, args.split, args.scenes)
        qas = [qa for sample in asked for qa in sample.qas]
        fixed = constants(task, args.collection)
        results[task] = {"constant": scores(task, [fixed[kind(task, qa.truth)] for qa in qas], asked)}
        for name, vlm in networks.items():
            texts = said(vlm, asked)
            values = [value(task, qa, text) for qa, text in zip(qas, texts, strict=True)]
            results[task][name] = scores(task, values, asked)
        print(json.dumps({task: results[task]}), flush=True)
    if args.save:
        what = f"the tiny model on the {args.split} split of {args.collection} rooms, toy results"
        told = bench.provenance(" ".join(["python", *sys.argv]), 1, time.perf_counter() - began)
        bench.write(args.save, what, told, results)


if __name__ == "__main__":
    main()
