"""A number as a distribution: all answers that a model finds likely, instead of the first alone.

The answers to one question, with their probabilities, come from `vlm3.qwen.decode.likely`. Which
value to state depends on what a wrong one costs: the mean has the least squared error, the median
the least absolute one, and the value with most of the mass within a factor of 1.25 is right most
often in the sense of delta_1.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from vlm3.views import Answer


class Spread(NamedTuple):
    """values (M,), rising and positive; probabilities (M,), which sum to 1; followed: the
    probability of all answers that were followed, before values that are no positive number were
    left out and the rest scaled to 1."""

    values: np.ndarray
    probabilities: np.ndarray
    followed: float

    def mean(self) -> float:
        return float(self.values @ self.probabilities)

    def median(self) -> float:
        """The smallest value with half of the probability at or below it."""
        return float(self.values[np.searchsorted(self.probabilities.cumsum(), 0.5 - 1e-9)])

    def within(self, value: float, factor: float = 1.25) -> float:
        """The probability that the number lies within a factor of a value, limits excluded."""
        ratio = np.maximum(self.values / value, value / self.values)
        return float(self.probabilities[ratio < factor].sum())

    def surest(self, factor: float = 1.25) -> float:
        """The value with most probability within a factor of it."""
        return float(max(self.values, key=lambda value: self.within(value, factor)))


def spread(values: Sequence[object], answers: Sequence[Answer]) -> Spread | None:
    """The distribution of the values that were read in the answers to one question; None where none
    of them is a positive number."""
    masses = np.exp([answer.logprob for answer in answers])
    numbers = np.array([value if isinstance(value, float) else np.nan for value in values])
    good = np.isfinite(numbers) & (numbers > 0)
    if not good.any():
        return None
    # "2.5" and "2.50" are one value: their probabilities add up.
    values, places = np.unique(numbers[good], return_inverse=True)
    probabilities = np.bincount(places, masses[good])
    return Spread(values, probabilities / probabilities.sum(), float(masses.sum()))
