"""Attention over packed samples without the work that their mask would throw away.

In a row of packed samples a token sees little of what stands there: its own images and its own
question. Masked attention computes everything and throws most of it away. Here each branch attends
to a copy of what its sample shares and to itself, all branches side by side, with the same result.
Registered with transformers, so that the network itself stays as it is.

Letters in shapes: T tokens of all samples in one row, S samples with at most P shared tokens, N
branches with at most Q tokens, h heads of queries and g of keys, d numbers each.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch.nn.functional import embedding, scaled_dot_product_attention
from transformers import AttentionInterface

NAME = "vlm3_tree"


class Tree(NamedTuple):
    """Which tokens of the row stand where: indices into the row, filled up with -1."""

    stems: torch.Tensor  # (S, P), what each sample shares
    twigs: torch.Tensor  # (N, Q), its questions
    owners: torch.Tensor  # (N,), the sample of each branch
    back: torch.Tensor  # (T,), where in stems and twigs, laid end to end, each token stands


def attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float,
    tree: Tree | None = None,
    **_: object,
) -> tuple[torch.Tensor, None]:
    """query (1, h, T, d), key and value (1, g, T, d) -> (1, T, h, d), in the form that transformers
    asks for.

    Without a tree, as when answers grow token by token, attention_mask (1, 1, Q, T) says who sees
    whom.
    """
    if tree is None and attention_mask is None:
        raise ValueError(
            "this attention needs a tree, as in `Batch.inputs`, or a mask; "
            "`attention.use(net, tree=False)` goes back to torch's own"
        )
    if tree is None:
        # Answers that grow token by token have no tree; their mask is small.
        return _attention(query * scaling, key, value, attention_mask[0]).transpose(1, 2), None
    # Norms may have left queries and keys in a wider type than values.
    parts = (_laid_out(x.to(value.dtype), tree) for x in (query, key, value))
    (stem_q, twig_q), (stem_k, twig_k), (stem_v, twig_v) = parts
    twig_k, twig_v = (
        torch.cat([stem[tree.owners], twig], 2)
        for stem, twig in ((stem_k, twig_k), (stem_v, twig_v))
    )
    stems = _attention(stem_q * scaling, stem_k, stem_v, None)
    twigs = _attention(twig_q * scaling, twig_k, twig_v, _seen(tree))
    rows = torch.cat([x.transpose(1, 2).flatten(0, 1) for x in (stems, twigs)])
    return embedding(tree.back, rows.flatten(1)).view(1, -1, *rows.shape[1:]), None


def _attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None
) -> torch.Tensor:
    """Scaled queries (B, h, Q, d), keys and values (B, g, K, d), mask (B or 1, Q, K) -> (B, h, Q,
    d); without a mask each row sees itself and those before it."""
    way = _written_out if query.device.type == "cpu" else _fused
    return way(query, key, value, mask)


def _fused(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None
) -> torch.Tensor:
    """torch's kernels for GPUs: flash attention without a mask, which knows shared keys, and else
    the memory-efficient one, which does not, so that all queries of a key are rows of one head."""
    if mask is None:
        return scaled_dot_product_attention(
            query, key, value, is_causal=True, scale=1.0, enable_gqa=True
        )
    rows = query.unflatten(1, (key.shape[1], -1)).flatten(2, 3)  # (B, g, h / g Q, d)
    # The efficient kernel knows no shared keys: their queries become rows of one head.
    mask = mask.repeat(1, query.shape[1] // key.shape[1], 1)[:, None]
    return scaled_dot_product_attention(rows, key, value, mask, scale=1.0).reshape(query.shape)


def _written_out(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None
) -> torch.Tensor:
    """For CPUs, where torch's kernel needs four times as long in bfloat16."""
    mask = _causal(query.shape[2], query.device) if mask is None else mask
    grouped = query.unflatten(1, (key.shape[1], -1))  # (B, g, h / g, Q, d)
    scores = (grouped.flatten(2, 3) @ key.transpose(-1, -2)).view(*grouped.shape[:-1], key.shape[2])
    bias = torch.zeros_like(mask, dtype=scores.dtype).masked_fill(
        ~mask, torch.finfo(scores.dtype).min
    )
    shares = (scores + bias[:, None, None]).softmax(-1, dtype=scores.dtype)
    return (shares.flatten(2, 3) @ value).view(query.shape)


def _laid_out(x: torch.Tensor, tree: Tree) -> tuple[torch.Tensor, torch.Tensor]:
    """(1, heads, T, d) -> (S, heads, P, d) and (N, heads, Q, d), filled up with the first token."""
    heads = x.shape[1]
    rows = x[0].transpose(0, 1).flatten(1)
    laid = (embedding(part.clamp(min=0), rows) for part in (tree.stems, tree.twigs))
    return tuple(part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in laid)


def _causal(rows: int, device: torch.device) -> torch.Tensor:
    return torch.ones(1, rows, rows, dtype=torch.bool, device=device).tril()


def _seen(tree: Tree) -> torch.Tensor:
    """(N, Q, P + Q): a branch sees what its sample shares, and itself up to each token."""
    own = _causal(tree.twigs.shape[1], tree.twigs.device).expand(len(tree.twigs), -1, -1)
    shared = (tree.stems >= 0)[tree.owners, None].expand(-1, own.shape[1], -1)
    return torch.cat([shared, own], -1)


def use(net: torch.nn.Module, tree: bool = True) -> None:
    """Switch the language model of a Qwen3-VL between this attention and torch's; the vision tower
    keeps its own."""
    net.config.text_config._attn_implementation = NAME if tree else "sdpa"


@contextmanager
def using(net: torch.nn.Module) -> Iterator[None]:
    """This attention for a while, then what was there before."""
    before = net.config.text_config._attn_implementation
    use(net)
    try:
        yield
    finally:
        net.config.text_config._attn_implementation = before


AttentionInterface.register(NAME, attend)
