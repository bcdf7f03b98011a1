"""The tiny model taught within some minutes, on one machine: its eyes by regression, then words.

python book/record/teach.py OUT --minutes 30 [--share 0.45] [--after RUN] [--workers 15]

OUT/eyes is what `pretrain.py` leaves, going on from RUN where one is given; OUT/words is the run of
`vlm3 train` that begins with it, and OUT/stages has the model after some numbers of samples.
--share: of the time, for the eyes. The pace of both is measured first, so that learning rates end
at zero when the time does.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import graphed
import numpy as np
import stages
import torch

from vlm3 import mixture
from vlm3.training import checkpoints, log, sft
from vlm3.training.config import PRESETS, Config

HERE = Path(__file__).parent
TURN_S = 5e-4  # of threads: putting batches together must not keep a GPU waiting
FOREVER = 10_000_000
START_S = 10  # until a process has imported what it needs
SHOWN = (1_000, 10_000, 100_000)  # samples of words after which the model is kept


@dataclass(frozen=True)
class Amounts:
    """Of a machine: scenes and samples of a step, steps at most, and those that tell the pace."""

    scenes: int = 32
    eyes: int = FOREVER
    samples: int = 64
    words: int = FOREVER
    probe: int = 60
    validated: int = 32
    workers: int = max(1, (os.cpu_count() or 2) - 1)
    peak_tflops: float = 0.0


def eyes(out: Path, seconds: float, after: Path | None, amounts: Amounts) -> Path:
    """Pre-training; the folder of its model."""
    begin = ["--after", after] if after else ["--model", "random:tiny"]
    told = {
        "minutes": (seconds - START_S) / 60,
        "batch": amounts.scenes,
        "steps": amounts.eyes,
        "flat": 0.5,
    }
    told |= {"workers": amounts.workers, "save-every": 1000, "seed": 7}
    flags = [str(part) for name, value in told.items() for part in (f"--{name}", value)]
    command = [sys.executable, HERE / "pretrain.py", out, *begin, *flags]
    paths = os.pathsep.join(filter(None, sys.path))
    ended = subprocess.run(command, env=os.environ | {"PYTHONPATH": paths}).returncode
    if not (out / "model").exists():
        raise RuntimeError(f"the pre-training ended with {ended} and without a model")
    return out / "model"


def words(
    out: Path, start: Path | str, seconds: float, amounts: Amounts, tell: Callable[[dict], None]
) -> None:
    """Fine-tuning on all four tasks, for as many steps as the time allows."""
    began = time.monotonic()
    sys.setswitchinterval(TURN_S)
    config = _config(start, amounts)
    probe = replace(config, steps=amounts.probe, out=out.with_name("probe"), validate_every=0)
    how = {"learner": graphed.Learner} if torch.cuda.is_available() else {}
    sft.train(probe, **how)
    pace = float(np.median([r["seconds"] for r in log.records(probe.out)[-amounts.probe // 2 :]]))
    left = seconds - 2 * (time.monotonic() - began - pace * amounts.probe)
    steps = max(amounts.probe, min(amounts.words, int(0.78 * left / pace)))
    tell({"rung": "pace", "step_s": pace})
    config = replace(config, out=out, steps=steps, validate_every=max(1, steps // 10))
    first, often = (samples // config.batch for samples in SHOWN[:2])
    kept = first, often, 10 * often
    with suppress(_Enough):
        sft.train(replace(config, save_every=first), on_step=_until(first), **how)
    try:
        sft.train(replace(config, save_every=often), **how)
    except SystemExit:  # asked to end: saved, but its learning rate has not reached zero
        finish(config)
        tell({"rung": "cut short", "steps": len(log.records(out))})
    for samples, step in zip(SHOWN, kept, strict=True):
        with suppress(FileNotFoundError):
            stages.save(out, step, out.with_name("stages") / str(samples))


def _config(start: Path | str, amounts: Amounts) -> Config:
    return replace(
        PRESETS["tiny"],
        model=str(start),
        mixture="homes",
        validation="homes-validation",
        validate_samples=amounts.validated,
        lr=1.5e-3,
        batch=amounts.samples,
        tokens=1000 * amounts.samples,
        workers=amounts.workers,
        keep=FOREVER,
        progress=False,
        peak_tflops=amounts.peak_tflops,
    )


class _Enough(Exception):
    pass


def _until(step: int) -> Callable[[dict], None]:
    """Ends a run a step later than that, when its checkpoint is there."""

    def look(record: dict) -> None:
        if record["step"] > step:
            raise _Enough

    return look


def finish(config: Config) -> None:
    """The finished model of a run that was stopped, from its last checkpoint."""
    taught = mixture.load(config.mixture, config.seed).taught
    vlm = replace(sft.start(config), taught=taught)
    net = sft.prepared(vlm, config)
    run = checkpoints.Run(config.out, json.loads((config.out / "config.json").read_text()))
    run.resume(net, sft.optimizers(net, config))
    run.finish(vlm)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--share", type=float, default=0.45)
    parser.add_argument("--after", type=Path)
    parser.add_argument("--workers", type=int, default=Amounts.workers)
    args = parser.parse_args()
    amounts, began = Amounts(workers=args.workers), time.monotonic()
    start = eyes(args.out / "eyes", 60 * args.share * args.minutes, args.after, amounts)
    left = 60 * args.minutes - (time.monotonic() - began)
    words(args.out / "words", start, left, amounts, lambda found: print(found, flush=True))


if __name__ == "__main__":
    main()
