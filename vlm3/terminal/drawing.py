"""Pictures that commands leave behind."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from vlm3 import disk


def draw(make: Callable[[], Any], path: Path) -> None:
    """Make a figure without a screen and save it."""
    import matplotlib

    matplotlib.use("Agg")
    figure = make()
    write(path, lambda draft: figure.savefig(draft, dpi=150, bbox_inches="tight"))


PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".pdf", ".svg")


def demand_writable(path: Path | None, *photos: Path) -> None:
    """Complain before the work is done about a place where its picture cannot go."""
    if path is None:
        return
    if path.resolve() in [photo.resolve() for photo in photos]:
        raise ValueError(f"--save {path} is the photo itself: choose another name")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"cannot save {path}: there is no folder {path.parent}")
    if path.suffix.lower() not in PICTURES or path.is_dir():
        kinds = f"{', '.join(PICTURES[:-1])} or {PICTURES[-1]}"
        raise ValueError(f"cannot save {path}: give a file name that ends in {kinds}")


def write(path: Path, save: Callable[[Path], object]) -> None:
    demand_writable(path)
    with disk.whole(path) as draft:
        save(draft)
