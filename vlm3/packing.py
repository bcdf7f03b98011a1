"""A question about images, as the model reads it: chat layout, tokens, positions.

Written out in a few lines each and tested against transformers' own processor, which needs torchvision.
Letters in shapes: L tokens, N patches, n images.
"""

import re

import numpy as np
import torch

from vlm3.model import MERGE, VLM, patches


def prompt(question: str, n_images: int, answer: str | None = None) -> str:
    """Qwen's chat layout: a user turn, images first, and an assistant's, open or closed by an answer."""
    for text in (question, answer or ""):
        if found := re.search(r"<\|\w*\|>", text):
            raise ValueError(f"control token {found[0]!r} has no place in a question or an answer: {text!r}")
    images = "<|vision_start|><|image_pad|><|vision_end|>" * n_images
    turns = f"<|im_start|>user\n{images}{question}<|im_end|>\n<|im_start|>assistant\n"
    return turns if answer is None else f"{turns}{answer}<|im_end|>\n"


def positions(input_ids: np.ndarray, grids: np.ndarray, image_pad: int) -> np.ndarray:
    """Time, row and column of every token: (L,) ids and (n, 3) grids of patches -> (3, L).

    Text counts on, all three alike. An image stands still in time while row and column count over its
    tokens; the text after it goes on from its longer side.
    """
    blocks = np.asarray(grids, dtype=np.int64).reshape(-1, 3) // [1, MERGE, MERGE]
    lengths = blocks.prod(1)
    pads = np.flatnonzero(np.asarray(input_ids) == image_pad)
    if len(pads) != lengths.sum():
        raise ValueError(f"{len(pads)} image tokens do not fit the grids {np.asarray(grids).tolist()}")
    result, count, end = np.empty((3, len(input_ids)), dtype=np.int64), 0, 0
    for block, length, first in zip(blocks, lengths, pads[np.cumsum(lengths) - lengths], strict=True):
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
    if len(images) == 0:
        raise ValueError("a question needs at least one image")
    pixels, grids = zip(*map(patches, images), strict=True)
    grids = np.stack(grids)
    ids = np.array(vlm.tokenizer(prompt(question, len(images)), add_special_tokens=False)["input_ids"])
    copies = np.ones_like(ids)
    copies[ids == vlm.image_pad] = grids.prod(1) // MERGE**2
    ids = np.repeat(ids, copies)
    arrays = {"input_ids": ids[None], "position_ids": positions(ids, grids, vlm.image_pad)[:, None],
              "pixel_values": np.concatenate(pixels), "image_grid_thw": grids}  # fmt: skip
    return {name: torch.from_numpy(array).to(vlm.device) for name, array in arrays.items()}
