"""Packed samples as the tensors that a network takes.

Letters in shapes: T tokens of several samples, R of them supervised, N patches, n images, V words.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch

from vlm3.qwen.attention import Tree
from vlm3.qwen.model import VLM
from vlm3.qwen.packing import SHARED, UNSUPERVISED, Packed, copies_of, grids_of, positions, prompt
from vlm3.qwen.patches import cut, patches, scaled
from vlm3.qwen.trees import tree_of


def inputs(vlm: VLM, images: list[np.ndarray], question: str) -> dict[str, torch.Tensor]:
    """One question about one or more images, ready for `vlm.net(**inputs, use_cache=False)`.

    Returns input_ids (1, L), position_ids (3, 1, L), pixel_values (N, 1536), image_grid_thw (n, 3).
    """
    grids = grids_of(images)
    ids = np.array(
        vlm.tokenizer(prompt(question, len(images)), add_special_tokens=False)["input_ids"]
    )
    ids = np.repeat(ids, copies_of(ids, grids, vlm.image_pad, vlm.merge))
    arrays = {
        "input_ids": ids[None],
        "position_ids": positions(ids, grids, vlm.image_pad, vlm.merge)[:, None],
        "image_grid_thw": grids,
    }
    pixels = torch.cat([patches(_tensor(image).to(vlm.device), vlm.merge) for image in images])
    return {name: torch.from_numpy(array).to(vlm.device) for name, array in arrays.items()} | {
        "pixel_values": pixels
    }


def _tensor(image: np.ndarray) -> torch.Tensor:
    # torch warns of arrays that are read-only
    return torch.from_numpy(image if image.flags.writeable else image.copy())


@dataclass(frozen=True, eq=False)
class Batch:
    """Samples end to end in one row of T tokens, so that nothing is filled up: what `Packed` holds,
    as tensors.

    pixels: patches of all samples' images, n of them; samples (T,): the number of each token's
    sample; tree: who sees whom, see `vlm3.qwen.attention`; tasks, sources: of each sample. grids
    stay on the CPU, where the tower looks them up.
    """

    ids: torch.Tensor  # (T,)
    positions: torch.Tensor  # (3, T)
    branches: torch.Tensor  # (T,)
    targets: torch.Tensor  # (T,)
    weights: torch.Tensor  # (T,) float32
    samples: torch.Tensor  # (T,)
    pixels: torch.Tensor  # (N, 768) uint8
    grids: torch.Tensor  # (n, 3)
    tree: Tree
    tasks: tuple[str, ...]
    sources: tuple[str, ...]
    merge: int  # patches per token side

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def supervised(self) -> torch.Tensor:
        """(T,) bool, the tokens after which one is to be predicted."""
        return self.targets != UNSUPERVISED

    def to(self, device: torch.device | str) -> "Batch":
        return self._with(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> "Batch":
        """Where a GPU can fetch it by itself, while it computes."""
        return self._with(torch.Tensor.pin_memory)

    def _with(self, change: Callable[[torch.Tensor], torch.Tensor]) -> "Batch":
        tensors = {k: v for k, v in vars(self).items() if isinstance(v, torch.Tensor)}
        changed = {k: change(v) for k, v in tensors.items() if k != "grids"}
        return replace(self, **changed, tree=self.tree.map(change))

    def inputs(self, masked: bool = False) -> dict[str, torch.Tensor]:
        """For `net(**batch.inputs(), use_cache=False)`: logits (R, V) of the R supervised tokens
        only.

        masked: with a mask that any attention of transformers understands, (1, 1, T, T) and most of
        it empty, instead of the tree, which needs `attention.use`.
        """
        seen = {"tree": self.tree}
        if masked:
            seen = {"attention_mask": visible(self.samples, self.branches)}
        return seen | {
            "input_ids": self.ids[None],
            "position_ids": self.positions[:, None],
            "pixel_values": scaled(self.pixels),
            "image_grid_thw": self.grids,
            # Of 150,000 words per token, only those rows that have a target.
            "logits_to_keep": self.supervised[None],
        }


def visible(samples: torch.Tensor, branches: torch.Tensor) -> torch.Tensor:
    """Who sees whom: (T,) samples and branches -> (1, 1, T, T) bool, [0, 0, i, j] where token i
    sees token j.

    A token sees what its sample shares and what is of its own branch, up to itself.
    """
    same = samples[:, None] == samples
    near = (branches == SHARED) | (branches[:, None] == branches)
    return (same & near).tril()[None, None]


def collate(packs: Sequence[Packed]) -> Batch:
    """Samples packed for one model, end to end, without what a question ends with after its last
    prediction."""
    packs = [needed(packed) for packed in packs]
    joined = {
        f.name: np.concatenate([getattr(p, f.name) for p in packs], -1)
        for f in fields(Packed)
        if f.name not in ("images", "grids", "task", "source", "merge", "bare")
    }
    joined["samples"] = np.repeat(np.arange(len(packs)), [len(p) for p in packs])
    joined["grids"] = np.concatenate([p.grids for p in packs])
    tensors = {name: torch.from_numpy(array) for name, array in joined.items()}
    tree = tree_of(joined["samples"], joined["branches"])
    merge = packs[0].merge
    return Batch(
        **tensors,
        pixels=torch.cat([cut(_tensor(image), merge) for p in packs for image in p.images]),
        tree=tree,
        tasks=tuple(p.task for p in packs),
        sources=tuple(p.source for p in packs),
        merge=merge,
    )


def needed(packed: Packed) -> Packed:
    """A sample, once without the tokens that nothing is predicted from, nor seen from.

    They are the last ones of a branch with an answer, two of about twenty: the end of the turn,
    which is predicted before it, and a line break. Branches without an answer stay whole.
    """
    if packed.bare:
        return packed
    ends = np.flatnonzero(packed.targets != UNSUPERVISED)
    last = np.full(packed.branches.max() + 1, len(packed))
    last[packed.branches[ends]] = ends  # the last of each branch stays, as it is written last
    last[SHARED] = len(packed)
    kept = np.arange(len(packed)) <= last[packed.branches]
    by_token = ("ids", "positions", "branches", "targets", "weights")
    parts = {name: getattr(packed, name)[..., kept] for name in by_token}
    return replace(packed, **parts, bare=True)


def batches(packs: Iterable[Packed], tokens: int) -> Iterator[Batch]:
    """All samples in their order, in batches of at most `tokens`; a sample that is longer has one
    of its own.

    No more samples are asked for than the next batch needs, so a step need never be in memory as a
    whole.
    """
    group: list[Packed] = []
    size = 0
    for packed in packs:
        size += len(packed)
        if group and size > tokens:
            yield collate(group)
            group, size = [], len(packed)
        group.append(packed)
    if group:
        yield collate(group)
