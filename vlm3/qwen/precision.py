"""In which numbers matrices are multiplied: bfloat16 where the device is made for it."""

import torch


def fast(device: torch.device) -> torch.dtype:
    """bfloat16, or float32 on a CPU that has no instructions for it: 40 times as fast there.

    Those of oneDNN are asked for (AVX-512, or AVX2 with VNNI 2, on x86; BF16 on ARM), which not
    every torch has.
    """
    if device.type != "cpu":
        return torch.bfloat16
    there = torch.backends.mkldnn.is_available()
    quick = there and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return torch.bfloat16 if quick else torch.float32


def multiplied_in(device: torch.device, precision: str) -> torch.dtype:
    """What `autocast` multiplies in: for "bf16" what is `fast`, else float32."""
    return fast(device) if precision == "bf16" else torch.float32


def autocast(device: torch.device, precision: str, base: str = "fp32") -> torch.autocast:
    """Matrices in bfloat16 for "bf16", where that is fast, and where those of the base are not in
    float32 (see `vlm3.qwen.quantised`)."""
    half = base != "fp32" or multiplied_in(device, precision) == torch.bfloat16
    # copies of weights are not kept: each is used once on the way
    return torch.autocast(device.type, torch.bfloat16, enabled=half, cache_enabled=False)
