"""What readers of label files share: nothing in a file is trusted before it is checked."""

import sys
from pathlib import Path

from vlm3 import disk


def lines(path: Path) -> list[str]:
    """The lines of a text file; ValueError, naming it, where it is none."""
    text = disk.text(path)
    # splitlines also splits where json does not
    return text.removesuffix("\n").split("\n") if text else []


def inside(root: Path, image: object, where: str) -> Path:
    """The file that a label names, there or not; ValueError for none, or one out of the folder."""
    if not isinstance(image, str) or not image or "\0" in image:
        raise ValueError(f"{where}: image must be a path, got {image!r}")
    try:
        path, folder = (root / image).resolve(), root.resolve()
    except (ValueError, OSError, RuntimeError) as error:  # not a file name; a loop of links
        raise ValueError(f"{where}: image must be a path, got {image!r} ({error})") from None
    if not path.is_relative_to(folder):
        raise ValueError(f"{where}: image {image!r} leaves the folder {root}")
    return path


def numbers(values: object, count: int) -> bool:
    """Whether this is a list of so many finite numbers."""
    if not isinstance(values, list):
        return False
    plain = all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values)
    # whole numbers in json may be larger than any float
    return plain and len(values) == count and all(abs(v) <= sys.float_info.max for v in values)
