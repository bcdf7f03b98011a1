"""The command `vlm3`: what the book does, from a terminal."""

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Annotated

import psutil
import tyro
from packaging.requirements import Requirement

import vlm3

GB = 1e9


@dataclass(frozen=True)
class Profile:
    """What a profile of the book needs."""

    extras: tuple[str, ...]
    memory_gb: float
    gpu_gb: float = 0.0


PROFILES = {
    "ci": Profile(("book",), memory_gb=4),
    "cpu": Profile(("book",), memory_gb=8),
    "gpu": Profile(("book", "gpu"), memory_gb=16, gpu_gb=16),  # 4B weights in bfloat16 alone take 9 GB
}


def doctor() -> int:
    """Say what this machine has, what is missing for which profile, and what to type."""
    names = ("numpy", "pillow", "torch", "torchvision", "transformers", "accelerate", "jupyter-book", "papermill")
    found = [f"{name} {v}" for name in names if (v := _version(name))]
    memory, disk = psutil.virtual_memory(), shutil.disk_usage(Path.cwd())
    print(f"vlm3 {vlm3.__version__}, Python {platform.python_version()}, {platform.platform()}")
    print(f"packages     {', '.join(found)}")
    print(f"machine      {os.cpu_count()} cores, {memory.total / GB:.0f} GB memory ({memory.available / GB:.0f} free), "
          f"{disk.free / GB:.0f} GB disk free")  # fmt: skip
    gpus = _gpus()
    print(f"GPU          {', '.join(f'{name}, {size:.0f} GB' for name, size in gpus) or 'none that torch can use'}")
    wanting = {name: list(_wanting(profile, gpus)) for name, profile in PROFILES.items()}
    for name, missing in wanting.items():
        print(
            f"profile {name:4} {'ready: make book PROFILE=' + name if not missing else 'needs ' + '; '.join(missing)}"
        )
    return 1 if wanting["ci"] else 0


def unify(
    photo: Annotated[Path, tyro.conf.Positional],
    focal_px: float | None = None,
    fit: str = "pad",
    save: Path | None = None,
) -> int:
    """Bring a photo to a focal length of 1000 px, and show it before and after.

    Args:
        photo: any picture that Pillow reads.
        focal_px: its focal length in pixels; without it, EXIF must know.
        fit: pad, crop or stretch to multiples of 32.
        save: write both pictures, drawn to scale, to this file (.png, .jpg, .pdf, ...).
    """
    before = vlm3.open_photo(photo, focal_px)
    after = vlm3.unify_focal(before, fit=fit)
    print(f"{'':8}{'size':>12}{'fx':>10}{'fy':>10}{'cx':>10}{'cy':>10}{'tokens':>8}")
    for name, view in (("before", before), ("after", after)):
        c, (width, height) = view.camera, view.size
        tokens = width * height // 32**2 if view is after else "-"
        print(f"{name:8}{f'{width}x{height}':>12}{c.fx:10.1f}{c.fy:10.1f}{c.cx:10.1f}{c.cy:10.1f}{tokens:>8}")
    if save:
        _save_both(before, after, save)
        print(f"saved {save}")
    return 0


def main() -> None:
    """Run a subcommand; bad input ends in one line that says what is wrong, and exit code 2."""
    try:
        code = tyro.extras.subcommand_cli_from_dict({"doctor": doctor, "unify": unify}, prog="vlm3")
    except (ValueError, OSError) as error:
        print(f"vlm3: {error}", file=sys.stderr)
        code = 2
    sys.exit(code)


def _save_both(before: vlm3.View, after: vlm3.View, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from vlm3 import figures

    titles = [f"{name}: f = {v.camera.fx:.0f} px" for name, v in (("before", before), ("after", after))]
    if not path.parent.is_dir():
        raise FileNotFoundError(f"cannot save {path}: there is no folder {path.parent}")
    figure = figures.to_scale([before, after], titles, width=12)[0].figure
    draft = path.with_name(f".{path.stem}.draft{path.suffix}")
    try:
        figure.savefig(draft, dpi=150)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


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
    for extra in profile.extras:
        lacking = [r.name for r in _requirements(extra) if not _satisfied(r)]
        if lacking:
            yield f"{', '.join(lacking)} (pip install -e '.[{extra}]')"
    if psutil.virtual_memory().total / GB < profile.memory_gb:
        yield f"{profile.memory_gb:.0f} GB of memory"
    if profile.gpu_gb > max((size for _, size in gpus), default=0):
        yield f"a CUDA GPU with {profile.gpu_gb:.0f} GB"


def _satisfied(requirement: Requirement) -> bool:
    found = _version(requirement.name)
    return found is not None and requirement.specifier.contains(found, prereleases=True)


def _requirements(extra: str) -> list[Requirement]:
    """What an extra of vlm3 adds to the base."""
    found = map(Requirement, requires("vlm3") or [])
    return [
        r for r in found if r.marker and r.marker.evaluate({"extra": extra}) and not r.marker.evaluate({"extra": ""})
    ]


if __name__ == "__main__":
    main()
