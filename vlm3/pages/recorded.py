"""Results of long runs, kept with how they were made, so that pages can say it."""

import json
import platform
import subprocess
import time
from importlib.metadata import version
from pathlib import Path

import vlm3
from vlm3 import disk


def write(path: Path, what: str, made: dict, results: object) -> None:
    """A recorded result: what it is, its provenance, the results."""
    text = json.dumps({"what": what, **made, "results": results}, indent=1)
    disk.write(path, text + "\n")


def provenance(command: str, seed: int, wall_time_s: float, device: str | None = None) -> dict:
    """What a recorded result says about its making.

    device: cpu or cuda, by default the GPU where there is one.
    """
    import torch  # what only writes or reads results does without it

    gpu = device.startswith("cuda") if device else torch.cuda.is_available()
    n = torch.get_num_threads()
    cores = f"{n} CPU core{'s' * (n > 1)}, {platform.machine()}"
    packages = {name: version(name) for name in ("torch", "transformers", "numpy")}
    return {
        "command": command,
        "commit": _commit(),
        "date": time.strftime("%Y-%m-%d"),
        "device": torch.cuda.get_device_name() if gpu else cores,
        "versions": {"vlm3": vlm3.__version__, **packages, "python": platform.python_version()},
        "seed": seed,
        "wall_time_s": round(wall_time_s, 1),
    }


def _commit() -> str:
    """Of the code that runs; empty where there is no git, or the repository around this file does
    not hold it."""
    try:
        _git("ls-files", "--error-unmatch", Path(__file__).name)
        return _git("rev-parse", "--short", "HEAD")
    except (OSError, subprocess.CalledProcessError):
        return ""


def _git(*words: str) -> str:
    command = ["git", "-C", str(Path(__file__).parent), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
