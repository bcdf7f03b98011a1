"""Samples as the model reads them: tokens, positions, who sees whom, and what is to be predicted.

Isolated packing: the images come once, then each question with its answer as a branch of its own,
which sees the images and itself, nothing else. Its logits are those of the question asked alone, so
an answer never leans on another, and ten questions cost little more than one. What all questions
begin with is shared as the images are.

Written out in a few lines each and tested against transformers' own processor, which needs
torchvision. Letters in shapes: L tokens, N patches, n images, T tokens of several samples.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from transformers import PreTrainedTokenizerFast

from vlm3.qwen.attention import Tree
from vlm3.qwen.model import MERGE, VLM, grid, patches
from vlm3.views import Sample

LAYOUTS = ("isolated", "chat")
WEIGHTINGS = ("token", "answer", "sample")
SHARED = 0  # the branch that all others see; questions are 1, 2, ...
UNSUPERVISED = -100


def prompt(question: str, n_images: int, answer: str | None = None) -> str:
    """Qwen's chat layout: a user turn, images first, and an assistant's, open or closed by an
    answer."""
    for text in (question, answer or ""):
        if found := re.search(r"<\|\w*\|>", text):
            raise ValueError(
                f"control token {found[0]!r} has no place in a question or an answer: {text!r}"
            )
    images = "<|vision_start|><|image_pad|><|vision_end|>" * n_images
    turns = f"<|im_start|>user\n{images}{question}<|im_end|>\n<|im_start|>assistant\n"
    return turns if answer is None else f"{turns}{answer}<|im_end|>\n"


@dataclass(frozen=True, eq=False)
class Packed:
    """One sample as arrays.

    ids (L,); positions (3, L): time, row, column; branches (L,): SHARED, or the number of the
    question; targets (L,): the token to predict after this one, UNSUPERVISED where none is; weights
    (L,): what it counts in the loss; images: each (H, W, 3) uint8, cut into patches where the
    network is, since patches in float32 take eight times the room; grids (n, 3): those of the
    images, see `model.grid`.
    """

    ids: np.ndarray
    positions: np.ndarray
    branches: np.ndarray
    targets: np.ndarray
    weights: np.ndarray
    images: tuple[np.ndarray, ...]
    grids: np.ndarray
    task: str = ""
    source: str = ""

    def __len__(self) -> int:
        return len(self.ids)


def pack(
    sample: Sample,
    tokenizer: PreTrainedTokenizerFast,
    layout: str = "isolated",
    weighting: str = "answer",
) -> Packed:
    """A sample, ready to be learned from; its images must have sides that are multiples of 32.

    layout: "isolated", or "chat", where questions follow each other and see all that went before.
    weighting: what counts the same in the loss: each "token" of an answer, each "answer", or each
    "sample". ValueError for a sample without questions or images, for control tokens in its text,
    and for unknown names.
    """
    if layout not in LAYOUTS or weighting not in WEIGHTINGS:
        raise ValueError(
            f"layout is one of {LAYOUTS}, weighting one of {WEIGHTINGS}: got {layout!r}, {weighting!r}"
        )
    if not sample.qas:
        raise ValueError(f"a sample of {sample.task!r} from {sample.source!r} has no questions")
    turns = _turns(sample, tokenizer, chat=layout == "chat")
    return _packed(
        sample, tokenizer, *(_row(turns) if layout == "chat" else _tree(turns)), weighting
    )


def ask(sample: Sample, tokenizer: PreTrainedTokenizerFast) -> Packed:
    """A sample whose answers are still to come: each branch ends where its answer will begin."""
    turns = [(asked, []) for asked, _ in _turns(sample, tokenizer, chat=False)]
    return _packed(sample, tokenizer, *_tree(turns), "token")


def _packed(sample: Sample, tokenizer, ids, branches, supervised, weighting: str) -> Packed:
    """Images in the place of their tokens, and all that goes with each token."""
    images = tuple(view.image for view in sample.views)
    grids = _grids(images)
    image_pad = tokenizer.convert_tokens_to_ids("<|image_pad|>")
    copies = _copies(ids, grids, image_pad)
    ids, branches, supervised = (np.repeat(array, copies) for array in (ids, branches, supervised))
    targets = np.append(np.where(supervised[1:] > 0, ids[1:], UNSUPERVISED), UNSUPERVISED)
    where = _branch_positions(positions(ids, grids, image_pad), branches)
    weights = _weights(np.append(supervised[1:], 0), weighting)
    return Packed(ids, where, branches, targets, weights, images, grids, sample.task, sample.source)


def _turns(
    sample: Sample, tokenizer: PreTrainedTokenizerFast, chat: bool
) -> list[tuple[list[int], list[int]]]:
    """(question, answer) of each QA as tokens; only in a chat do later questions come without
    images."""
    n_images = len(sample.views)
    asked = [prompt(qa.question, 0 if chat and k else n_images) for k, qa in enumerate(sample.qas)]
    closed = [prompt("", 0, qa.answer)[len(prompt("", 0)) :] for qa in sample.qas]
    tokens = tokenizer(asked + closed, add_special_tokens=False)["input_ids"]
    return list(zip(tokens[: len(asked)], tokens[len(asked) :], strict=True))


def _row(turns: list) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A chat: ids, branches (all shared), and for each token the number of the answer that it
    belongs to, or 0."""
    ids = [token for asked, answer in turns for token in asked + answer]
    supervised = [n for k, turn in enumerate(turns, 1) for n in _marks(k, *turn)]
    return np.array(ids), np.zeros(len(ids), int), np.array(supervised)


