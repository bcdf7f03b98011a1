"""Dense heads on a network that sees pairs of images and is asked nothing: what the tiny model is
pre-trained with (`pretrain.py`), and the expert that its words are held against
(`baselines/expert.py`).

Letters in shapes: n pairs of H x W images, h x w cells of FLOW_CELL pixels.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import (
    binary_cross_entropy_with_logits,
    cross_entropy,
    grid_sample,
    normalize,
)
from transformers.models.qwen3_vl.modeling_qwen3_vl import BaseModelOutputWithDeepstackFeatures

from vlm3 import geometry
from vlm3.qwen import batching, packing
from vlm3.qwen.architecture import PATCH
from vlm3.qwen.attention import Tree
from vlm3.qwen.model import VLM
from vlm3.qwen.packing import SHARED
from vlm3.qwen.patches import cut, scaled
from vlm3.qwen.precision import autocast
from vlm3.sources.rooms import Lens, Rooms
from vlm3.tasks.correspondence import covisible
from vlm3.views import QA, Sample, View

FOCAL_PX = 100
# Exactly as homes are unified to, so that nothing has to be resampled; upright ones, too.
SIZES = ((128, 96), (128, 96), (160, 96), (96, 128))
LAYERS = 5  # of the language model that see images only; the others wait for words
DEPTH_CELL, FLOW_CELL, FEATURES, POINTS, TOGETHER = 4, 8, 64, 48, 8
WEIGHTS = {"tower": 1, "depth": 1, "flow": 4, "seen": 0.2, "pose": 0.3, "match": 0.1}


class Labels(NamedTuple):
    """Of n pairs of H x W images."""

    images: Tensor  # (n, 2, H, W, 3) uint8
    log_depth: Tensor  # (n, 2, H, W), NaN where it is not known
    match: Tensor  # (n, h, w, 2) where image 1 shows what cells of image 2 do, each side being 1
    seen: Tensor  # (n, h, w) 1 where it shows it, else 0
    pose: Tensor  # (n, 6) yaw, pitch, roll in tens of degrees, translation in thirds of a metre
    points: Tensor  # (n, POINTS) which cells of image 2 are told apart; most are seen in both
    told: Tensor  # (n, h, w) 1 where it is known whether it is seen, else 0

    def to(self, device: torch.device) -> "Labels":
        return Labels(*(each.to(device, non_blocking=True) for each in self))


class Said(NamedTuple):
    """What the heads say of as many pairs; features: (n, 2, FEATURES, H / 16, W / 16)."""

    tower: Tensor
    features: Tensor
    depth: Tensor
    match: Tensor
    seen: Tensor
    pose: Tensor


class Plan(NamedTuple):
    """What all pairs of one size have in common, of T tokens: what stands where."""

    ids: Tensor  # (T,)
    positions: Tensor  # (3, 1, T)
    grids: Tensor  # (2 n, 3), on the CPU
    tree: Tree
    shown: Tensor  # those of T that stand for images
    last: Tensor  # (n,) the one token of each question, which asks nothing


class Dense(nn.Module):
    """A network with linear heads in place of its words.

    Those of the tower say the depth of each pixel, and what is alike in both views where these show
    the same; those of the language model, after LAYERS of its layers, depth in cells, where image 1
    shows what cells of image 2 do, and the pose.
    """

    def __init__(self, vlm: VLM, seed: int = 0):
        super().__init__()
        self.vlm, self.net, self.block = vlm, vlm.net.model, PATCH * vlm.merge
        self._plans: dict[tuple[int, ...], Plan] = {}
        eyes, width = (
            vlm.net.config.vision_config.hidden_size,
            vlm.net.config.text_config.hidden_size,
        )
        depths, cells = (self.block // DEPTH_CELL) ** 2, (self.block // FLOW_CELL) ** 2
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            self.tower_depth, self.features = nn.Linear(eyes, PATCH**2), nn.Linear(eyes, FEATURES)
            self.depth, self.match = nn.Linear(width, depths), nn.Linear(width, 3 * cells)
            self.pose = nn.Linear(width, 6)

    def forward(self, images: Tensor) -> Said:
        """(n, 2, H, W, 3) uint8."""
        plan = self.plan(images.shape)
        with autocast(images.device, "bf16"):
            seen, hidden = self._hidden(cut(images, self.vlm.merge), plan)
            shown = hidden.index_select(0, plan.shown).unflatten(0, (len(images), 2, -1))
            tower = self.tower_depth(seen), self.features(seen)
            text = (
                self.depth(shown),
                self.match(shown[:, 1]),
                self.pose(hidden.index_select(0, plan.last)),
            )
        return self._laid_out(*(each.float() for each in (*tower, *text)), images.shape[:4])

    def _hidden(self, rows: Tensor, plan: "Plan") -> tuple[Tensor, Tensor]:
        """What the tower and the language model make of patches: (N, D) and (T, d)."""
        seen = self.net.visual(scaled(rows.flatten(0, -2)), grid_thw=plan.grids)
        told = plan.ids, plan.positions, plan.tree, plan.shown
        return seen.last_hidden_state, understood(self.net.language_model, seen, *told)

    def plan(self, shape: tuple[int, ...]) -> "Plan":
        """Of images of that shape, (n, 2, H, W, 3)."""
        if shape not in self._plans:
            nothing, how = (QA("", (), ""),), (self.vlm.tokenizer, self.vlm.merge)
            pair = (View(np.zeros(shape[2:], np.uint8), None),) * 2
            packed = packing.pack_questions(Sample(pair, nothing, "", ""), *how)
            batch = batching.collate([packed] * shape[0]).to(self.vlm.device)
            shown = (batch.ids == self.vlm.image_pad).nonzero()[:, 0]
            last = (batch.branches != SHARED).nonzero()[:, 0]
            told = batch.ids, batch.positions[:, None], batch.grids, batch.tree, shown, last
            self._plans[shape] = Plan(*told)
        return self._plans[shape]

    def _laid_out(self, tower, features, depth, match, pose, shape) -> Said:
        """Rows of patches and of tokens as images."""
        n, _, height, width = shape
        rows, columns, cells = height // self.block, width // self.block, self.block // FLOW_CELL
        grid = n, 2, height // PATCH, width // PATCH
        tower, features = (raster(each, grid, self.vlm.merge) for each in (tower, features))
        match = match.view(n, rows, columns, cells, cells, 3).transpose(2, 3)
        match = match.reshape(n, rows * cells, columns * cells, 3)
        depth = depth.view(n, 2, rows, columns, -1)
        return Said(
            unfolded(tower, PATCH) + 1,  # about the mean logarithm of depths in metres: the start
            features.movedim(-1, 2),
            unfolded(depth, self.block // DEPTH_CELL) + 1,
            match[..., :2] + 0.5,
            match[..., 2],
            pose,
        )


def understood(
    text: nn.Module,
    seen: BaseModelOutputWithDeepstackFeatures,
    ids: Tensor,
    positions: Tensor,
    tree: Tree,
    shown: Tensor,
    block: Tensor | None = None,
) -> Tensor:
    """(T, d), what the language model makes of T tokens and of what the tower has seen.

    shown: which tokens stand for images; block: of which rows of `seen`, by default all in order.
    As transformers does it, but without asking a GPU where images stand.
    """
    taken = (lambda rows: rows) if block is None else (lambda rows: rows.index_select(0, block))
    words = text.embed_tokens(ids)
    hidden = words.index_copy(0, shown, taken(seen.pooler_output).to(words.dtype))[None]
    where = text.rotary_emb(hidden, positions)
    for k, layer in enumerate(text.layers):
        hidden = layer(hidden, position_embeddings=where, tree=tree)
        for deep in seen.deepstack_features[k : k + 1]:
            hidden = hidden.index_add(1, shown, taken(deep).to(hidden.dtype)[None])
    return text.norm(hidden)[0]


def raster(rows: Tensor, grid: tuple[int, int, int, int], merge: int) -> Tensor:
    """(patches, D), blocks of merge x merge together, to (n, 2, H / 16, W / 16, D)."""
    n, views, high, wide = grid
    blocks = rows.view(n, views, high // merge, wide // merge, merge, merge, -1)
    return blocks.transpose(3, 4).reshape(n, views, high, wide, -1)


def unfolded(rows: Tensor, side: int) -> Tensor:
    """(n, 2, h, w, side * side) to (n, 2, h * side, w * side)."""
    n, views, high, wide, _ = rows.shape
    cells = rows.view(n, views, high, wide, side, side).transpose(3, 4)
    return cells.reshape(n, views, high * side, wide * side)


def labelled(pairs: Sequence[tuple[View, View]], seed: int) -> Labels:
    """Pairs both ways round: first all as they are, then all turned.

    Views of one size, with poses, and with depth where it is known. seed: of the points.
    """
    pairs = [*pairs, *((second, first) for first, second in pairs)]
    width, height = pairs[0][0].size
    rows, columns = np.indices((height // FLOW_CELL, width // FLOW_CELL))
    middles = (np.stack([columns, rows], -1).reshape(-1, 2) + 0.5) * FLOW_CELL
    found = [covisible(second, first, middles) for first, second in pairs]
    told = [_told(*pair, middles, uv) for pair, (uv, _) in zip(pairs, found, strict=True)]
    shape, draw = (len(pairs), *rows.shape), torch.Generator().manual_seed(seed)
    both = torch.from_numpy(np.stack([seen for _, seen in found])).float()
    match = np.nan_to_num(
        [uv / first.size for (uv, _), (first, _) in zip(found, pairs, strict=True)]
    )
    return Labels(
        torch.from_numpy(np.stack([[view.image for view in pair] for pair in pairs])),
        torch.from_numpy(np.log([[view.depth_m for view in pair] for pair in pairs])),
        torch.from_numpy(match).float().view(*shape, 2),
        both.view(shape),
        torch.tensor([_pose(*pair) for pair in pairs]).float(),
        torch.multinomial(both + 1e-6, POINTS, generator=draw),
        torch.from_numpy(np.stack(told)).float().view(shape),
    )


def _told(first: View, second: View, uv2: np.ndarray, uv1: np.ndarray) -> np.ndarray:
    """(N,) whether depth tells if pixels of the second view are seen in the first, where they lie
    at uv1."""
    inside = ((uv1 >= 0) & (uv1 < first.size)).all(-1)
    known = _known(second, uv2)
    known[inside] &= _known(first, uv1[inside])
    return known


def _known(view: View, uv: np.ndarray) -> np.ndarray:
    columns, rows = uv.astype(int).T
    return np.isfinite(view.depth_m[rows, columns])


def _pose(first: View, second: View) -> list[float]:
    pose = geometry.relative_pose(first.world_from_cam, second.world_from_cam)
    angles = geometry.ypr_from_rotation(pose[:3, :3])
    return [*(angle / 10 for angle in angles), *(3 * pose[:3, 3])]


def losses(said: Said, true: Labels) -> dict[str, Tensor]:
    """Of each head; see WEIGHTS."""
    known = true.log_depth.isfinite()
    log_depth = true.log_depth.nan_to_num(0.0)  # or gradients of what is left out would be NaN
    cells, in_cell = _in_cells(log_depth), _in_cells(known.float())
    off = (said.match - true.match).abs().sum(-1)
    seen = binary_cross_entropy_with_logits(said.seen, true.seen, reduction="none")
    return {
        "tower": _mean((said.tower - log_depth).abs(), known),
        "depth": _mean((said.depth - cells / in_cell.clamp(min=1e-6)).abs(), in_cell > 0),
        "flow": _mean(off, true.seen > 0),
        "seen": _mean(seen, true.told > 0),
        "pose": (said.pose - true.pose).abs().mean(),
        "match": _contrast(said.features, true),
    }


def _mean(values: Tensor, known: Tensor) -> Tensor:
    """Of those that are known; 0 for none."""
    return torch.where(known, values, 0).sum() / known.sum().clamp(min=1)


def _in_cells(pixels: Tensor) -> Tensor:
    """Means over cells of DEPTH_CELL pixels."""
    return pixels.unflatten(2, (-1, DEPTH_CELL)).unflatten(4, (-1, DEPTH_CELL)).mean((3, 5))


def _contrast(features: Tensor, true: Labels) -> Tensor:
    """Points seen in both views against all others of the same pairs, at a temperature of 0.07."""
    n, high, wide = true.seen.shape
    rows, columns = true.points // wide, true.points % wide
    there = torch.stack([(columns + 0.5) / wide, (rows + 0.5) / high], -1)
    here = true.match.flatten(1, 2).gather(1, true.points[..., None].expand(-1, -1, 2))
    first, second = (at(features[:, k], uv) for k, uv in enumerate((here, there)))
    together = math.gcd(n, TOGETHER) * POINTS
    alike = first.reshape(-1, together, FEATURES) @ second.reshape(-1, together, FEATURES).mT / 0.07
    right = torch.arange(together, device=alike.device).repeat(len(alike))
    seen = true.seen.flatten(1).gather(1, true.points).flatten() > 0  # of few, some points are not
    off = [cross_entropy(rows.flatten(0, 1), right, reduction="none") for rows in (alike, alike.mT)]
    return _mean(sum(off) / 2, seen)


def at(features: Tensor, uv: Tensor) -> Tensor:
    """(n, D, h, w) features at (n, m, 2) places, each side being 1: (n, m, D) of unit length."""
    found = grid_sample(features, (2 * uv - 1)[:, :, None], "bilinear", "border", False)
    return normalize(found[..., 0].mT, dim=-1)


def rooms(size: tuple[int, int], split: str = "train", grade: str = "near") -> Rooms:
    angle = 2 * math.degrees(math.atan(size[0] / 2 / FOCAL_PX))
    return Rooms("homes", split, grade=grade, lenses=[Lens(*size, (angle, angle))])
