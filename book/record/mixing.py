"""What the weights of a mixture do: three sources of toy rooms of very different sizes, one run for
each weighting.

python book/record/mixing.py [--powers 0 0.5 1] [--steps 1200] [--batch 16] [--seed 0] [--out FILE]

Flats are many, shops few, halls fewer; they differ in size and patterns, so what is learned in one
helps little in another. A small network learns depth from scratch under each weighting; every so
often, its loss is taken on unseen rooms of each kind and on the very halls that it learns from:
where these two part, it over-fits. Takes one core. Runs with other powers that the file holds
already are kept.
"""

import argparse
import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch

from vlm3.mixture import Mixture, Source
from vlm3.pages import recorded
from vlm3.qwen import model
from vlm3.sources.rooms import COLLECTIONS, Lens, Rooms
from vlm3.training import log, sft
from vlm3.training.config import Config
from vlm3.views import View

RECORDED = Path(__file__).parents[2] / "book" / "recorded" / "mixing.json"
LENS = Lens(96, 64, (51.28, 51.28))  # fx = fy = 100 px
ROOMS = {
    "flats": dict(
        number=11, scenes=24_000, side_m=(3.0, 4.5), floors=("tiles",), walls=("plain", "panels")
    ),
    "shops": dict(number=12, scenes=240, side_m=(5.0, 7.0), floors=("planks",), walls=("bands",)),
    "halls": dict(
        number=13,
        scenes=24,
        side_m=(8.0, 12.0),
        height_m=(3.5, 5.0),
        floors=("carpet",),
        walls=("patches",),
    ),
}
NAMES = {0.0: "uniform", 1.0: "size"}
NETWORK = {
    "text": dict(
        hidden_size=96,
        intermediate_size=256,
        num_hidden_layers=3,
        num_attention_heads=3,
        num_key_value_heads=1,
    ),
    "vision": dict(
        depth=2, hidden_size=64, intermediate_size=192, num_heads=2, deepstack_visual_indexes=[0]
    ),
}
# Pixels in tenths of the image and one decimal: so short a text that the network learns to read it
# within minutes.
WORDS = {
    "note": "",
    "scale": 10,
    "z": {"questions": ["Depth at {point}?"], "answer": "{value:.1f}"},
}
FOCAL_PX, QUESTIONS, UNSEEN = 100, 8, 60  # of each kind, so many rooms that no run learns from


def rooms(kind: str, split: str = "train", **changes: object) -> Rooms:
    """Toy rooms of one kind, one view each."""
    return Rooms(
        replace(COLLECTIONS["small"], lenses=(LENS,), **ROOMS[kind] | changes), split, views=1
    )


def ready(found: Rooms) -> list[View]:
    """All views of a collection, made once."""
    return [view for (view,) in found.batch(range(len(found)))]


def mixture(items: dict, weights: float | str, seed: int) -> Mixture:
    sources = {
        kind: Source(views, "depth", QUESTIONS, FOCAL_PX, WORDS) for kind, views in items.items()
    }
    return Mixture(sources, weights, seed)


def run(
    power: float, seed: int, steps: int, batch: int, network: Path, seen: dict, unseen: dict
) -> dict:
    samples = mixture(seen, power, seed)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        config = Config(
            Path(folder) / "run",
            str(network),
            steps=steps,
            batch=batch,
            lr=2e-3,
            warmup=0.05,
            seed=seed,
            validate_every=max(1, steps // 20),
            validate_samples=len(unseen) * UNSEEN,
            workers=0,
            save_every=steps,
            progress=False,
            peak_tflops=1.0,
        )
        sft.train(config, samples, mixture(unseen, "uniform", seed + 1), shown)
        records = log.records(config.out)
    points = [
        {"samples": record["step"] * batch}
        | {name: round(loss, 4) for name, loss in record["validation"]["losses"].items()}
        for record in records
        if "validation" in record
    ]
    return {
        "weights": NAMES.get(power, f"power {power:g}"),
        "power": power,
        "seed": seed,
        "steps": steps,
        "batch": batch,
        "shares": dict(zip(samples.names, samples.shares.round(6).tolist(), strict=True)),
        "passes": {
            name: round(passes, 3) for name, passes in samples.passes(steps * batch).items()
        },
        "wall_time_s": round(time.perf_counter() - began),
        "validation": points,
    }


def shown(record: dict) -> None:
    if "validation" in record:
        losses = {name: round(loss, 3) for name, loss in record["validation"]["losses"].items()}
        print(
            record["step"],
            round(record["loss"], 3),
            losses,
            round(record["seconds"], 3),
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--powers", type=float, nargs="+", default=[0.0, 0.5, 1.0])
    parser.add_argument("--out", type=Path, default=RECORDED)
    args = parser.parse_args()
    torch.set_num_threads(1)
    seen = {kind: rooms(kind) if kind == "flats" else ready(rooms(kind)) for kind in ROOMS}
    unseen = {kind: ready(rooms(kind, "validation", scenes=10 * UNSEEN)) for kind in ROOMS}
    unseen["halls, seen"] = seen["halls"]
    with tempfile.TemporaryDirectory() as folder:
        network = Path(folder) / "network"
        model.save(model.new(model.config("tiny", **NETWORK), args.seed), network)
        for power in args.powers:
            print("power", power, flush=True)
            found = run(power, args.seed, args.steps, args.batch, network, seen, unseen)
            keep(found, args.out)


def keep(found: dict, path: Path) -> None:
    """Put a run into the file, in place of one with the same power."""
    earlier = json.loads(path.read_text())["results"]["runs"] if path.exists() else []
    kept = sorted(
        [run for run in earlier if run["power"] != found["power"]] + [found],
        key=lambda run: run["power"],
    )
    powers, seconds = (
        " ".join(f"{run['power']:g}" for run in kept),
        sum(run["wall_time_s"] for run in kept),
    )
    told = recorded.provenance(
        f"python book/record/mixing.py --powers {powers}", found["seed"], seconds
    )
    what = (
        "loss of depth on unseen toy rooms of three kinds, "
        "for several weightings of a mixture, toy results"
    )
    results = {
        "rooms": ROOMS,
        "words": WORDS,
        "network": NETWORK,
        "questions": QUESTIONS,
        "runs": kept,
    }
    recorded.write(path, what, told, results)


if __name__ == "__main__":
    main()
