"""Attention over packed samples without the work that their mask would throw away.

In a row of packed samples a token sees little of what stands there: its own images and its own
question. Masked attention computes everything and throws most of it away. Here each branch attends
to what its sample shares and to itself, all branches side by side, with the same result.
Registered with transformers, so that the network itself stays as it is.

Letters in shapes: T tokens of all samples in one row; a group of S samples, each with at most P
shared tokens and n branches of at most Q tokens; M places of all groups; h heads of queries and g
of keys, d numbers each.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple, Self

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

NAME = "vlm3_tree"


class Tree(NamedTuple):
    """Which tokens of the row stand where: indices into the row, filled up with -1.

    Samples of about the same size are a group, so that little is filled up.
    """

    stems: tuple[Tensor, ...]  # of each group (S, P), what each sample shares
    twigs: tuple[Tensor, ...]  # of each group (S, n, Q), its questions
    back: Tensor  # (T,), where in `laid` each token stands

    @property
    def laid(self) -> Tensor:
        """(M,) stems and twigs of all groups, end to end."""
        pairs = zip(self.stems, self.twigs, strict=True)
        return torch.cat([part.flatten() for pair in pairs for part in pair])

    def map(self, change: Callable[[Tensor], Tensor]) -> Self:
        """The same with each tensor changed."""
        stems, twigs = (tuple(map(change, parts)) for parts in (self.stems, self.twigs))
        return Tree(stems, twigs, change(self.back))


def attend(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    tree: Tree | None = None,
    **_: object,
) -> tuple[Tensor, None]:
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
        return kernel(query * scaling, key, value, attention_mask[0]).transpose(1, 2), None
    laid = tree.laid
    # Norms may have left queries and keys in a wider type than values.
    parts = [_groups(x.to(value.dtype), tree, laid) for x in (query * scaling, key, value)]
    branches = _twigs if query.device.type == "cpu" else _copied
    found = []
    for stem, *qkv in zip(tree.stems, *parts, strict=True):
        stems, twigs = zip(*qkv, strict=True)
        found.append(kernel(*stems, None).transpose(1, 2).flatten(0, 1))
        found.append(branches(stems[1:], twigs, stem >= 0).flatten(0, 2))
    rows = Moved.apply(torch.cat(found).flatten(1), tree.back, laid)
    return rows.view(1, len(rows), query.shape[1], -1), None


class Moved(torch.autograd.Function):
    """Rows (A, D) to the places (B,) -> (B, D), any row where a place is -1; back: (A,) the place
    of each row, or -1.

    Where all rows move at most once, the gradient moves back like them. torch's own would add up
    numbers one by one, as if rows could meet, which takes longer than all of the attention.
    """

    @staticmethod
    def forward(ctx, rows: Tensor, places: Tensor, back: Tensor) -> Tensor:
        """Rows at their places."""
        ctx.save_for_backward(back)
        return rows.index_select(0, places.clamp(min=0))

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None, None]:
        """Their gradients, moved back."""
        (back,) = ctx.saved_tensors
        moved = gradient.index_select(0, back.clamp(min=0))
        return torch.where(back[:, None] < 0, 0, moved), None, None


def _groups(x: Tensor, tree: Tree, laid: Tensor) -> list[tuple[Tensor, Tensor]]:
    """(1, heads, T, d) -> of each group (S, heads, P, d) and (S, heads, n, Q, d)."""
    rows = Moved.apply(x[0].transpose(0, 1).flatten(1), laid, tree.back)
    sizes = [part.numel() for pair in zip(tree.stems, tree.twigs, strict=True) for part in pair]
    parts = iter(rows.unflatten(1, (x.shape[1], -1)).split(sizes))
    return [
        (
            next(parts).view(*stem.shape, *x.shape[1::2]).transpose(1, 2),
            next(parts).view(*twig.shape, *x.shape[1::2]).permute(0, 3, 1, 2, 4),
        )
        for stem, twig in zip(tree.stems, tree.twigs, strict=True)
    ]


def _twigs(
    stems: tuple[Tensor, Tensor], twigs: tuple[Tensor, Tensor, Tensor], known: Tensor
) -> Tensor:
    """Scaled queries (S, h, n, Q, d) of branches, keys and values (S, g, n, Q, d) of theirs and (S,
    g, P, d) of what they share -> (S, n, Q, h, d); known: (S, P), where something is shared.

    All branches of a sample look at one copy of what they share.
    """
    (far_k, far_v), (query, near_k, near_v) = stems, twigs
    query = query.unflatten(1, (near_k.shape[1], -1)).transpose(2, 3)  # (S, g, n, h/g, Q, d)
    sizes = far_k.shape[2], near_k.shape[3]
    far = (query.flatten(2, 4) @ far_k.transpose(-1, -2)).view(*query.shape[:-1], sizes[0])
    near = (query.flatten(3, 4) @ near_k.transpose(-1, -2)).view(*query.shape[:-1], sizes[1])
    far = far + _bias(known, far.dtype)[:, None, None, None, None]
    near = near + _bias(_causal(sizes[1], query.device), near.dtype)
    far, near = torch.cat([far, near], -1).softmax(-1, dtype=far.dtype).split(sizes, -1)
    found = (far.flatten(2, 4) @ far_v).view(query.shape)
    found = found + (near.flatten(3, 4) @ near_v).view(query.shape)
    return found.permute(0, 2, 4, 1, 3, 5).flatten(3, 4)


def _copied(
    stems: tuple[Tensor, Tensor], twigs: tuple[Tensor, Tensor, Tensor], known: Tensor
) -> Tensor:
    """The same by one call of a kernel, which wants keys and values of each branch in one piece."""
    samples, heads, branches, length, d = twigs[0].shape
    query, *near = (twig.transpose(1, 2).flatten(0, 1) for twig in twigs)
    key, value = (
        torch.cat([stem[:, None].expand(-1, branches, -1, -1, -1).flatten(0, 1), twig], 2)
        for stem, twig in zip(stems, near, strict=True)
    )
    own = _causal(length, query.device).expand(len(query), -1, -1)
    shared = known[:, None, None].expand(-1, branches, length, -1).flatten(0, 1)
    found = kernel(query, key, value, torch.cat([shared, own], -1))
    return found.view(samples, branches, heads, length, d).transpose(2, 3)


def kernel(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    """Attention in the way that suits the device: scaled queries (B, h, Q, d), keys and values (B,
    g, K, d), mask (B or 1, Q or 1, K) -> (B, h, Q, d); without a mask each row sees itself and
    those before it."""
    way = written_out if query.device.type == "cpu" else _fused
    return way(query, key, value, mask)


def _fused(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
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


def written_out(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    """For CPUs, where torch's kernel needs four times as long in bfloat16."""
    mask = _causal(query.shape[2], query.device) if mask is None else mask
    grouped = query.unflatten(1, (key.shape[1], -1))  # (B, g, h / g, Q, d)
    scores = (grouped.flatten(2, 3) @ key.transpose(-1, -2)).view(*grouped.shape[:-1], key.shape[2])
    scores = scores + _bias(mask, scores.dtype)[:, None, None]
    shares = scores.softmax(-1, dtype=scores.dtype)
    return (shares.flatten(2, 3) @ value).view(query.shape)


def _causal(rows: int, device: torch.device) -> Tensor:
    return torch.ones(1, rows, rows, dtype=torch.bool, device=device).tril()


def _bias(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """What is added to scores: 0 where something is seen, else as little as there is."""
    return torch.zeros_like(mask, dtype=dtype).masked_fill(~mask, torch.finfo(dtype).min)


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
