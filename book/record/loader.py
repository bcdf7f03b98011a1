"""What preparing samples costs a run: memory of all its processes, and for how long the network
waits.

python book/record/loader.py [--samples 96] [--compute-s 1] [--save FILE]

For each preset, with its number of workers and its token budget: noise in the place of photographs
of 1216x928 pixels, with ten questions each. In the place of the network stands somebody who takes
`compute_s` seconds for each batch, so that memory and waiting are those of the loader alone. Memory
is what all processes hold together (PSS, which counts a page of three processes a third each), and
what lies in /dev/shm.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path

import psutil

from vlm3 import parallel
from vlm3.pages import recorded
from vlm3.qwen.model import new
from vlm3.training import bench
from vlm3.training.config import PRESETS
from vlm3.training.loader import Feed, Share, Stop

SIZE, QUESTIONS = (1216, 928), 10
VIEWS = {"depth-4b": 1, "objects-4b": 1, "correspondence-4b": 2, "pose-4b": 2}


def memory_gb() -> dict[str, float]:
    """Of this process and those that it started, and of shared memory."""
    mine = psutil.Process()
    held = [process.memory_full_info().pss for process in (mine, *mine.children(recursive=True))]
    return {"processes_gb": sum(held) / 1e9, "shm_gb": psutil.disk_usage("/dev/shm").used / 1e9}


def fed(share: Share, compute_s: float) -> dict:
    config, most, batches, began = share.config, memory_gb(), 0, time.monotonic()
    with Feed(share, range(config.steps), config.workers, Stop()) as feed:
        first_s = None
        for _ in range(config.steps):
            for _ in feed.step():
                first_s = feed.wait_s if first_s is None else first_s
                time.sleep(compute_s)
                batches += 1
                most = {name: max(most[name], now) for name, now in memory_gb().items()}
        seconds = time.monotonic() - began
    waited = feed.wait_s - first_s
    return most | {
        "samples_per_s": config.batch * config.steps / seconds,
        "batches": batches,
        "first_wait_s": first_s,
        "wait_share": waited / (batches * compute_s + waited),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=96)
    parser.add_argument("--compute-s", type=float, default=1.0)
    parser.add_argument("--save", type=Path)
    args = parser.parse_args()
    parallel.place()
    began, results = time.monotonic(), {}
    for name, views in VIEWS.items():
        config = replace(PRESETS[name], batch=args.samples, steps=1)
        task = "correspondence" if views == 2 else "depth"
        share = Share(bench._mixture(task, SIZE, QUESTIONS), config, new("tiny").tokenizer)
        results[name] = fed(share, args.compute_s)
        print(name, {key: round(value, 4) for key, value in results[name].items()}, flush=True)
    if args.save:
        command = (
            f"python book/record/loader.py --samples {args.samples} --compute-s {args.compute_s:g}"
        )
        told = recorded.provenance(command, 0, time.monotonic() - began, "cpu")
        recorded.write(
            args.save, "memory and waiting of the loader at 1216x928 pixels", told, results
        )


if __name__ == "__main__":
    main()
