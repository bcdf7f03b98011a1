"""Dense heads on a network that sees pairs of images and is asked nothing: what the tiny model is
pre-trained with (`pretrain.py`), and the expert that its words are held against (`eyes.py`).

Letters in shapes: n pairs of H x W images, h x w cells of FLOW_CELL pixels.
"""

import math
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

from vlm3 import geometry
from vlm3.qwen import batching, packing
from vlm3.qwen.architecture import PATCH
from vlm3.qwen.model import VLM
from vlm3.qwen.packing import SHARED
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
    log_depth: Tensor  # (n, 2, H, W)
    match: Tensor  # (n, h, w, 2) where image 1 shows what cells of image 2 do, each side being 1
    seen: Tensor  # (n, h, w) 1 where it shows it, else 0
    pose: Tensor  # (n, 6) yaw, pitch, roll in tens of degrees, translation in thirds of a metre


class Said(NamedTuple):
    """What the heads say of as many pairs; features: (n, 2, FEATURES, H / 16, W / 16)."""

    tower: Tensor
    features: Tensor
    depth: Tensor
    match: Tensor
    seen: Tensor
    pose: Tensor


class Dense(nn.Module):
    """A network with linear heads in place of its words.

    Those of the tower say the depth of each pixel, and what is alike in both views where these show
    the same; those of the language model, after LAYERS of its layers, depth in cells, where image 1
    shows what cells of image 2 do, and the pose.
    """

    def __init__(self, vlm: VLM, seed: int = 0):
        super().__init__()
        self.vlm, self.net, self.block = vlm, vlm.net.model, PATCH * vlm.merge
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
        batch, seen = self._batch(images), {}
        hook = self.net.visual.register_forward_hook(lambda *call: seen.update(tower=call[2]))
        with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
            inputs = batch.inputs()
            del inputs["logits_to_keep"]
            hidden = self.net(**inputs, use_cache=False).last_hidden_state[0]
            hook.remove()
            shown = hidden[batch.ids == self.vlm.image_pad].unflatten(0, (len(images), 2, -1))
            last = hidden[batch.branches != SHARED]  # the one token of a question that asks nothing
            tower = seen["tower"].last_hidden_state
            tower = self.tower_depth(tower), self.features(tower)
            text = self.depth(shown), self.match(shown[:, 1]), self.pose(last)
        return self._laid_out(*(each.float() for each in (*tower, *text)), images.shape[:4])

    def _batch(self, images: Tensor) -> batching.Batch:
        nothing, how = (QA("", (), ""),), (self.vlm.tokenizer, self.vlm.merge)
        samples = [
            Sample(tuple(View(image, None) for image in pair), nothing, "", "")
            for pair in images.numpy()
        ]
        return batching.collate([packing.pack_questions(sample, *how) for sample in samples])

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


def labelled(rooms: Rooms, indices: range) -> Labels:
    """Pairs both ways round: first all as they are, then all turned."""
    pairs = rooms.batch(indices)
    pairs += [(second, first) for first, second in pairs]
    width, height = pairs[0][0].size
    rows, columns = np.indices((height // FLOW_CELL, width // FLOW_CELL))
    middles = (np.stack([columns, rows], -1).reshape(-1, 2) + 0.5) * FLOW_CELL
    found = [covisible(second, first, middles) for first, second in pairs]
    shape = len(pairs), *rows.shape
    match = np.nan_to_num(
        [uv / first.size for (uv, _), (first, _) in zip(found, pairs, strict=True)]
    )
    return Labels(
        torch.from_numpy(np.stack([[view.image for view in pair] for pair in pairs])),
        torch.from_numpy(np.log([[view.depth_m for view in pair] for pair in pairs])),
        torch.from_numpy(match).float().view(*shape, 2),
        torch.from_numpy(np.stack([seen for _, seen in found])).float().view(shape),
        torch.tensor([_pose(*pair) for pair in pairs]).float(),
    )


def _pose(first: View, second: View) -> list[float]:
    pose = geometry.relative_pose(first.world_from_cam, second.world_from_cam)
    angles = geometry.ypr_from_rotation(pose[:3, :3])
    return [*(angle / 10 for angle in angles), *(3 * pose[:3, 3])]


def losses(said: Said, true: Labels, rng: torch.Generator) -> dict[str, Tensor]:
    """Of each head; see WEIGHTS."""
    cells = (
        true.log_depth.unflatten(2, (-1, DEPTH_CELL)).unflatten(4, (-1, DEPTH_CELL)).mean((3, 5))
    )
    off = (said.match - true.match).abs().sum(-1)
    return {
        "tower": (said.tower - true.log_depth).abs().mean(),
        "depth": (said.depth - cells).abs().mean(),
        "flow": (off * true.seen).sum() / true.seen.sum(),
        "seen": binary_cross_entropy_with_logits(said.seen, true.seen),
        "pose": (said.pose - true.pose).abs().mean(),
        "match": _contrast(said.features, true, rng),
    }


def _contrast(features: Tensor, true: Labels, rng: torch.Generator) -> Tensor:
    """Points seen in both views against all others of the same pairs, at a temperature of 0.07."""
    n, high, wide = true.seen.shape
    chosen = torch.multinomial(true.seen.flatten(1) + 1e-6, POINTS, generator=rng)
    rows, columns = chosen // wide, chosen % wide
    there = torch.stack([(columns + 0.5) / wide, (rows + 0.5) / high], -1)
    here = true.match.flatten(1, 2).gather(1, chosen[..., None].expand(-1, -1, 2))
    first, second = (at(features[:, k], uv) for k, uv in enumerate((here, there)))
    together = math.gcd(n, TOGETHER) * POINTS
    alike = first.reshape(-1, together, FEATURES) @ second.reshape(-1, together, FEATURES).mT / 0.07
    right = torch.arange(together).repeat(len(alike))
    return sum(cross_entropy(rows.flatten(0, 1), right) for rows in (alike, alike.mT)) / 2


def at(features: Tensor, uv: Tensor) -> Tensor:
    """(n, D, h, w) features at (n, m, 2) places, each side being 1: (n, m, D) of unit length."""
    found = grid_sample(features, (2 * uv - 1)[:, :, None], "bilinear", "border", False)
    return normalize(found[..., 0].mT, dim=-1)


def rooms(size: tuple[int, int], split: str = "train", grade: str = "near") -> Rooms:
    angle = 2 * math.degrees(math.atan(size[0] / 2 / FOCAL_PX))
    return Rooms("homes", split, grade=grade, lenses=[Lens(*size, (angle, angle))])
