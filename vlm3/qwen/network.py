"""What others may do with a network without knowing the names of its modules.

Letters in shapes: T tokens, D numbers each, V words.
"""

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration
from transformers.models.qwen3_vl.modeling_qwen3_vl import (
    Qwen3VLVisionAttention,
    Qwen3VLVisionModel,
)
from transformers.utils import logging

from vlm3.qwen import files
from vlm3.qwen.architecture import EMBEDDINGS, HEAD
from vlm3.qwen.patches import LinearPatches
from vlm3.qwen.tower import Tower, TowerAttention


def usable(name: str) -> torch.device:
    """The device of that name; ValueError where this machine has none."""
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(
            f"device {name!r} cannot be used here, 'cpu' always can: {error}"
        ) from error


def of_weights(
    settings: Qwen3VLConfig, weights: Mapping[str, torch.Tensor]
) -> Qwen3VLForConditionalGeneration:
    """A network with these weights, which are put in, not copied."""
    # Made without memory: gigabytes of random numbers would be drawn for nothing.
    with torch.device("meta"):
        net = Qwen3VLForConditionalGeneration(copy.deepcopy(settings))
    tied(settings, weights, "what was trained")
    net.load_state_dict(weights, assign=True)
    # Loading by assignment unties head and embeddings in silence.
    net.tie_weights()
    return net


def tied(settings: Qwen3VLConfig, weights: Mapping[str, torch.Tensor], where: str) -> None:
    """ValueError, naming `where`, for weights with a head of their own although the configuration
    ties the two."""
    head, embeddings = weights[HEAD], weights[EMBEDDINGS]
    if settings.tie_word_embeddings and not (
        head.is_set_to(embeddings) or torch.equal(head, embeddings)
    ):
        raise ValueError(
            f"{where}: {HEAD} and {EMBEDDINGS} differ, but the configuration says that they are "
            "one: set its tie_word_embeddings to false to keep both, or take "
            f"{HEAD} out of the file"
        )


def cast(net: torch.nn.Module, dtype: torch.dtype) -> None:
    """Weights in another type. `net.to(dtype)` would round the rotary frequencies, too."""
    for weight in net.parameters():
        weight.data = weight.data.to(dtype)


def count(weight: torch.Tensor) -> int:
    """How many numbers a weight holds, also where several share a byte."""
    return getattr(weight, "numbers", weight.numel())


def demand_finite(net: Qwen3VLForConditionalGeneration, folder: Path) -> None:
    """ValueError, naming the folder that they are of, for weights that are no numbers."""
    for name, weight in net.named_parameters():
        extremes = torch.stack(weight.detach().aminmax())  # no copy is made, and NaN comes through
        if not extremes.isfinite().all():
            raise ValueError(
                f"{folder}: {name} holds NaN or infinite numbers as {weight.dtype}: take an "
                f"earlier checkpoint of its training, or {files.COPY}"
            )


def plain(net: torch.nn.Module) -> Qwen3VLForConditionalGeneration:
    """The network without the adapters that may be put around it."""
    return net.get_base_model() if hasattr(net, "get_base_model") else net


def text_layers(net: torch.nn.Module) -> list[torch.nn.Module]:
    """The layers of the language model."""
    return list(plain(net).model.language_model.layers)


def layers(net: torch.nn.Module) -> list[torch.nn.Module]:
    """All layers, those of the vision tower first."""
    return [*plain(net).model.visual.blocks, *text_layers(net)]


def use_linear_patches(net: torch.nn.Module, linear: bool = True) -> None:
    """Switch between the patch embedding as a matrix product and as transformers' convolution."""
    embedding = plain(net).model.visual.patch_embed.proj
    embedding.__class__ = LinearPatches if linear else torch.nn.Conv3d


def use_side_by_side(net: torch.nn.Module, together: bool = True) -> None:
    """Switch the tower between attention of all images at once and of one after another."""
    visual = plain(net).model.visual
    visual.__class__ = Tower if together else Qwen3VLVisionModel
    for block in visual.blocks:
        block.attn.__class__ = TowerAttention if together else Qwen3VLVisionAttention


def last_hidden(net: torch.nn.Module, **inputs: object) -> tuple[torch.Tensor, torch.Tensor]:
    """(1, T, D), what the last layer says of each token, and (V, D), the head that words it."""
    qwen = plain(net)
    return qwen.model(**inputs).last_hidden_state, qwen.lm_head.weight


@contextmanager
def without_bars() -> Iterator[None]:
    """Without the progress bars and tables of transformers, as long as it lasts."""
    bars = logging.set_tqdm_hook(
        lambda make, args, options: make(*args, **options | {"disable": True})
    )
    level = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_tqdm_hook(bars)
        logging.set_verbosity(level)
