"""How many views a second `unify_focal` takes on one core: a photo of 1640x1232 with depth, focal
length 1232.

python tests/bench/unify.py
"""

import json
import platform
import time

import numpy as np
import PIL

import vlm3
from vlm3 import Camera, View, unify_focal

RUNS = 20


def main() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (1232, 1640, 3), dtype=np.uint8)
    depth_m = rng.uniform(0.5, 20, (1232, 1640)).astype(np.float32)
    view = View(image, Camera(1232.0, 1232.0, 820.0, 616.0, 1640, 1232), depth_m)
    unify_focal(view)
    seconds = []
    for _ in range(RUNS):
        start = time.perf_counter()
        unify_focal(view)
        seconds.append(time.perf_counter() - start)
    median = float(np.median(seconds))
    versions = {"vlm3": vlm3.__version__, "numpy": np.__version__, "pillow": PIL.__version__}
    versions["python"] = platform.python_version()
    record = {
        "command": "python tests/bench/unify.py",
        "versions": versions,
        "machine": platform.machine(),
    }
    print(
        json.dumps(
            {
                **record,
                "runs": RUNS,
                "seconds": round(median, 5),
                "views_per_s": round(1 / median, 1),
            }
        )
    )


if __name__ == "__main__":
    main()
