"""The model of a run as it was after so many steps.

python book/record/stages.py RUN STEP OUT

From a checkpoint that is still there (`vlm3 train --keep`), in bfloat16, as finished ones are.
"""

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path

import torch
from torch.distributed.checkpoint.format_utils import dcp_to_torch_save

from vlm3 import mixture
from vlm3.qwen import model, network


def save(run: Path, step: int, out: Path) -> None:
    """Write the model; FileNotFoundError where no checkpoint of that step is there."""
    path = run / "checkpoints" / f"step-{step:08d}"
    if not path.exists():
        raise FileNotFoundError(f"{path}: that step is not kept, see --keep of vlm3 train")
    settings = json.loads((run / "config.json").read_text())
    begun = model.named(settings["model"])
    with tempfile.TemporaryDirectory() as scratch:
        dcp_to_torch_save(path, Path(scratch, "all.pt"))
        weights = torch.load(Path(scratch, "all.pt"))["model"]
    half = {name: weight.bfloat16() for name, weight in weights.items()}
    taught = mixture.load(settings["mixture"], settings["seed"]).taught
    net = network.of_weights(begun.net.config, half)
    model.save(replace(begun, net=net, taught=taught), out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("step", type=int)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    save(args.run, args.step, args.out)


if __name__ == "__main__":
    main()
