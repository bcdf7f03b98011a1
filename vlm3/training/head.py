"""The loss of supervised tokens without holding the logits of all of them: a rung of `bench`, which
`sft` does without, since only supervised tokens have logits there.

Qwen's vocabulary has 151,936 words, so each supervised token costs 0.6 MB of float32 logits, and as
much again for their gradient. Here a few rows at a time are multiplied and forgotten; backward
computes them once more.

Letters in shapes: R supervised tokens, D numbers each, V words.
"""

import torch
from torch.nn.functional import cross_entropy, linear
from torch.utils.checkpoint import checkpoint

ROWS = 128  # 80 MB of logits in float32 at a time


def losses(
    hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor, rows: int = ROWS
) -> torch.Tensor:
    """(R, D) what the last layer says, (V, D) the head, (R,) the right tokens -> (R,) float32
    cross-entropy of each."""
    parts = zip(hidden.split(rows), targets.split(rows), strict=True)
    return torch.cat(
        [checkpoint(_losses, part, weight, right, use_reentrant=False) for part, right in parts]
    )


def _losses(hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return cross_entropy(linear(hidden, weight).float(), targets, reduction="none")
