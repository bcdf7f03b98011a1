"""Samples as the model reads them: tokens, positions, who sees whom, and what is to be predicted.

Isolated packing: the images come once, then each question with its answer as a branch of its own,
which sees the images and itself, nothing else. Its logits are those of the question asked alone, so
an answer never leans on another, and ten questions cost little more than one. What all questions
begin with is shared as the images are.

Written out in a few lines each and tested against transformers' own processor, which needs
torchvision. Letters in shapes: L tokens, N patches, n images, T tokens of several samples.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from transformers import PreTrainedTokenizerFast

from vlm3.qwen.architecture import MERGE
from vlm3.qwen.patches import grid
from vlm3.views import Sample

LAYOUTS = ("isolated", "chat")
WEIGHTINGS = ("token", "answer", "sample")
SHARED = 0  # the branch that all others see; questions are 1, 2, ...
UNSUPERVISED = -100  # what cross-entropy ignores, in torch and in transformers


def prompt(question: str, n_images: int, answer: str | None = None) -> str:
    """Qwen's chat layout: a user turn, images first, and an assistant's, open or closed by an
    answer."""
    for text in (question, answer or ""):
        if found := re.search(r"<\|\w*\|>", text):
            raise ValueError(
                f"control token {found[0]!r} has no place in a question or an answer: {text!r}"
            )
    # Qwen3-VL's template: no system prompt, images before the words, no line break between them.
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
    images, see `vlm3.qwen.patches.grid`; bare: without the tokens that no loss needs, see
    `vlm3.qwen.batching.needed`.
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
    merge: int = MERGE  # patches per token side
    bare: bool = False

    def __len__(self) -> int:
        return len(self.ids)


def pack(
    sample: Sample,
    tokenizer: PreTrainedTokenizerFast,
    layout: str = "isolated",
    weighting: str = "answer",
    merge: int = MERGE,
) -> Packed:
    """A sample, ready to be learned from; its images must have sides that are multiples of 32.

    layout: "isolated", or "chat", where questions follow each other and see all that went before.
    weighting: what counts the same in the loss: each "token" of an answer, each "answer", or each
    "sample". merge: patches per token side, see `vlm3.qwen.model.VLM`. ValueError for a sample
    without questions or images, for control tokens in its text, and for unknown names.
    """
    if layout not in LAYOUTS or weighting not in WEIGHTINGS:
        known = f"layout is one of {LAYOUTS}, weighting one of {WEIGHTINGS}"
        raise ValueError(f"{known}: got {layout!r}, {weighting!r}")
    if not sample.qas:
        raise ValueError(f"a sample of {sample.task!r} from {sample.source!r} has no questions")
    turns = _turns(sample, tokenizer, chat=layout == "chat")
    laid_out = _row(turns) if layout == "chat" else _tree(turns)
    return _packed(sample, tokenizer, *laid_out, weighting, merge)


def pack_questions(
    sample: Sample, tokenizer: PreTrainedTokenizerFast, merge: int = MERGE
) -> Packed:
    """A sample whose answers are still to come: each branch ends where its answer will begin."""
    turns = [(asked, []) for asked, _ in _turns(sample, tokenizer, chat=False)]
    return _packed(sample, tokenizer, *_tree(turns), "token", merge)


def _packed(sample: Sample, tokenizer, ids, branches, supervised, weighting, merge) -> Packed:
    """Images in the place of their tokens, and all that goes with each token."""
    images = tuple(view.image for view in sample.views)
    grids = grids_of(images)
    image_pad = tokenizer.convert_tokens_to_ids("<|image_pad|>")
    copies = copies_of(ids, grids, image_pad, merge)
    ids, branches, supervised = (np.repeat(array, copies) for array in (ids, branches, supervised))
    # A target stands where its token is predicted, one place before it.
    targets = np.append(np.where(supervised[1:] > 0, ids[1:], UNSUPERVISED), UNSUPERVISED)
    where = _branch_positions(positions(ids, grids, image_pad, merge), branches)
    weights = _weights(np.append(supervised[1:], 0), weighting)
    told = sample.task, sample.source, merge
    return Packed(ids, where, branches, targets, weights, images, grids, *told)


def _turns(
    sample: Sample, tokenizer: PreTrainedTokenizerFast, chat: bool
) -> list[tuple[list[int], list[int]]]:
    """(question, answer) of each QA as tokens; only in a chat do later questions come without
    images."""
    n_images = len(sample.views)
    # Whole prompts are tokenised, not parts of them: a merge may cross the border of two parts.
    asked = [prompt(qa.question, 0 if chat and k else n_images) for k, qa in enumerate(sample.qas)]
    # What the template puts after an answer belongs to it, too: the model must learn to end.
    closed = [prompt("", 0, qa.answer)[len(prompt("", 0)) :] for qa in sample.qas]
    head = "" if chat else _head(asked, tokenizer)
    texts = list(dict.fromkeys([*(text[len(head) :] for text in asked), *closed]))  # each once
    tokens = dict(zip(texts, _tokens(texts, tokenizer), strict=True))
    begun = list(_known(head, tokenizer))
    turns = zip(asked, closed, strict=True)
    return [(begun + tokens[question[len(head) :]], tokens[answer]) for question, answer in turns]


def _tokens(texts: Sequence[str], tokenizer: PreTrainedTokenizerFast) -> list[list[int]]:
    return tokenizer(list(texts), add_special_tokens=False)["input_ids"]


@lru_cache(1024)
def _known(text: str, tokenizer: PreTrainedTokenizerFast) -> tuple[int, ...]:
    """The tokens of what many samples begin with."""
    return tuple(_tokens([text], tokenizer)[0]) if text else ()


def _head(texts: Sequence[str], tokenizer: PreTrainedTokenizerFast) -> str:
    """What all texts begin with and no token crosses the end of, so that it is tokenised once."""
    common = os.path.commonprefix(texts)
    sentences = common[: common.rfind(". ") + 1]
    # "Pixels are (x, y). What is ...": where a sentence ends and a word begins, so does a token.
    apart = all(text[len(sentences) + 1 :][:1].isupper() for text in texts)
    if sentences and apart and _ends(sentences, tokenizer):
        return sentences
    images, end, _ = common.rpartition("<|vision_end|>")
    return images + end


@lru_cache(1024)
def _ends(text: str, tokenizer: PreTrainedTokenizerFast) -> bool:
    """Whether a sentence after this text has the tokens that it has alone."""
    after = " What is it"
    whole, alone = _tokens([text + after, after], tokenizer)
    return whole == [*_known(text, tokenizer), *alone]


def _row(turns: list) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A chat: ids, branches (all shared), and for each token the number of the answer that it
    belongs to, or 0."""
    ids = [token for asked, answer in turns for token in asked + answer]
    supervised = [n for k, turn in enumerate(turns, 1) for n in _marks(k, *turn)]
    return np.array(ids), np.zeros(len(ids), int), np.array(supervised)


