"""How many toy views a second `Rooms` makes: by image size, number of solids, views per call, and
device.

python tests/bench/rooms.py [--device cpu] [--runs 5]

One JSON line per case: `render` casts the rays of ready-made scenes, `batch` is everything from the
scene number to the views with their boxes. The time is the median of the runs. On the CPU a process
uses one core; the last line is that of two processes.
"""

import argparse
import json
import platform
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from multiprocessing import get_context

import numpy as np
import torch

import vlm3
from vlm3.sources.rooms import COLLECTIONS, Lens, Rooms
from vlm3.sources.rooms.raycast import render

SIZES = ((96, 64), (128, 96), (192, 128), (256, 192), (640, 480))
SOLIDS = (0, 3, 6, 12)
VIEWS = (2, 16, 64, 256)


def seconds(call: Callable[[], object], runs: int) -> float:
    call()
    taken = []
    for _ in range(runs):
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return float(np.median(taken))


def measure(width: int, height: int, solids: int, views: int, device: str, runs: int) -> dict:
    """Two views each of scenes with exactly that many solids, in the mix of shapes of the medium
    collection."""
    collection = replace(
        COLLECTIONS["medium"], solids=(solids, solids), side_m=(6.0, 8.0), scenes=100_000
    )
    rooms = Rooms(collection, lenses=(Lens(width, height, (65, 65)),), device=device)
    full = (i for i in range(len(rooms)) if len(rooms.scene(i)[0].solids) == solids)
    wanted = list(islice(full, views // 2))
    ready, _ = rooms.shots(wanted)
    case = {"width": width, "height": height, "solids": solids, "views": views, "device": device}
    for name, call in (
        ("render", lambda: render(*ready, device)),
        ("batch", lambda: rooms.batch(wanted)),
    ):
        case[f"{name}_views_per_s"] = round(views / seconds(call, runs), 1)
    return case


def measure_processes(processes: int, runs: int) -> dict:
    """Two views each of the first scenes of the medium collection, made by several processes at
    once."""
    parts = [range(k, 256, processes) for k in range(processes)]
    with get_context("spawn").Pool(processes) as pool:
        taken = seconds(lambda: pool.map(make, parts, chunksize=1), runs)
    return {
        "collection": "medium",
        "views": 512,
        "processes": processes,
        "batch_views_per_s": round(512 / taken, 1),
    }


def make(indices: range) -> int:
    return len(Rooms("medium").batch(indices))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--runs", type=int, default=5)
    args = parser.parse_args()
    versions = {"vlm3": vlm3.__version__, "numpy": np.__version__, "torch": torch.__version__}
    versions["python"] = platform.python_version()
    fixed = {"runs": args.runs, "machine": platform.machine(), "versions": versions}
    cases = [(*size, 6, 64) for size in SIZES]
    cases += [(128, 96, solids, 64) for solids in SOLIDS if solids != 6]
    cases += [(128, 96, 6, views) for views in VIEWS if views != 64]
    for case in cases:
        print(json.dumps({**measure(*case, args.device, args.runs), **fixed}), flush=True)
    if args.device == "cpu":
        print(json.dumps({**measure_processes(2, args.runs), **fixed}))


if __name__ == "__main__":
    main()
