"""What others may do with a network without knowing the names of its modules.

Letters in shapes: T tokens, D numbers each, V words.
"""

import torch
from transformers import Qwen3VLForConditionalGeneration

from vlm3.qwen.patches import LinearPatches


def usable(name: str) -> torch.device:
    """The device of that name; ValueError where this machine has none."""
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(
            f"device {name!r} cannot be used here, 'cpu' always can: {error}"
        ) from error


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


def last_hidden(net: torch.nn.Module, **inputs: object) -> tuple[torch.Tensor, torch.Tensor]:
    """(1, T, D), what the last layer says of each token, and (V, D), the head that words it."""
    qwen = plain(net)
    return qwen.model(**inputs).last_hidden_state, qwen.lm_head.weight