def _tree(turns: list) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What all questions begin with, once, and the rest of each: ids, branches, and the answers'
    numbers."""
    shared = _common(*(asked for asked, _ in turns))
    ids, branches, supervised = list(turns[0][0][:shared]), [SHARED] * shared, [0] * shared
    for k, (asked, answer) in enumerate(turns, 1):
        ids += asked[shared:] + answer
        branches += [k] * (len(asked) - shared + len(answer))
        supervised += _marks(k, asked[shared:], answer)
    return np.array(ids), np.array(branches), np.array(supervised)


def _marks(number: int, asked: list[int], answer: list[int]) -> list[int]:
    """An answer is supervised up to the end of its turn, without the line break after it."""
    return [0] * len(asked) + ([number] * (len(answer) - 1) + [0] if answer else [])


def _common(*rows: list[int]) -> int:
    """How many tokens all rows begin with; each keeps one of its own, from which its answer is
    predicted."""
    shortest = min(map(len, rows)) - 1
    return next((i for i in range(shortest) if len({row[i] for row in rows}) > 1), shortest)


def _weights(supervised: np.ndarray, weighting: str) -> np.ndarray:
    counts = np.bincount(supervised)  # of tokens, by answer
    weights = (supervised > 0).astype(np.float32)
    if weighting != "token":
        weights /= counts[supervised]
    return weights / (len(counts) - 1) if weighting == "sample" else weights


def _grids(images: Sequence[np.ndarray]) -> np.ndarray:
    if len(images) == 0:
        raise ValueError("a question needs at least one image")
    return np.stack([grid(image) for image in images])


def _copies(ids: np.ndarray, grids: np.ndarray, image_pad: int) -> np.ndarray:
    """How often each token stands in the row: an image's as often as it has blocks of patches."""
    copies = np.ones_like(ids)
    copies[ids == image_pad] = grids.prod(1) // MERGE**2
    return copies


def _branch_positions(counted: np.ndarray, branches: np.ndarray) -> np.ndarray:
    """Every branch counts on from the end of what is shared, as if it were alone."""
    starts = np.flatnonzero(np.diff(branches, prepend=SHARED))
    if len(starts):
        lengths = np.diff(starts, append=len(branches))
        counted[:, starts[0] :] -= np.repeat(
            counted[:, starts] - counted[:, starts[:1]], lengths, axis=1
        )
    return counted


def positions(input_ids: np.ndarray, grids: np.ndarray, image_pad: int) -> np.ndarray:
    """Time, row and column of every token: (L,) ids and (n, 3) grids of patches -> (3, L).

    Text counts on, all three alike. An image stands still in time while row and column count over
    its tokens; the text after it goes on from its longer side.
    """
    blocks = np.asarray(grids, dtype=np.int64).reshape(-1, 3) // [1, MERGE, MERGE]
    lengths = blocks.prod(1)
    pads = np.flatnonzero(np.asarray(input_ids) == image_pad)
    if len(pads) != lengths.sum():
        raise ValueError(
            f"{len(pads)} image tokens do not fit the grids {np.asarray(grids).tolist()}"
        )
    result, count, end = np.empty((3, len(input_ids)), dtype=np.int64), 0, 0
    for block, length, first in zip(
        blocks, lengths, pads[np.cumsum(lengths) - lengths], strict=True
    ):
        result[:, end:first] = np.arange(first - end) + count
        count, start, end = count + first - end, first, first + length
        result[:, start:end] = np.indices(block).reshape(3, -1) + count
        count += block.max()
    result[:, end:] = np.arange(len(input_ids) - end) + count
    return result


