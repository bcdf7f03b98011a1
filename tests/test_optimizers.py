"""Muon for many matrices at once against torch's, one after another."""

import pytest
import torch

from vlm3.training.optimizers import Muon, orthogonal

SHAPES = [(8, 24), (24, 8), (8, 24), (16, 16), (24, 8)]
OPTIONS = {"adjust_lr_fn": "match_rms_adamw", "weight_decay": 0.1}


def _weights() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(*shape, generator=generator).requires_grad_() for shape in SHAPES]


def _learned(kind: type, steps: int, **options) -> tuple[list[torch.Tensor], torch.optim.Optimizer]:
    weights, generator = _weights(), torch.Generator().manual_seed(1)
    optimizer = kind(weights, lr=0.02, **OPTIONS | options)
    for _ in range(steps):
        for weight in weights[:-1]:  # the last one learns nothing
            weight.grad = torch.randn(weight.shape, generator=generator)
        optimizer.step()
    return weights, optimizer


@pytest.mark.parametrize("nesterov", [True, False])
def test_matrices_change_together_as_one_by_one(nesterov):
    ours, optimizer = _learned(Muon, 4, nesterov=nesterov)
    theirs, reference = _learned(torch.optim.Muon, 4, nesterov=nesterov)
    for a, b, start in zip(ours, theirs, _weights(), strict=True):
        torch.testing.assert_close(a, b, atol=2e-3, rtol=0)  # bfloat16, of changes of about 0.1
        assert torch.equal(a, start) == (a is ours[-1])
    assert optimizer.state_dict().keys() == reference.state_dict().keys()
    for a, b in zip(ours[:-1], theirs[:-1], strict=True):
        buffers = optimizer.state[a]["momentum_buffer"], reference.state[b]["momentum_buffer"]
        torch.testing.assert_close(*buffers, atol=1e-6, rtol=0)


def test_what_it_leaves_is_orthogonal_to_a_few_tenths():
    found = orthogonal(torch.randn(3, 40, 8), (3.4445, -4.7750, 2.0315), 5, 1e-7)
    values = torch.linalg.svdvals(found.float())
    assert found.shape == (3, 40, 8)
    assert 0.5 < values.min() < values.max() < 1.5
