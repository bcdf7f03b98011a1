"""The tiny model meets photographs: fine-tuned on rooms, on photographs, and on both.

VLM3_REAL=DATA VLM3_PAIRS=INDEX python book/record/photos.py OUT [--runs both ...] [--steps 600]
[--model tiny] [--workers 2] [--save FILE.json]

`photos.toml` has the sources, `photos-validation.toml` what is validated on, by source: rooms,
photographs of the same walk that no run learns from, and such that all learn from. Runs: rooms;
photos; both; photos-few and both-few, with a quarter of the photographs; all of the same number
of samples. OUT/NAME is a run, which the same command resumes; OUT/long is `both`, for --long steps.
--save: then test all of them on other photographs, beside those who do not look, and
write validation, passes and scores into FILE.json.
"""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from pkgutil import resolve_name

import graphed
import torch

from vlm3 import mixture
from vlm3.mixture import Mixture, Source
from vlm3.mixture.files import expanded
from vlm3.pages import recorded
from vlm3.scoring import board
from vlm3.scoring.evaluate import Evaluation
from vlm3.sources.curation.balanced import Balanced
from vlm3.sources.curation.pairs import Pairs
from vlm3.sources.reading import Reader
from vlm3.training import log, sft
from vlm3.training.config import PRESETS, Config
from vlm3.views import View

HERE = Path(__file__).parent
RUNS = ("both", "photos", "rooms", "both-few", "photos-few")
FEW = 4  # a quarter of the photographs
TESTS = {"office": ("depth", "correspondence", "pose"), "tables": ("depth", "objects")}
SHOWN = ("walk_depth", "walk_correspondence", "walk_pose", "tables_depth")
SLOTS = 16  # sources of one weight: a batch is a multiple, so that it has each as often


def mixed(name: str, seed: int = 0) -> Mixture:
    """The mixture of a run; sources are repeated until there are sixteen."""
    sources = mixture.load(HERE / "photos.toml").sources
    rooms = {k: v for k, v in sources.items() if k.startswith("rooms")}
    photos = {k: v for k, v in sources.items() if k not in rooms}
    if name.endswith("few"):
        photos = {k: fewer(v) for k, v in photos.items()}
    part = {"rooms": rooms, "photos": photos}.get(name.removesuffix("-few"), rooms | photos)
    for source in photos.values():
        keep(source)
    return Mixture(balanced(part), "uniform", seed)


class Kept(Sequence):
    """Views of a reader that stay in memory once they are read: they are few, and shown often."""

    def __init__(self, reader: Reader):
        self.reader, self.frames, self.views = reader, reader.frames, {}

    def __len__(self) -> int:
        return len(self.reader)

    def __getitem__(self, index: int) -> View:
        if index not in self.views:
            self.views[index] = self.reader[index]
        return self.views[index]


def keep(source: Source) -> None:
    """The views of a source, or of the reader that its items come from."""
    if isinstance(source.items, (Balanced, Pairs)):
        source.items.reader = Kept(source.items.reader)
    else:
        object.__setattr__(source, "items", Kept(source.items))