def _tree(turns: list) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What all questions begin with, once, and the rest of each: ids, branches, and the answers'
    numbers."""
    # Images and the note come first in every question, so most of a sample is common to all.
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
    # By token, a rotation of sixteen tokens would outweigh a depth of four.
    if weighting != "token":
        weights /= counts[supervised]
    return weights / (len(counts) - 1) if weighting == "sample" else weights


def grids_of(images: Sequence[np.ndarray]) -> np.ndarray:
    if len(images) == 0:
        raise ValueError("a question needs at least one image")
    return np.stack([grid(image) for image in images])


def copies_of(ids: np.ndarray, grids: np.ndarray, image_pad: int, merge: int = MERGE) -> np.ndarray:
    """How often each token stands in the row: an image's as often as it has blocks of patches."""
    copies = np.ones_like(ids)
    copies[ids == image_pad] = grids.prod(1) // merge**2
    return copies


def _branch_positions(counted: np.ndarray, branches: np.ndarray) -> np.ndarray:
    """Every branch counts on from the end of what is shared, as if it were alone."""
    # Rotary angles then are those of the question asked alone, and so are its logits.
    starts = np.flatnonzero(np.diff(branches, prepend=SHARED))
    if len(starts):
        lengths = np.diff(starts, append=len(branches))
        counted[:, starts[0] :] -= np.repeat(
            counted[:, starts] - counted[:, starts[:1]], lengths, axis=1
        )
    return counted


def positions(
    input_ids: np.ndarray, grids: np.ndarray, image_pad: int, merge: int = MERGE
) -> np.ndarray:
    """Time, row and column of every token: (L,) ids and (n, 3) grids of patches -> (3, L).

    Text counts on, all three alike. An image stands still in time while row and column count over
    its tokens; the text after it goes on from its longer side.
    """
    blocks = np.asarray(grids, dtype=np.int64).reshape(-1, 3) // [1, merge, merge]
    lengths = blocks.prod(1)
    pads = np.flatnonzero(np.asarray(input_ids) == image_pad)
    if len(pads) != lengths.sum():
        raise ValueError(
            f"{len(pads)} image tokens do not fit the grids {np.asarray(grids).tolist()}"
        )
    result, count, end = np.empty((3, len(input_ids)), dtype=np.int64), 0, 0
    firsts = pads[np.cumsum(lengths) - lengths]
    for block, length, first in zip(blocks, lengths, firsts, strict=True):
        result[:, end:first] = np.arange(first - end) + count
        count, start, end = count + first - end, first, first + length
        # Positions count merged blocks, not patches: one token, one place.
        result[:, start:end] = np.indices(block).reshape(3, -1) + count
        count += block.max()
    result[:, end:] = np.arange(len(input_ids) - end) + count
    return result
