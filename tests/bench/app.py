"""How long `vlm3 app` lets a visitor wait: python tests/bench/app.py [--runs 3]

Wall seconds from the command to the address, from there to the drawn page, and from the first click
on its example to the answer, each the median of some runs after one that fills the caches of the
disk; with a browser without a screen.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from tests.bench.start import AROUND  # noqa: E402
from tests.browser import Visitor, chromium  # noqa: E402


def waited(visitor: Visitor) -> dict[str, float]:
    """Seconds of one visit, by what was waited for."""
    command = [Path(sys.executable).with_name("vlm3"), "app"]
    began = time.perf_counter()
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=AROUND
    ) as server:
        try:
            address = next(line for line in server.stdout if " at http" in line).split(" at ")[1]
            served = time.perf_counter()
            visitor.come(address.split()[0])
            drawn = time.perf_counter()
            time.sleep(1)  # a visitor looks before clicking, and the server learns of the example
            asked = time.perf_counter()
            visitor.click(0.4, 0.5)
            visitor.answer()
            answered = time.perf_counter()
        finally:
            server.terminate()
    return {"served": served - began, "drawn": drawn - served, "answered": answered - asked}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=3)
    runs = parser.parse_args().runs
    with chromium() as browser:
        _, *timed = [waited(Visitor(browser)) for _ in range(runs + 1)]
    print(json.dumps({name: round(median(run[name] for run in timed), 2) for name in timed[0]}))


if __name__ == "__main__":
    main()
