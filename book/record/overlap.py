"""How much of the test on the walk shows what was learned from, since a walk comes back.

VLM3_REAL=DATA python book/record/overlap.py [--save FILE.json]

Of each photograph of `office.toml` the largest share of its pixels that one of those which
`papered.toml` learns from sees as well. Where depth is not known, nothing is seen, so shares are
lower than they would be.
"""

import argparse
import os
import sys
import time
from pathlib import Path

import numpy as np

from vlm3.pages import recorded
from vlm3.sources.curation.covisibility import Glances
from vlm3.sources.rgbd import Rgbd

LEARNED, TESTED = (0, 280), (293, 373)  # frames, as the mixtures have them
LEAST = (0.1, 0.25, 0.5)  # shares of pixels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--save", type=Path)
    args, began = parser.parse_args(), time.perf_counter()
    shares = seen_before(Path(os.environ["VLM3_REAL"]) / "hololens")
    results = {
        "learned": LEARNED[1] - LEARNED[0],
        "tested": len(shares),
        "median": round(float(np.median(shares)), 3),
        "at_least": {str(least): int((shares >= least).sum()) for least in LEAST},
    }
    print(results)
    if args.save:
        made = recorded.provenance(" ".join(["python", *sys.argv]), 0, time.perf_counter() - began)
        what = "photographs of the test on the walk that show what was learned from"
        recorded.write(args.save, what, made, results)


def seen_before(walk: Path) -> np.ndarray:
    """(tests,) of each photograph that is tested on, the largest share that another one shows."""
    parts = [Rgbd(walk, frames=frames) for frames in (TESTED, LEARNED)]
    views = Glances.join([Glances.of(view) for part in parts for view in part])
    tested, learned = (len(part) for part in parts)
    pairs = np.indices((tested, learned)).reshape(2, -1)
    return views.shares(pairs[0], tested + pairs[1]).reshape(tested, learned).max(1)


if __name__ == "__main__":
    main()
