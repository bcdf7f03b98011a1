"""The vision tower where images are small and many: all of them side by side, laid out once.

transformers goes from image to image, in every layer. Letters in shapes: N patches of n images,
each with at most L; h heads of d numbers each.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers.models.qwen3_vl.modeling_qwen3_vl import (
    Qwen3VLVisionAttention,
    Qwen3VLVisionModel,
    apply_rotary_pos_emb_vision,
)
from transformers.vision_utils import (
    get_vision_interpolation_indices_and_weights,
    get_vision_position_ids,
)

from vlm3.qwen.attention import Moved, kernel

# Scores of one head, of all images: more no longer fit a core's cache, or are more than a GPU does
# while it waits for the next operation, and images one by one are faster.
CELLS = {"cpu": 1 << 20, "gpu": 1 << 26}


class Layout(NamedTuple):
    """Images side by side, each filled up to the longest; `whole`: nothing had to be filled up."""

    seen: Tensor  # (n, L) bool, where a patch is
    laid: Tensor  # (n L,), the patch of each place, or -1
    back: Tensor  # (N,), the place of each patch
    whole: bool


class Tower(Qwen3VLVisionModel):
    """transformers' tower, with its weights: what follows from the sizes of images is known before,
    so that a GPU is not asked for it."""

    def forward(self, hidden_states: Tensor, grid_thw: Tensor, **more: object) -> object:
        """hidden_states: (N, 1536) patches; grid_thw: (n, 3), best on the CPU."""
        grids, device = tuple(map(tuple, grid_thw.tolist())), hidden_states.device
        how = self.spatial_merge_size, self.num_grid_per_side, device
        return super().forward(hidden_states, grid_thw, **_known(grids, *how), **more)


class TowerAttention(Qwen3VLVisionAttention):
    """transformers' attention of the tower, with its weights: all images side by side."""

    def forward(
        self,
        hidden_states: Tensor,
        cu_seqlens: Tensor,
        position_embeddings: tuple[Tensor, Tensor] | None = None,
        layout: Layout | None = None,
        **more: object,
    ) -> Tensor:
        """(N, D) -> (N, D); cu_seqlens: (n + 1,), where each image begins."""
        most = CELLS["cpu" if hidden_states.device.type == "cpu" else "gpu"]
        if layout is None or layout.seen.numel() * layout.seen.shape[1] > most:
            return super().forward(hidden_states, cu_seqlens, position_embeddings, **more)
        qkv = self.qkv(hidden_states).unflatten(1, (3, self.num_heads, -1))
        query, key, value = qkv.unbind(1)
        query, key = apply_rotary_pos_emb_vision(query, key, *position_embeddings)
        query, key, value = (
            _moved(x.flatten(1), layout.laid, layout.back, layout.whole)
            .view(*layout.seen.shape, self.num_heads, -1)
            .transpose(1, 2)
            for x in (query * self.scaling, key, value)
        )
        found = kernel(query, key, value, layout.seen[:, None])  # (n, h, L, d)
        rows = found.transpose(1, 2).flatten(0, 1).flatten(1)
        return self.proj(_moved(rows, layout.back, layout.laid, layout.whole))


def _moved(rows: Tensor, places: Tensor, back: Tensor, whole: bool) -> Tensor:
    return rows if whole else Moved.apply(rows, places, back)


@lru_cache(64)
def _known(grids: tuple[tuple[int, int, int], ...], merge: int, side: int, device: torch.device):
    """What transformers' tower would work out from the grids, and the layout."""
    each = (places(grid, merge, side, device) for grid in grids)
    positions, indices, weights = zip(*each, strict=True)
    lengths = np.prod(grids, axis=1)
    return {
        "position_ids": torch.cat(positions),
        "interp_indices": torch.cat(indices),
        "interp_weights": torch.cat(weights),
        "cu_seqlens": pad(torch.from_numpy(lengths).cumsum(0), (1, 0)).int().to(device),
        "max_seqlen": int(lengths.max()),
        "layout": _layout(lengths, device),
    }


@lru_cache(64)
def places(grid: tuple[int, int, int], merge: int, side: int, device: torch.device) -> tuple:
    """Of the patches of one image: (N, 2) row and column; (N, 4) which rows of the table of learned
    positions, and with which weights."""
    thw = torch.tensor([grid])
    how = {"mode": "bilinear", "align_corners": True, "spatial_merge_size": merge}
    found = get_vision_interpolation_indices_and_weights(thw, side, **how)
    return tuple(t.to(device) for t in (get_vision_position_ids(thw, merge), *found))


def _layout(lengths: np.ndarray, device: torch.device) -> Layout:
    seen = np.arange(lengths.max()) < lengths[:, None]
    laid, back = np.full(seen.size, -1), np.flatnonzero(seen)
    laid[back] = np.arange(len(back))
    parts = (torch.from_numpy(part).to(device) for part in (seen, laid, back))
    return Layout(*parts, whole=bool(seen.all()))
