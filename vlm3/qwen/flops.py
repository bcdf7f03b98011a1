"""How much arithmetic a step asks for, and how much a device could do: their ratio is the MFU.

Counted are the multiplications and additions of matrices, as PaLM (Chowdhery et al. 2022, appendix
B) counts them: 2 for each weight and token forward, and backward 2 for what passes through and 2
for each weight that learns. What is computed again to save memory does not count.
"""

import re
import time
from collections.abc import Mapping

import torch

from vlm3.qwen import network
from vlm3.qwen.batching import Batch
from vlm3.qwen.precision import multiplied_in

# Dense bfloat16, from the makers' data sheets. The longer of two names that fit is taken.
PEAK_TFLOPS = {
    "H200": 989,
    "H100": 989,
    "H100 NVL": 835,
    "H100 PCIe": 756,
    "A100": 312,
    "L40S": 362,
    "L4": 121,
    "A10G": 70,
    "T4": 65,
    "RTX 4090": 165,
    "RTX 3090": 71,
    "V100": 125,
}


def step(net: torch.nn.Module, batch: Batch) -> float:
    """Operations of one pass forward and backward."""
    qwen = network.plain(net)
    text, vision = qwen.config.text_config, qwen.config.vision_config
    tower, language = qwen.model.visual, qwen.model.language_model
    images = batch.grids.prod(1).double()
    patches = images.sum().item()
    sees = {
        tower.patch_embed: patches,
        tower.blocks: patches,
        tower.merger: patches / batch.merge**2,
        tower.deepstack_merger_list: patches / batch.merge**2,
    }
    reads = {language.layers: len(batch), qwen.lm_head: int(batch.supervised.sum())}
    # Each patch of an image looks at all others of it, in every layer of the tower.
    looks = 2 * vision.hidden_size * vision.depth * images.square().sum().item()
    links = 2 * text.num_attention_heads * text.head_dim * text.num_hidden_layers * _pairs(batch)
    # Gradients pass through the text wherever the tower learns: it comes after the images.
    return 2 * (_work(sees, looks, _learns(tower)) + _work(reads, links, _learns(qwen)))


def _work(parts: Mapping[torch.nn.Module, float], attention: float, back: bool) -> float:
    """Multiplications for parts through which so many tokens go, and for attention; back: gradients
    pass, too."""
    weights = sum(
        n * (_weights(part) * (1 + back) + _weights(part, learned=True))
        for part, n in parts.items()
    )
    return weights + attention * (1 + 2 * back)


def _pairs(batch: Batch) -> float:
    """How many tokens are seen, over all tokens that look."""
    found = 0.0
    for stem, twig in zip(batch.tree.stems, batch.tree.twigs, strict=True):
        shared, own = (stem >= 0).sum(-1).double(), (twig >= 0).sum(-1).double()
        found += (shared**2 / 2).sum() + (own * (shared[:, None] + own / 2)).sum()
    return float(found)


def _weights(module: torch.nn.Module, learned: bool = False) -> int:
    """Of matrices; learned: only of those that learn."""
    return sum(
        network.count(p)
        for p in module.parameters()
        if p.ndim > 1 and (p.requires_grad or not learned)
    )


def _learns(module: torch.nn.Module) -> bool:
    return any(p.requires_grad for p in module.parameters())


def peak(device: torch.device, precision: str = "bf16") -> float:
    """Operations per second that the device could do: from its data sheet; of a CPU or an unknown
    GPU, measured."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    # "H100" is part of "H100 PCIe", which is slower: the longest name that fits is meant.
    known = [part for part in PEAK_TFLOPS if re.search(rf"\b{part}\b", name)]
    if known and precision == "bf16":
        return PEAK_TFLOPS[max(known, key=len)] * 1e12
    side = 8192 if name else 2048  # long enough for what starts it not to count
    return measured(device, multiplied_in(device, precision), side)


def measured(device: torch.device, dtype: torch.dtype, side: int) -> float:
    """The best of a few products of two square matrices."""
    # Random, since a GPU is faster on numbers that are all alike.
    a = torch.randn(side, side, device=device).to(dtype)
    taken = []
    for _ in range(5):
        began = time.perf_counter()
        (a @ a)[0, 0].item()
        taken.append(time.perf_counter() - began)
    return 2 * side**3 / min(taken)
