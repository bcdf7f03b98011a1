"""What changes the weights: AdamW, and Muon with all matrices of one shape made orthogonal at once.

A small network has dozens of small matrices, and the operations on them take longer to begin than
to do. State and hyperparameters are torch's, so that checkpoints of one are checkpoints of both.
"""

import math
import re
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from vlm3.qwen.architecture import ROWS
from vlm3.qwen.precision import fast
from vlm3.training.config import Config


def optimizers(net: torch.nn.Module, config: Config) -> list[torch.optim.Optimizer]:
    """AdamW; for "muon", Muon (Jordan et al. 2024) for matrices other than embeddings, and AdamW
    for all else.

    Muon's updates are scaled to those of AdamW, so that one learning rate suits both.
    """
    learned = {name: p for name, p in net.named_parameters() if p.requires_grad}
    inner = []
    if config.optimizer == "muon":  # it is for what maps between spaces, not for rows of a table
        inner = [n for n, p in learned.items() if p.ndim == 2 and not re.search(ROWS, n)]
    rest = [p for name, p in learned.items() if name not in inner]
    # (0.9, 0.95), as is usual for language models.
    found = [torch.optim.AdamW(rest, config.lr, (0.9, 0.95), weight_decay=config.decay, fused=True)]
    if inner:
        matrices = [learned[name] for name in inner]
        found.append(Muon(matrices, config.lr, config.decay, adjust_lr_fn="match_rms_adamw"))
    return found


class Muon(torch.optim.Muon):
    """Muon (Jordan et al. 2024), its updates scaled to those of AdamW."""

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """One change of all matrices that have a gradient; parts of matrices are left to torch."""
        learned = [p for g in self.param_groups for p in g["params"] if p.grad is not None]
        known = all(g["adjust_lr_fn"] == "match_rms_adamw" for g in self.param_groups)
        if closure or not known or any(isinstance(p, DTensor) for p in learned):
            super().step(closure)
            return
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[Tensor]] = {}
            for p in group["params"]:
                if p.grad is not None:
                    if not self.state[p]:  # in torch's order, which files of checkpoints have
                        self.state[p]["momentum_buffer"] = torch.zeros_like(p)
                    by_shape.setdefault(p.shape, []).append(p)
            for matrices in by_shape.values():
                self._together(matrices, group)

    def _together(self, matrices: Sequence[Tensor], group: dict) -> None:
        """A change of matrices of one shape; group: of parameters, with what belongs to it."""
        gradients, momentum = [p.grad for p in matrices], group["momentum"]
        buffers = [self.state[p]["momentum_buffer"] for p in matrices]
        torch._foreach_lerp_(buffers, gradients, 1 - momentum)
        ahead = torch._foreach_lerp(gradients, buffers, momentum) if group["nesterov"] else buffers
        changes = orthogonal(torch.stack(ahead), *(group[k] for k in _ITERATION))
        rate = 0.2 * math.sqrt(max(matrices[0].shape)) * group["lr"]  # root mean square of AdamW's
        torch._foreach_mul_(matrices, 1 - group["lr"] * group["weight_decay"])
        torch._foreach_add_(matrices, list(changes.float().unbind()), alpha=-rate)


_ITERATION = ("ns_coefficients", "ns_steps", "eps")


def orthogonal(
    matrices: Tensor, coefficients: tuple[float, float, float], steps: int, eps: float
) -> Tensor:
    """(n, rows, columns) -> the same in the type that is `fast`, singular values brought near 1 by
    Newton and Schulz's iteration."""
    a, b, c = coefficients
    tall = matrices.shape[1] > matrices.shape[2]
    x = (matrices.mT if tall else matrices).to(fast(matrices.device)).contiguous()
    x /= torch.linalg.matrix_norm(x, keepdim=True).clamp(min=eps)
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x
