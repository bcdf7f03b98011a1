"""How long the command takes to answer: help, a first question about a photo, and an error.

python tests/bench/start.py [--runs 5]

Wall seconds, the median of some runs after one that fills the caches of the disk and writes what
Python compiles. Nearly all of `ask` is the import of torch and transformers, timed beside it.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parents[2]
PHOTO = "vlm3/sources/data/motorcycle_left.png"
COMMANDS = {
    "help": ["--help"],
    "ask": ["ask", "depth", PHOTO, "--focal-px", "995", "--at", "300,200"],
    "an error": ["ask", "depth", "gone.jpg", "--at", "1,1"],
}


IMPORTS = "import torch; from transformers import Qwen3VLForConditionalGeneration"
AROUND = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}


def seconds(command: list[str | Path]) -> float:
    began = time.perf_counter()
    subprocess.run(command, capture_output=True, cwd=ROOT, check=False, env=AROUND)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs
    vlm3 = Path(sys.executable).with_name("vlm3")
    commands = {name: [vlm3, *words] for name, words in COMMANDS.items()}
    commands["imports alone"] = [sys.executable, "-c", IMPORTS]
    for name, command in commands.items():
        _, *timed = [seconds(command) for _ in range(runs + 1)]
        print(json.dumps({"command": name, "seconds": round(median(timed), 2)}), flush=True)


if __name__ == "__main__":
    main()
