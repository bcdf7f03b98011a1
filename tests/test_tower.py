"""The tower's attention, all images side by side, against transformers' own, one after another."""

import numpy as np
import pytest
import torch

from vlm3.qwen import batching, network, tower

SIZES = {"alike": [(64, 96)] * 3, "unlike": [(32, 32), (64, 96), (96, 64)], "one": [(96, 96)]}


def _seen(vlm, sizes, rng) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """What the tower says of some images, and the gradients of its weights."""
    images = [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]
    inputs = batching.inputs(vlm, images, "How far?")
    visual = vlm.net.model.visual
    found = visual(inputs["pixel_values"], grid_thw=inputs["image_grid_thw"]).pooler_output
    weights = [p for block in visual.blocks for p in block.parameters()]
    return found, torch.autograd.grad(found.square().sum(), weights)


@pytest.mark.parametrize("name", SIZES)
def test_images_side_by_side_are_seen_as_one_after_another(vlm, name):
    ours, gradients = _seen(vlm, SIZES[name], np.random.default_rng(0))
    network.use_side_by_side(vlm.net, False)
    try:
        theirs, expected = _seen(vlm, SIZES[name], np.random.default_rng(0))
    finally:
        network.use_side_by_side(vlm.net)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)
    for a, b in zip(gradients, expected, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-3)


def test_images_too_large_to_lie_side_by_side_are_left_to_torch(vlm, monkeypatch):
    asked = []
    theirs = tower.Qwen3VLVisionAttention.forward
    monkeypatch.setattr(
        tower.Qwen3VLVisionAttention, "forward", lambda *a, **k: asked.append(1) or theirs(*a, **k)
    )
    _seen(vlm, SIZES["alike"], np.random.default_rng(0))
    assert not asked
    monkeypatch.setattr(tower, "CELLS", {"cpu": 100})
    _seen(vlm, SIZES["alike"], np.random.default_rng(0))
    assert len(asked) == len(vlm.net.model.visual.blocks)
