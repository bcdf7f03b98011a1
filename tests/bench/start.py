"""How long the command takes to answer: help, a first question about a photo, and an error.

python tests/bench/start.py [--runs 5]

Wall seconds, the median of some runs after one that fills the caches of the disk.
"""

import argparse
import json
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


def seconds(words: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(
        [Path(sys.executable).with_name("vlm3"), *words], capture_output=True, cwd=ROOT, check=False
    )
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs
    for name, words in COMMANDS.items():
        _, *timed = [seconds(words) for _ in range(runs + 1)]
        print(json.dumps({"command": name, "seconds": round(median(timed), 2)}), flush=True)


if __name__ == "__main__":
    main()
