"""How many samples of a mixture one core makes in a second, and where the time goes.

python tests/bench/samples.py [--mixture rooms] [--samples 200]

One JSON line for each source: milliseconds of one core per sample, in all and for each part:
`item` is the scene with its pictures, `unify` the common focal length, `ask` the questions, `pack`
tokens and positions. The last line is the mixture in its shares, and what 16 cores would make of
it, scaled from one.
"""

import argparse
import json
import platform
import time
from contextlib import suppress

import numpy as np
import torch

from vlm3 import mixture
from vlm3.focal import unify_focal
from vlm3.mixture import Source
from vlm3.qwen import packing, tokenizer
from vlm3.views import NothingToAsk, Sample

CORES = 16


def measured(source: Source, samples: int, known) -> dict[str, float]:
    """Milliseconds per sample, by part."""
    parts: dict[str, float] = dict.fromkeys(("item", "unify", "ask", "pack"), 0.0)
    for index in range(-3, samples):
        if not index:  # the first ones warm up
            parts = dict.fromkeys(parts, 0.0)
        marks, rng = [time.process_time()], np.random.default_rng(index + 3)
        views = source.items[index + 3]
        marks.append(time.process_time())
        views = tuple(unify_focal(view, source.focal_px) for view in views)
        marks.append(time.process_time())
        with suppress(NothingToAsk):
            task = source.bound.in_one_wording(rng) if source.one_wording else source.bound
            qas = tuple(task.ask(views, source.questions, rng, **source.options))
            marks.append(time.process_time())
            packing.pack(Sample(views, qas, source.task, ""), known)
            marks.append(time.process_time())
        for part, seconds in zip(parts, np.diff(marks), strict=False):
            parts[part] += 1000 * seconds
    return {part: spent / samples for part, spent in parts.items()}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--mixture", default="rooms")
    parser.add_argument("--samples", type=int, default=200)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    stream, known, total = mixture.load(asked.mixture), tokenizer.load(), 0.0
    about = {"mixture": asked.mixture, "samples": asked.samples, "machine": platform.machine()}
    for (name, source), share in zip(stream.sources.items(), stream.shares, strict=True):
        parts = measured(source, asked.samples, known)
        total += share * sum(parts.values())
        told = {part: round(spent, 2) for part, spent in parts.items()}
        print(json.dumps({"source": name, "ms": sum(parts.values())} | told | about), flush=True)
    rate = 1000 / total
    print(json.dumps({"ms": total, "per_s": rate, f"on_{CORES}_cores": CORES * rate} | about))


if __name__ == "__main__":
    main()
