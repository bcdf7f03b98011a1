"""How much of the test on the walk shows what was learned from, since a walk comes back.

VLM3_REAL=DATA VLM3_PAIRS=INDEX python book/record/overlap.py [--save FILE.json]

Of each photograph of `office.toml` the largest share of its pixels that one of those which
`papered.toml` learns from sees as well. Where depth is not known, nothing is seen, so shares are
lower than they would be.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np

from vlm3 import mixture
from vlm3.pages import recorded
from vlm3.sources.curation.covisibility import Glances
from vlm3.sources.reading import Reader

HERE = Path(__file__).parent
LEAST = (0.1, 0.25, 0.5)  # shares of pixels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--save", type=Path)
    args, began = parser.parse_args(), time.perf_counter()
    learned = mixture.load(HERE / "papered.toml").sources["walk_depth"].items.reader
    tested = mixture.load(HERE / "office.toml").sources["depth"].items
    shares = seen_before(tested, learned)
    results = {
        "learned": len(learned),
        "tested": len(shares),
        "median": round(float(np.median(shares)), 3),
        "at_least": {str(least): int((shares >= least).sum()) for least in LEAST},
    }
    print(results)
    if args.save:
        made = recorded.provenance(" ".join(["python", *sys.argv]), 0, time.perf_counter() - began)
        what = "photographs of the test on the walk that show what was learned from"
        recorded.write(args.save, what, made, results)


def seen_before(tested: Reader, learned: Reader) -> np.ndarray:
    """(tests,) of each view that is tested on, the largest share that one learned from shows."""
    views = Glances.join([Glances.of(view) for part in (tested, learned) for view in part])
    size = len(tested), len(learned)
    first, second = np.indices(size).reshape(2, -1)
    return views.shares(first, len(tested) + second).reshape(size).max(1)


if __name__ == "__main__":
    main()