def inputs(vlm: VLM, images: list[np.ndarray], question: str) -> dict[str, torch.Tensor]:
    """One question about one or more images, ready for `vlm.net(**inputs, use_cache=False)`.

    Returns input_ids (1, L), position_ids (3, 1, L), pixel_values (N, 1536), image_grid_thw (n, 3).
    """
    grids = _grids(images)
    ids = np.array(
        vlm.tokenizer(prompt(question, len(images)), add_special_tokens=False)["input_ids"]
    )
    ids = np.repeat(ids, _copies(ids, grids, vlm.image_pad))
    arrays = {
        "input_ids": ids[None],
        "position_ids": positions(ids, grids, vlm.image_pad)[:, None],
        "image_grid_thw": grids,
    }
    pixels = torch.cat([patches(_tensor(image).to(vlm.device)) for image in images])
    return {name: torch.from_numpy(array).to(vlm.device) for name, array in arrays.items()} | {
        "pixel_values": pixels
    }


def _tensor(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(
        np.array(image)
    )  # a copy: torch warns of arrays that may not be written to


@dataclass(frozen=True, eq=False)
class Batch:
    """Samples end to end in one row of T tokens, so that nothing is filled up: what `Packed` holds,
    as tensors.

    images: those of all samples, n of them; samples (T,): the number of each token's sample; tree:
    who sees whom, see `vlm3.qwen.attention`; tasks, sources: of each sample.
    """

    ids: torch.Tensor  # (T,)
    positions: torch.Tensor  # (3, T)
    branches: torch.Tensor  # (T,)
    targets: torch.Tensor  # (T,)
    weights: torch.Tensor  # (T,) float32
    samples: torch.Tensor  # (T,)
    images: tuple[torch.Tensor, ...]  # each (H, W, 3) uint8
    grids: torch.Tensor  # (n, 3)
    tree: Tree
    tasks: tuple[str, ...]
    sources: tuple[str, ...]

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
        tensors = {k: change(v) for k, v in vars(self).items() if isinstance(v, torch.Tensor)}
        return replace(
            self,
            **tensors,
            images=tuple(map(change, self.images)),
            tree=Tree(*map(change, self.tree)),
        )

    def inputs(self, masked: bool = False) -> dict[str, torch.Tensor]:
        """For `net(**batch.inputs(), use_cache=False)`: logits (R, V) of the R supervised tokens
        only.

        masked: with a mask that any attention of transformers understands, (1, 1, T, T) and most of
        it empty, instead of the tree, which needs `attention.use`.
        """
        seen = (
            {"attention_mask": visible(self.samples, self.branches)}
            if masked
            else {"tree": self.tree}
        )
        return seen | {
            "input_ids": self.ids[None],
            "position_ids": self.positions[:, None],
            "pixel_values": torch.cat([patches(image) for image in self.images]),
            "image_grid_thw": self.grids,
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
    """Samples end to end."""
    joined = {
        f.name: np.concatenate([getattr(p, f.name) for p in packs], -1)
        for f in fields(Packed)
        if f.name not in ("images", "grids", "task", "source")
    }
    joined["samples"] = np.repeat(np.arange(len(packs)), [len(p) for p in packs])
    joined["grids"] = np.concatenate([p.grids for p in packs])
    tensors = {name: torch.from_numpy(array) for name, array in joined.items()}
    tree = Tree(*map(torch.from_numpy, _tree_of(joined["samples"], joined["branches"])))
    images = tuple(_tensor(image) for p in packs for image in p.images)
    return Batch(
        **tensors,
        images=images,
        tree=tree,
        tasks=tuple(p.task for p in packs),
        sources=tuple(p.source for p in packs),
    )


def _tree_of(samples: np.ndarray, branches: np.ndarray) -> tuple[np.ndarray, ...]:
    """Stems, twigs, owners and the way back, as `attention.Tree` has them."""
    starts = np.flatnonzero(np.diff(samples, prepend=-1) | np.diff(branches, prepend=-1))
    lengths = np.diff(starts, append=len(samples))
    stem = branches[starts] == SHARED
    stems, twigs = (_ranges(starts[part], lengths[part]) for part in (stem, ~stem))
    laid = np.concatenate([stems.ravel(), twigs.ravel()])
    back = np.empty(len(samples), np.int64)
    back[laid[laid >= 0]] = np.flatnonzero(laid >= 0)
    return stems, twigs, samples[starts[~stem]], back


def _ranges(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Rows start, start + 1, ..., filled up with -1."""
    steps = np.arange(lengths.max(initial=0))
    return np.where(steps < lengths[:, None], starts[:, None] + steps, -1)


def batches(packs: Iterable[Packed], tokens: int) -> Iterator[Batch]:
    """All samples in their order, in batches of at most `tokens`; a sample that is longer has one
    of its own.

    No more samples are asked for than the next batch needs, so a step need never be in memory as a
    whole.
    """
    group: list[Packed] = []
    for packed in packs:
        if group and sum(map(len, group)) + len(packed) > tokens:
            yield collate(group)
            group = []
        group.append(packed)
    if group:
        yield collate(group)
