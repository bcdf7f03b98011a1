"""The attention of the vision tower on CPUs, where many small images take long one by one.

Letters in shapes: N patches of n images, each with at most L; h heads of d numbers each.
"""

import torch
from torch import Tensor
from transformers.models.qwen3_vl.modeling_qwen3_vl import (
    Qwen3VLVisionAttention,
    apply_rotary_pos_emb_vision,
)

from vlm3.qwen.attention import Moved, written_out

# Scores of one head, of all images: more no longer fit the cache, and torch's own kernel is faster.
CELLS = 1 << 20


class TowerAttention(Qwen3VLVisionAttention):
    """transformers' attention of the tower, with its weights: all images side by side."""

    def forward(
        self,
        hidden_states: Tensor,
        cu_seqlens: Tensor,
        position_embeddings: tuple[Tensor, Tensor] | None = None,
        **more: object,
    ) -> Tensor:
        """(N, D) -> (N, D); cu_seqlens: (n + 1,), where each image begins."""
        starts, lengths = cu_seqlens[:-1].long(), cu_seqlens.diff()
        longest = int(lengths.max())
        if hidden_states.device.type != "cpu" or len(lengths) * longest**2 > CELLS:
            return super().forward(hidden_states, cu_seqlens, position_embeddings, **more)
        qkv = self.qkv(hidden_states).unflatten(1, (3, self.num_heads, -1))
        query, key, value = qkv.unbind(1)
        query, key = apply_rotary_pos_emb_vision(query, key, *position_embeddings)
        steps = torch.arange(longest)
        seen = steps < lengths[:, None]  # (n, L)
        laid = torch.where(seen, starts[:, None] + steps, -1).flatten()
        back = seen.flatten().nonzero()[:, 0]
        query, key, value = (
            Moved.apply(x.flatten(1), laid, back)
            .view(len(lengths), longest, self.num_heads, -1)
            .transpose(1, 2)
            for x in (query * self.scaling, key, value)
        )
        found = written_out(query, key, value, seen[:, None])  # (n, h, L, d)
        rows = found.transpose(1, 2).flatten(0, 1).flatten(1)
        return self.proj(Moved.apply(rows, back, laid))
