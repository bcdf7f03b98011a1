"""How fast tasks ask, read and score: `python tests/bench/tasks.py`. Prints one line of JSON for
each task."""

import json
import platform
import sys
import time

import numpy as np

import vlm3
from vlm3 import tasks
from vlm3.focal import unify_pair
from vlm3.sources import photos
from vlm3.sources.rooms import Rooms

QUESTIONS = 20_000


def measure(name: str, asked: list) -> dict:
    """Questions per second for the three verbs, one after another, on one core."""
    task, rng = tasks.get(name), np.random.default_rng(0)
    start, qas = time.perf_counter(), []
    while len(qas) < QUESTIONS:
        views, options = asked[len(qas) % len(asked)]
        qas += task.ask(views, 10, rng, **options)
    middle = time.perf_counter()
    pairs = [(task.read(qa, qa.answer), qa.truth) for qa in qas]
    read = time.perf_counter()
    task.score(pairs)
    end = time.perf_counter()
    return {
        "task": name,
        "questions_per_s": len(qas) / (end - start),
        "read_per_s": len(qas) / (read - middle),
    }


def main() -> None:
    pair = unify_pair(photos.motorcycle())
    rooms = [
        (views, {}) for views in Rooms("medium", "test").batch(range(50)) if len(views[0].boxes) > 1
    ]
    inputs = {
        "depth": [(pair[:1], {})],
        "correspondence": [(pair[:2], {"matches": pair[2:]})],
        "pose": rooms,
        "objects": rooms,
    }
    for name, asked in inputs.items():
        about = {
            "command": f"python {' '.join(sys.argv)}",
            "vlm3": vlm3.__version__,
            "numpy": np.__version__,
        }
        print(json.dumps(measure(name, asked) | about | {"machine": platform.machine()}))


if __name__ == "__main__":
    main()
