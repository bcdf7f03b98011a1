"""What `--json` prints of photos and answers."""

import math
from typing import TYPE_CHECKING

import numpy as np

from vlm3.sources.calibrate import Calibrated, Focal

if TYPE_CHECKING:
    from vlm3.scoring.spread import Spread
    from vlm3.terminal.ask import Reading


def photo(path: str, opened: Calibrated) -> dict:
    (width, height), focal = opened.view.size, opened.focal
    sure = {"focal_relative_std": focal.relative_std, "focal_from": focal.origin}
    return {"path": path, "width": width, "height": height, "focal_px": focal.focal_px, **sure}


def focal(known: Focal) -> str:
    """The same for people: "focal length 2912 px +- 1.1 % (exif)"."""
    std = known.relative_std
    sure = "" if std is None else f" +- {100 * std:.2g} %"
    return f"focal length {known.focal_px:.0f} px{sure} ({known.origin})"


def words(reading: "Reading") -> dict:
    answer = reading.answer
    return {"text": answer.text, "probability": math.exp(answer.logprob)}


def depth(uv: tuple[float, ...], reading: "Reading", spread: "Spread | None") -> dict:
    value = reading.value
    sure = spread.within(value) if spread and value else None
    middle = {"median_m": spread and spread.median(), "mean_m": spread and spread.mean()}
    return {"pixel": uv, "depth_m": value, "sure": sure, **middle, **words(reading)}


def known(metres: np.ndarray) -> list[list[float | None]]:
    """A map for JSON, which has no NaN."""
    return [[round(m, 3) if math.isfinite(m) else None for m in row] for row in metres.tolist()]
