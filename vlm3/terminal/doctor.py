"""What this machine has, and what is missing for which profile of the book."""

import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import TYPE_CHECKING

import vlm3

if TYPE_CHECKING:
    from packaging.requirements import Requirement

GB = 1e9
PACKAGES = (
    *("numpy", "pillow", "torch", "torchvision", "transformers", "accelerate"),
    *("jupyter-book", "papermill"),
)


@dataclass(frozen=True)
class Profile:
    """What a profile of the book needs."""

    extras: tuple[str, ...]
    memory_gb: float
    gpu_gb: float = 0.0


PROFILES = {
    "ci": Profile(("book",), memory_gb=4),
    "cpu": Profile(("book",), memory_gb=8),
    "gpu": Profile(
        ("book", "train"), memory_gb=16, gpu_gb=16
    ),  # 4B weights in bfloat16 alone take 9 GB
}


def doctor() -> int:
    """Say what this machine has, what is missing for which profile, and what to type."""
    import psutil

    found = [f"{name} {v}" for name in PACKAGES if (v := _version(name))]
    memory, disk = psutil.virtual_memory(), shutil.disk_usage(Path.cwd())
    free = f"({memory.available / GB:.0f} free), {disk.free / GB:.0f} GB disk free"
    gpus = _gpus()
    told = ", ".join(f"{name}, {size:.0f} GB" for name, size in gpus)
    print(f"vlm3 {vlm3.__version__}, Python {platform.python_version()}, {platform.platform()}")
    print(f"packages     {', '.join(found)}")
    print(f"machine      {os.cpu_count()} cores, {memory.total / GB:.0f} GB memory {free}")
    print(f"GPU          {told or 'no CUDA device'}")
    wanting = {name: list(_wanting(profile, gpus)) for name, profile in PROFILES.items()}
    for name, missing in wanting.items():
        ready = f"ready: make book PROFILE={name}"
        print(f"profile {name:4} {'needs ' + '; '.join(missing) if missing else ready}")
    return 1 if wanting["ci"] else 0


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _gpus() -> list[tuple[str, float]]:
    """(name, memory in GB) of each CUDA device."""
    import torch

    devices = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    return [(device.name, device.total_memory / GB) for device in devices]


def _wanting(profile: Profile, gpus: list[tuple[str, float]]) -> Iterator[str]:
    import psutil

    for extra in ("", *profile.extras):
        lacking = [str(r).split(";")[0].strip() for r in _requirements(extra) if not _satisfied(r)]
        if lacking:
            yield f"{', '.join(lacking)} (pip install -e '.{extra and f'[{extra}]'}')"
    if psutil.virtual_memory().total / GB < profile.memory_gb:
        yield f"{profile.memory_gb:.0f} GB of memory"
    if profile.gpu_gb > max((size for _, size in gpus), default=0):
        yield f"a CUDA GPU with {profile.gpu_gb:.0f} GB"


def _satisfied(requirement: "Requirement") -> bool:
    found = _version(requirement.name)
    return found is not None and requirement.specifier.contains(found, prereleases=True)


def _requirements(extra: str) -> list["Requirement"]:
    """What an extra of vlm3 adds to the base, or the base itself for ""."""
    from packaging.requirements import Requirement

    found = list(map(Requirement, requires("vlm3") or []))
    base = [r for r in found if not r.marker or r.marker.evaluate({"extra": ""})]
    if not extra:
        return base
    return [r for r in found if r not in base and r.marker.evaluate({"extra": extra})]
