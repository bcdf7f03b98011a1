"""Steps of fine-tuning whose operations a GPU begins all at once: `sft.train(config,
learner=graphed.Learner)`.

A step of the tiny model is thousands of operations of microseconds each, and a GPU waits for each
to be begun. Recorded once, as a graph, they are begun together. Everything then has to have one
size, so batches are filled up: images to slots of PATCHES, samples to slots in two groups, that of
short questions and that of long ones. A batch that does not fit is learned without the graph.

Letters in shapes: S samples of n images, T tokens, R of them supervised.
"""

from typing import NamedTuple

import dense
import numpy as np
import pools
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.utils import _pytree as pytree

from vlm3.qwen import trees
from vlm3.qwen.attention import Tree
from vlm3.qwen.batching import Batch
from vlm3.qwen.patches import scaled
from vlm3.qwen.precision import autocast
from vlm3.qwen.tower import Layout, Tower, places
from vlm3.training import sft

PATCHES = 96  # of the largest image, a multiple of those of a token
SHORT = ("depth", "correspondence")
# Tokens of what is shared, questions of a sample, tokens of each: short ones, and others.
SLOTS = {True: (216, 24, 24), False: (216, 12, 64)}
PER_SAMPLE, SUPERVISED, IMAGES = 480, 128, 1.5  # tokens, those with a target, images at most


class Fixed(NamedTuple):
    """A batch filled up; what fills it stands for the last token, which nobody sees."""

    ids: Tensor  # (T,)
    positions: Tensor  # (3, 1, T)
    pixels: Tensor  # (n PATCHES, 768)
    seen: Tensor  # (n, PATCHES) where a patch is
    places: Tensor  # (n PATCHES, 2)
    taps: Tensor  # (n PATCHES, 4)
    shares: Tensor  # (n PATCHES, 4)
    block: Tensor  # which block of merge x merge patches
    token: Tensor  # is which token
    stems: tuple[Tensor, Tensor]
    twigs: tuple[Tensor, Tensor]
    back: Tensor  # (T,)
    rows: Tensor  # (R,)
    targets: Tensor  # (R,)
    weights: Tensor  # (R,)


def fixed(batch: Batch, image_pad: int, side: int) -> Fixed | None:
    """The batch in its slots; None where it does not fit. side: of the table of positions."""
    samples = len(batch.tasks)
    length, images, rows = (int(k * samples) for k in (PER_SAMPLE, IMAGES, SUPERVISED))
    lengths = batch.grids.prod(1)
    supervised = batch.supervised.nonzero()[:, 0]
    if len(batch) >= length:
        return None
    tree = _tree(batch, length)
    fits = len(lengths) <= images and len(supervised) <= rows
    if tree is None or not fits or lengths.max() > PATCHES:
        return None
    slots = torch.arange(PATCHES) < lengths[:, None]
    slot = slots.flatten().nonzero()[:, 0]
    cpu, grids = torch.device("cpu"), map(tuple, batch.grids.tolist())
    known = zip(*(places(grid, batch.merge, side, cpu) for grid in grids), strict=True)
    token = (batch.ids == image_pad).nonzero()[:, 0]
    total, block = images * PATCHES, batch.merge**2
    return Fixed(
        _filled(batch.ids, length),
        _filled(batch.positions.T, length).T[:, None],
        _spread(batch.pixels, slot, total),
        _filled(slots, images, 1),  # to see nothing at all would be to see no number
        *(_spread(torch.cat(parts), slot, total) for parts in known),
        _filled(slot[::block] // block, total // block),
        _filled(token, total // block, length - 1),
        *tree,
        _filled(supervised, rows, length - 1),
        _filled(batch.targets[supervised], rows),
        _filled(batch.weights[supervised], rows),
    )


def _filled(part: Tensor, length: int, value: float = 0) -> Tensor:
    whole = part.new_full((length, *part.shape[1:]), value)
    whole[: len(part)] = part
    return whole


def _spread(part: Tensor, slot: Tensor, length: int) -> Tensor:
    whole = part.new_zeros((length, *part.shape[1:]))
    whole[slot] = part
    return whole


def _tree(batch: Batch, length: int) -> tuple | None:
    """Stems, twigs and the way back, in two groups of half the samples each."""
    shared, own = trees.branches_of(batch.samples.numpy(), batch.branches.numpy())
    short, stems, twigs = np.isin(batch.tasks, SHORT), [], []
    for kind, most in SLOTS.items():
        group = short == kind
        if 2 * group.sum() != len(short) or not _fits(shared[1][group], own[1][group], most):
            return None
        stems.append(trees.ranges(*(part[group] for part in shared), most[0]))
        wide = trees.ranges(*(part[group, : most[1]] for part in own), most[2])
        fill = ((0, 0), (0, most[1] - wide.shape[1]), (0, 0))
        twigs.append(np.pad(wide, fill, constant_values=-1))
    row = np.concatenate([part.ravel() for pair in zip(stems, twigs, strict=True) for part in pair])
    back = np.full(length, -1)
    back[row[row >= 0]] = np.flatnonzero(row >= 0)
    stems, twigs = (tuple(map(torch.from_numpy, parts)) for parts in (stems, twigs))
    return stems, twigs, torch.from_numpy(back)


def _fits(shared: np.ndarray, own: np.ndarray, most: tuple[int, int, int]) -> bool:
    return shared.max() <= most[0] and own.max() <= most[2] and not own[:, most[1] :].any()


def weighted_losses(net: torch.nn.Module, batch: Fixed) -> Tensor:
    """(R,) as `sft.Learner.losses` has them, filled up with zeros."""
    every = torch.arange(batch.seen.numel(), device=batch.ids.device)
    seen = super(Tower, net.model.visual).forward(
        scaled(batch.pixels),
        None,  # which sizes images have is known
        position_ids=batch.places,
        interp_indices=batch.taps,
        interp_weights=batch.shares,
        cu_seqlens=every[::PATCHES],
        max_seqlen=PATCHES,
        layout=Layout(batch.seen, every, every, whole=True),
    )
    tree = Tree(batch.stems, batch.twigs, batch.back)
    told = batch.ids, batch.positions, tree, batch.token, batch.block
    hidden = dense.understood(net.model.language_model, seen, *told)
    logits = net.lm_head(hidden.index_select(0, batch.rows))
    return cross_entropy(logits.float(), batch.targets, reduction="none") * batch.weights


class Learner(sft.Learner):
    """One whose steps are graphs."""

    graph: pools.Graph | None = None

    def gradients(self, batch: Batch, counts: bool) -> Tensor:
        """As they are without; a step of several batches is made without."""
        net = self.net
        begun = any(weight.grad is not None for weight in net.parameters())
        how = net.config.image_token_id, net.model.visual.num_grid_per_side
        filled = None if begun or not counts else fixed(batch, *how)
        if filled is None:
            return super().gradients(batch, counts)
        filled = pytree.tree_map(lambda part: part.to(self.place.device), filled)
        self.graph = self.graph or pools.Graph(self._summed, filled, self.net)
        return self.graph(filled)[: int(batch.supervised.sum())].clone()

    def _summed(self, filled: Fixed) -> tuple[Tensor, Tensor]:
        with autocast(self.place.device, self.config.precision):
            losses = weighted_losses(self.net, filled)
        return losses, losses.sum()
