"""How much arithmetic a step asks for, and how much a device could do: their ratio is the MFU.

Counted are the multiplications and additions of matrices, as PaLM (Chowdhery et al. 2022, appendix B) counts them: 2
for each weight and token forward, twice that backward. What is computed again to save memory does not count; parts
without gradients count forward only.
"""

import time

import torch

from vlm3.packing import Batch

# Dense bfloat16, from the makers' data sheets. The longer of two names that fit is taken.
PEAK_TFLOPS = {"H200": 989, "H100": 989, "H100 PCIe": 756, "A100": 312, "L40S": 362, "L4": 121, "A10G": 70, "T4": 65,
               "RTX 4090": 165, "RTX 3090": 71, "V100": 125}  # fmt: skip


def step(net: torch.nn.Module, batch: Batch) -> float:
    """Operations of one pass forward and backward."""
    qwen = net.get_base_model() if hasattr(net, "get_base_model") else net
    text, vision = qwen.config.text_config, qwen.config.vision_config
    tower, language = qwen.model.visual, qwen.model.language_model
    images = batch.grids.prod(1).double()
    seen = _pairs(batch)
    terms = {
        tower.blocks: _weights(tower.blocks) * images.sum().item(),
        tower.patch_embed: _weights(tower.patch_embed) * images.sum().item(),
        tower.merger: (_weights(tower.merger) + _weights(tower.deepstack_merger_list)) * images.sum().item() / 4,
        language.layers: _weights(language.layers) * len(batch),
        qwen.lm_head: _weights(qwen.lm_head) * int(batch.supervised.sum()),
    }
    attention = 2 * vision.hidden_size * vision.depth * images.square().sum().item() * _turns(tower)
    attention += 2 * text.num_attention_heads * text.head_dim * text.num_hidden_layers * seen * _turns(language)
    return 2 * (attention + sum(work * _turns(part) for part, work in terms.items()))


def _pairs(batch: Batch) -> float:
    """How many tokens are seen, over all tokens that look."""
    stems, twigs = ((part >= 0).sum(1).double() for part in (batch.tree.stems, batch.tree.twigs))
    return float((stems**2 / 2).sum() + (twigs * (stems[batch.tree.owners] + twigs / 2)).sum())


def _weights(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters() if p.ndim > 1)


def _turns(module: torch.nn.Module) -> int:
    """Passes that a part takes: forward, and two backward where anything in it is learned."""
    return 3 if any(p.requires_grad for p in module.parameters()) else 1


def peak(device: torch.device, precision: str = "bf16") -> float:
    """Operations per second that the device could do: from its data sheet; of a CPU or an unknown GPU, measured."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    known = [part for part in PEAK_TFLOPS if part in name]
    if known and precision == "bf16":
        return PEAK_TFLOPS[max(known, key=len)] * 1e12
    return measured(device, torch.bfloat16 if precision == "bf16" else torch.float32)


def measured(device: torch.device, dtype: torch.dtype, side: int = 2048) -> float:
    """The best of a few products of two square matrices."""
    a = torch.ones(side, side, device=device, dtype=dtype)
    taken = []
    for _ in range(5):
        began = time.perf_counter()
        (a @ a)[0, 0].item()
        taken.append(time.perf_counter() - began)
    return 2 * side**3 / min(taken)
