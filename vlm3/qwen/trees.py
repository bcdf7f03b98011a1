"""How the samples of a batch are laid out side by side, for `vlm3.qwen.attention`.

Letters in shapes: T tokens of S samples, each with at most P shared tokens and n branches of at
most Q tokens.
"""

import numpy as np
import torch

from vlm3.qwen.attention import Tree
from vlm3.qwen.packing import SHARED

WORTH = 0.8  # two groups instead of one must leave less than this share of the work
FEWEST = 2  # samples of a group


def tree_of(samples: np.ndarray, branches: np.ndarray) -> Tree:
    """Who stands where, from the sample and the branch of each token of a row, (T,) each."""
    shared, own = branches_of(samples, branches)
    laid = [
        tuple(ranges(*(part[group] for part in parts)) for parts in (shared, own))
        for group in _groups(shared[1], own[1])
    ]
    laid = [(stems, _filled(twigs)) for stems, twigs in laid]
    row = np.concatenate([part.ravel() for pair in laid for part in pair])
    back = np.empty(len(samples), np.int64)
    back[row[row >= 0]] = np.flatnonzero(row >= 0)
    stems, twigs = (tuple(map(torch.from_numpy, parts)) for parts in zip(*laid, strict=True))
    return Tree(stems, twigs, torch.from_numpy(back))


def branches_of(
    samples: np.ndarray, branches: np.ndarray
) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Starts and lengths, of what each sample shares, (S,), and of its branches, (S, n)."""
    starts = np.flatnonzero(np.diff(samples, prepend=-1) | np.diff(branches, prepend=-1))
    lengths, stem = np.diff(starts, append=len(samples)), branches[starts] == SHARED
    return (starts[stem], lengths[stem]), _by_sample(starts, lengths, stem)


def _by_sample(
    starts: np.ndarray, lengths: np.ndarray, stem: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Start and length of each branch: two of (S, n), length 0 where a sample has fewer."""
    owner = np.cumsum(stem) - 1
    number = np.arange(len(stem)) - np.flatnonzero(stem)[owner] - 1  # -1 for what is shared
    table = np.zeros((2, stem.sum(), number.max() + 1), np.int64)
    table[:, owner[~stem], number[~stem]] = starts[~stem], lengths[~stem]
    return tuple(table)


def ranges(starts: np.ndarray, lengths: np.ndarray, most: int | None = None) -> np.ndarray:
    """Rows start, start + 1, ..., filled up with -1, in a further axis; most: of how many, by
    default as many as the longest."""
    steps = np.arange(lengths.max(initial=0) if most is None else most)
    return np.where(steps < lengths[..., None], starts[..., None] + steps, -1)


def _filled(twigs: np.ndarray) -> np.ndarray:
    """Without branches that no sample of the group has."""
    return np.ascontiguousarray(twigs[:, (twigs >= 0).any((0, 2))])


def _groups(stems: np.ndarray, twigs: np.ndarray) -> list[np.ndarray]:
    """Which samples to lay side by side; stems: (S,) and twigs: (S, n), their lengths.

    One group, or two, cut where that saves most work: each number of groups is compiled anew.
    """
    order = np.argsort(twigs.max(1, initial=0), kind="stable")
    if len(order) < 2 * FEWEST:
        return [order]
    sizes = np.stack([stems, (twigs > 0).sum(1), twigs.max(1, initial=0)])[:, order]
    count = np.arange(1, len(order) + 1)
    # Of the first k + 1 samples, and of those from k on, each filled up to its longest.
    first = _work(np.maximum.accumulate(sizes, 1)) * count
    last = (_work(np.maximum.accumulate(sizes[:, ::-1], 1)) * count)[::-1]
    both = (first[:-1] + last[1:])[FEWEST - 1 : len(order) - FEWEST]
    cut = FEWEST + int(both.argmin())
    return [order] if both.min() > WORTH * first[-1] else [order[:cut], order[cut:]]


def _work(sizes: np.ndarray) -> np.ndarray:
    """Cells of the attention of one sample; sizes: (3, ...), P, n and Q."""
    shared, branches, own = sizes
    return shared**2 + branches * own * (shared + own)
