"""What the pages on depth share: values and truths as arrays, which values are right, and a line
of a table of scores."""

from collections.abc import Mapping, Sequence

import numpy as np

from vlm3.views import View

_SHOWN = ("delta_1", "delta_2", "delta_3", "abs_rel", "rmse_m", "parsed")


def metres(values: Sequence[float | None]) -> np.ndarray:
    """(N,) what was read in answers, NaN where that is no length."""
    return np.array([value or np.nan for value in values], float)


def true_m(view: View, uv: np.ndarray) -> np.ndarray:
    """(N,) depths in metres of (N, 2) pixels of a view, NaN where unknown."""
    columns, rows = uv.astype(int).T
    return view.depth_m[rows, columns]


def right(metres: np.ndarray, truth_m: np.ndarray) -> np.ndarray:
    """(N,) whether values lie within a factor of 1.25 of the truth, which counts in delta_1; NaN
    does not."""
    return np.maximum(metres / truth_m, truth_m / metres) < 1.25


def row(name: str, score: Mapping[str, float]) -> dict[str, str]:
    """A line of a table of what `vlm3.tasks.depth.Depth.score` gives, under a name."""
    shown = {key: f"{score[key]:.3f}" for key in _SHOWN}
    return {"": name} | {key: text.replace("nan", "none") for key, text in shown.items()}
