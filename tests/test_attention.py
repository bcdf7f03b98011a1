"""The attention over packed samples against torch's own with the mask that it saves."""

import numpy as np
import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from vlm3.qwen import attention, batching
from vlm3.qwen.packing import SHARED, UNSUPERVISED, Packed

# Tokens shared, then tokens of each branch, sample by sample.
ROWS = {
    "one branch": [(3, [2])],
    "a branch of one token": [(1, [1])],
    "branches of unlike lengths": [(4, [1, 5, 2])],
    "samples of unlike lengths": [(2, [3, 3]), (7, [1]), (1, [4, 1, 1])],
    "no branches, as in a chat": [(6, []), (3, [])],
    "a chat between two others": [(2, [2, 1]), (5, []), (4, [3])],
    "several groups": [(3, [2]), (5, [40, 1, 38]), (4, []), (2, [1, 2]), (6, [36, 36]), (3, [])],
}


@pytest.fixture(params=["written_out", "_fused"])
def kernel(request, monkeypatch):
    """On CPUs either way, also that of GPUs, whose kernels lay out what they return in another
    order."""

    def laid_out_as_on_gpus(*args, **options):
        return (
            scaled_dot_product_attention(*args, **options)
            .transpose(1, 2)
            .contiguous()
            .transpose(1, 2)
        )

    monkeypatch.setattr(attention, "written_out", getattr(attention, request.param))
    if request.param == "_fused":
        monkeypatch.setattr(attention, "_twigs", attention._copied)
    monkeypatch.setattr(attention, "scaled_dot_product_attention", laid_out_as_on_gpus)


def _batch(rows: list) -> batching.Batch:
    packs = []
    for shared, lengths in rows:
        branches = np.repeat(np.arange(len(lengths) + 1), [shared, *lengths])
        nothing = np.full(len(branches), UNSUPERVISED)
        packs.append(
            Packed(
                nothing,
                np.stack([nothing] * 3),
                branches,
                nothing,
                np.zeros(len(branches), np.float32),
                (np.zeros((32, 32, 3), np.uint8),),
                np.zeros((0, 3), int),
            )
        )
    return batching.collate(packs)


def _query_key_value(tokens: int) -> list[torch.Tensor]:
    """For six heads of queries and two of keys and values."""
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(1, heads, tokens, 8, generator=generator, requires_grad=True)
        for heads in (6, 2, 2)
    ]


def _both(batch: batching.Batch, qkv: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    ours, _ = attention.attend(None, *qkv, None, 0.3, batch.tree)
    seen = batching.visible(batch.samples, batch.branches)
    return ours, scaled_dot_product_attention(*qkv, seen, scale=0.3, enable_gqa=True).transpose(
        1, 2
    )


@pytest.mark.parametrize("name", ROWS)
def test_it_gives_what_masked_attention_gives(name, kernel):
    batch = _batch(ROWS[name])
    ours, masked = _both(batch, _query_key_value(len(batch)))
    assert ours.shape == (1, len(batch), 6, 8)
    torch.testing.assert_close(ours, masked, atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", ROWS)
def test_its_gradients_are_those_of_masked_attention(name, kernel):
    batch = _batch(ROWS[name])
    qkv = _query_key_value(len(batch))
    weights = torch.randn(1, len(batch), 6, 8, generator=torch.Generator().manual_seed(1))
    ours, masked = (torch.autograd.grad((out * weights).sum(), qkv) for out in _both(batch, qkv))
    for a, b in zip(ours, masked, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=0)


def test_in_bfloat16_it_stays_as_close_as_the_numbers_are_fine():
    batch = _batch(ROWS["samples of unlike lengths"])
    query, key, value = _query_key_value(len(batch))
    exact, _ = attention.attend(None, query, key, value, None, 0.3, batch.tree)
    rough, _ = attention.attend(
        None, query, key, value.bfloat16(), None, 0.3, batch.tree
    )  # norms leave these wider
    assert rough.dtype == torch.bfloat16
    torch.testing.assert_close(rough.float(), exact, atol=0.05, rtol=0)


def test_a_tree_of_two_samples_by_hand():
    """Tokens 0 1 | 2 3 4 | 5 of the first sample, 6 | 7 8 of the second."""
    batch = _batch([(2, [3, 1]), (1, [2])])
    assert batch.branches.tolist() == [SHARED, SHARED, 1, 1, 1, 2, SHARED, 1, 1]
    (stems,), (twigs,) = batch.tree.stems, batch.tree.twigs  # too few for two groups
    assert stems.tolist() == [[6, -1], [0, 1]]  # the one with the shorter branches first
    assert twigs.tolist() == [[[7, 8, -1], [-1, -1, -1]], [[2, 3, 4], [5, -1, -1]]]
    assert batch.tree.laid.tolist() == [6, -1, 0, 1, 7, 8, *[-1] * 4, 2, 3, 4, 5, -1, -1]
    assert batch.tree.laid[batch.tree.back].tolist() == list(range(9))


def test_samples_of_unlike_sizes_are_groups_of_their_own_and_like_ones_are_not():
    few, many = (5, [3, 3]), (5, [30] * 12)
    shapes = {
        name: [tuple(part.shape) for part in _batch(rows).tree.twigs]
        for name, rows in {"like": [many] * 6, "unlike": [few, many, few, many, many]}.items()
    }
    assert shapes == {"like": [(6, 12, 30)], "unlike": [(2, 2, 3), (3, 12, 30)]}


def test_a_mask_in_the_place_of_a_tree_decides_who_sees_whom(kernel):
    query, key, value = _query_key_value(5)
    mask = torch.rand(1, 1, 3, 5, generator=torch.Generator().manual_seed(2)) > 0.5
    mask[..., 0] = True
    ours, _ = attention.attend(None, query[:, :, 2:], key, value, mask, 0.3)
    expected = scaled_dot_product_attention(
        query[:, :, 2:], key, value, mask, scale=0.3, enable_gqa=True
    )
    torch.testing.assert_close(ours, expected.transpose(1, 2), atol=1e-6, rtol=0)


def test_it_is_switched_on_for_the_language_model_only(vlm):
    text, vision = vlm.net.config.text_config, vlm.net.config.vision_config
    own = text._attn_implementation, vision._attn_implementation
    assert own == ("sdpa", "sdpa")
    attention.use(vlm.net)
    assert (text._attn_implementation, vision._attn_implementation) == (attention.NAME, "sdpa")
    attention.use(vlm.net, False)
    assert (text._attn_implementation, vision._attn_implementation) == own


def test_neither_tree_nor_mask_is_refused_with_the_way_back(vlm, images):
    with attention.using(vlm.net), pytest.raises(ValueError, match="tree=False"):
        vlm.net(**batching.inputs(vlm, images[:1], "How far?"), use_cache=False)
