"""The file of a split: which scenes of each data set are for training, and which for testing."""

import json
from pathlib import Path

from vlm3 import disk

SIDES = "train", "test"
Scenes = dict[str, list[str]]  # of each data set


def load(path: str | Path) -> dict[str, Scenes]:
    """The two sides of a split. FileNotFoundError or ValueError, naming the file, for one that is
    missing, is something else, or has a scene on both sides."""
    path, way_out = Path(path), "make it with `vlm3 data split`"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such split; {way_out}")
    try:
        found = json.loads(disk.text(path))
        sides = {side: {name: [*of] for name, of in found[side].items()} for side in SIDES}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{path}: not a split ({error!r}); {way_out}") from None
    train, test = (sides[side] for side in SIDES)
    both = [(n, s) for n in test for s in test[n] if s in train.get(n, ())]
    if both:
        raise ValueError(f"{path}: on both sides: {', '.join(map('/'.join, both[:8]))}; {way_out}")
    return sides