def fewer(source: Source) -> Source:
    """With the first quarter of its photographs, which is fewer places, too."""
    arguments = dict(source.origin["arguments"])
    inner = arguments.get("arguments", arguments)
    first, last = inner["frames"]
    some = {**inner, "frames": [first, first + (last - first) // FEW]}
    if inner is not arguments:
        some = {**arguments, "arguments": some}
    items = resolve_name(source.origin["from"])(**expanded(some))
    return replace(source, items=items, origin={**source.origin, "arguments": some})


def balanced(sources: dict[str, Source]) -> dict[str, Source]:
    """As many that ask short questions as others, eight of each: some more than once."""
    short = [k for k, v in sources.items() if v.task in ("depth", "correspondence")]
    others = [k for k in sources if k not in short]
    half = SLOTS // 2
    named = [(kind[k % len(kind)], k // len(kind)) for kind in (short, others) for k in range(half)]
    return {f"{name}_{again}" if again else name: sources[name] for name, again in named}


def config(name: str, args: argparse.Namespace) -> Config:
    steps = args.long if name == "long" else args.steps
    return replace(
        PRESETS["tiny"],
        out=args.out / name,
        model=args.model,
        mixture=str(HERE / "photos.toml"),
        validation=str(HERE / "photos-validation.toml"),
        steps=steps,
        batch=args.batch,
        tokens=1000 * args.batch,
        lr=args.lr,
        workers=args.workers,
        validate_every=max(1, steps // 6),
        validate_samples=args.validated,
        save_every=max(1, steps // 6),
        progress=False,
        seed=args.seed,
    )


def shown(record: dict) -> None:
    if "validation" in record:
        losses = {k: round(v, 3) for k, v in record["validation"]["losses"].items()}
        print(record["step"], round(record["loss"], 3), losses, record["seconds"], flush=True)


def run(name: str, args: argparse.Namespace) -> None:
    graphs = {"learner": graphed.Learner} if torch.cuda.is_available() else {}
    samples, how = mixed("both" if name == "long" else name, args.seed), config(name, args)
    check = mixture.load(HERE / "photos-validation.toml", args.seed + 1)
    began = time.monotonic()
    sft.train(how, samples, check, shown, **graphs)
    print(name, samples.passes(how.steps * how.batch), time.monotonic() - began, flush=True)


def told(name: str, args: argparse.Namespace) -> dict:
    """What a run was shown, how often, and its validation on the way."""
    samples, how = mixed("both" if name == "long" else name, args.seed), config(name, args)
    every = log.records(how.out)
    checks = [
        {"samples": record["step"] * how.batch, "losses": record["validation"]["losses"]}
        for record in every
        if "validation" in record
    ]
    often = {kind: passes(samples, kind, how.steps * how.batch) for kind in SHOWN}
    return {
        "samples": how.steps * how.batch,
        "shown": {kind: found for kind, found in often.items() if found},
        "seconds": round(sum(record["seconds"] for record in every)),
        "validation": checks,
    }


def passes(samples: Mixture, kind: str, count: int) -> dict[str, float]:
    """How many photographs, or pairs of them, sources of a kind have, and how often each is shown
    within so many samples."""
    names = [name for name in samples.names if name.startswith(kind)]
    if not names:
        return {}
    there = len(set(samples.sources[names[0]].items.frames))
    drawn = sum(samples.counts(count)[name] for name in names)
    return {"there": there, "passes": round(drawn / there, 2)}


def tested(args: argparse.Namespace) -> dict[str, dict[str, dict]]:
    """By test and task the rows of its table; the model before, and runs by their names."""
    names = {str(args.out / name / "model"): name for name in args.runs}
    names |= {f"shuffled:{folder}": f"shuffled:{name}" for folder, name in names.items()}
    found = {}
    for test, asked in TESTS.items():
        path = str(HERE / f"{test}.toml")
        for task in asked:
            source = mixture.load(path).sources[task]
            how = Evaluation(
                task, path, args.model, args.out / "scores", len(source.items), progress=False
            )
            rows = [*board.models(args.model, source), *names]
            outs = board.ask(how, rows, source)
            table = board.table({names.get(row, row): out for row, out in outs.items()})
            found.setdefault(test, {})[task] = table
    return found


def save(args: argparse.Namespace) -> None:
    runs = {name: told(name, args) for name in args.runs}
    results = {"runs": runs, "scores": tested(args)}
    named = ("steps", "batch", "lr", "validated", "seed")
    options = " ".join(f"--{name} {getattr(args, name):g}" for name in named)
    command = f"python book/record/photos.py OUT --runs {' '.join(args.runs)} {options}"
    made = recorded.provenance(command, args.seed, sum(run["seconds"] for run in runs.values()))
    what = "the tiny model fine-tuned on rooms, on photographs and on both, toy results"
    recorded.write(args.save, what, made, results)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--runs", nargs="+", default=RUNS, choices=(*RUNS, "long"))
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--long", type=int, default=2400)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--lr", type=float, default=7e-4)
    parser.add_argument("--validated", type=int, default=192)
    parser.add_argument("--workers", type=int, default=max(1, (os.cpu_count() or 2) - 1))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save", type=Path)
    args = parser.parse_args()
    sys.setswitchinterval(5e-4)  # putting batches together must not keep a GPU waiting
    for name in args.runs:
        run(name, args)
    if args.save:
        save(args)


if __name__ == "__main__":
    main()
