"""Lengths as files have them, in metres."""

import numpy as np


def known(stored: np.ndarray, unit_m: float = 1.0, far_m: float = np.inf) -> np.ndarray:
    """Depth in metres, float32, NaN where a file knows none: not positive, not finite, NaN, far_m
    or more.

    stored: depth in units of unit_m metres.
    """
    depth_m = stored.astype(np.float32) * np.float32(unit_m)
    with np.errstate(invalid="ignore"):
        return np.where((depth_m > 0) & (depth_m < far_m), depth_m, np.float32(np.nan))


def scaled(pose: np.ndarray, unit_m: float) -> np.ndarray:
    """A 4x4 rigid transform whose translation was in units of unit_m metres."""
    found = np.array(pose, float)
    found[:3, 3] *= unit_m
    return found


def unit(scale_m: float | None) -> float:
    """Metres per unit of a data set without scale: scale_m, and 1 where nobody knows.

    ValueError for one that is not positive.
    """
    if scale_m is not None and not 0 < scale_m < np.inf:
        raise ValueError(f"scale_m must be metres per unit of the poses, or None, got {scale_m!r}")
    return 1.0 if scale_m is None else float(scale_m)
