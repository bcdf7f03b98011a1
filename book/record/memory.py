"""What training needs of a GPU's memory, computed; the formula against every tensor of a step,
counted on a CPU; and how far merged adapters are from unmerged ones.

python book/record/memory.py [--save FILE.json]

The first two of small networks, of GPUs' kernels in bfloat16; the plans are those of the presets of
4B, for typical samples of one image and of two. The adapters are random: each changes its matrix by
about so much of its norm. One core, a few minutes.
"""

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from vlm3.pages import recorded
from vlm3.qwen import adapters, attention, batching, model, network, precision
from vlm3.training import memory, peak
from vlm3.training.config import BUDGETS, PRESETS, Config

TEXT = dict(
    intermediate_size=400,
    num_hidden_layers=3,
    num_attention_heads=8,
    num_key_value_heads=2,
    head_dim=32,
)
VISION = dict(depth=2, hidden_size=80, intermediate_size=208, num_heads=5, spatial_merge_size=2)
VISION |= dict(deepstack_visual_indexes=[0])
CHANGES = (
    {"lora": 8, "base": "fp32"},
    {"lora": 8, "base": "bf16"},
    {"lora": 8, "base": "bf16", "checkpointing": 1},
    {"lora": 8, "base": "bf16", "checkpointing": 2},
    {"lora": 8, "base": "int8", "checkpointing": 1},
    {"lora": 2, "base": "nf4", "checkpointing": 1},
    {"lora": 0},
    {"lora": 0, "checkpointing": 1, "precision": "fp32"},
)
SHARE = 0.02  # of a matrix's norm that an adapter adds


def compared() -> list[dict]:
    """Of two widths, bytes computed and measured."""
    found = []
    for wide in (64, 128):
        settings = model.config("tiny", text=TEXT | {"hidden_size": wide}, vision=VISION)
        for changes in CHANGES:
            each = peak.compared(settings, Config(**changes), (96, 64))
            ratio = each["computed"] / each["measured"]
            found.append({"width": wide} | changes | each | {"ratio": ratio})
            print(found[-1], flush=True)
    return found


def plans() -> list[dict]:
    """Parts in GB of each budget's preset."""
    found = []
    for gb in BUDGETS:
        config = PRESETS[f"depth-lora-{gb}gb"]
        for views in (1, 2):
            load = memory.Load.typical(views, config.tokens)
            parts = memory.plan(memory.settings_of(config.model), config, load)
            told = {name: size / memory.GB for name, size in parts.items()}
            how = {k: getattr(config, k) for k in ("base", "lora", "tokens", "checkpointing")}
            whole = {"together": sum(told.values())}
            found.append({"gpu_gb": gb, "images": views} | how | told | whole)
    return found


def merged() -> list[dict]:
    """How far logits and first words of the packaged model move when random adapters are merged
    into its stored weights, bfloat16 or float32."""
    vlm, found = model.load("tiny", dtype=torch.float32), []
    image = np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8)
    asked = [batching.inputs(vlm, [image], f"Depth in metres at pixel ({k}, 40)") for k in range(9)]
    adapter = _random(vlm)
    exact = replace(vlm, net=model.load("tiny", dtype=torch.float32).net)
    adapters.merge(exact.net, adapter, Path("random"))
    expected = _logits(exact, asked)
    for dtype in (torch.float32, torch.bfloat16):
        other = model.load("tiny", dtype=dtype)
        adapters.merge(other.net, adapter, Path("random"))
        network.cast(other.net, torch.float32)
        said = _logits(other, asked)
        gap = ((said - expected).norm() / expected.norm()).item()
        same = (said.argmax(-1) == expected.argmax(-1)).float().mean().item()
        found.append({"into": str(dtype)[6:], "logits": gap, "same_first_word": same})
    return found


def _random(vlm: model.VLM) -> adapters.Adapter:
    rng, factors = torch.Generator().manual_seed(0), {}
    for name, module in vlm.net.model.language_model.layers.named_modules():
        if isinstance(module, torch.nn.Linear):
            rows, columns = module.weight.shape
            down, up = torch.randn(8, columns, generator=rng), torch.randn(rows, 8, generator=rng)
            up *= SHARE * module.weight.norm().item() / (up @ down).norm()
            factors[f"model.language_model.layers.{name}"] = (down, up)
    return adapters.Adapter("tiny", 8, 1.0, factors)


@torch.no_grad()
def _logits(vlm: model.VLM, asked: list[dict]) -> torch.Tensor:
    return torch.stack([vlm.net(**each, use_cache=False).logits[0, -1] for each in asked])


def table(found: list[dict]) -> list[str]:
    """The plans as the guide shows them, rows of Markdown: the fuller of one image and two."""
    head = "GPU | base, rank | tokens at once | checkpointed | GB, computed"
    rows = [f"| {head} |", "|---|---|---|---|---|"]
    for gb in BUDGETS:
        plan = max((p for p in found if p["gpu_gb"] == gb), key=lambda p: p["together"])
        layers = {0: "no layer", 1: "all layers", 2: "every second"}[plan["checkpointing"]]
        how = f"{plan['base']}, {plan['lora']} | {plan['tokens']} | {layers}"
        rows.append(f"| {gb} GB | {how} | {plan['together']:.1f} |")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--save", type=Path)
    save = parser.parse_args().save
    began = time.perf_counter()
    apart = merged()  # with the kernels of CPUs, in float32
    attention.written_out, attention._twigs = attention._fused, attention._copied
    precision.fast = lambda device: torch.bfloat16
    results = {"plans": plans(), "compared": compared(), "merged": apart}
    print(*table(results["plans"]), json.dumps(apart), sep="\n")
    if save:
        command = f"python book/record/memory.py --save {save}"
        made = recorded.provenance(command, 0, time.perf_counter() - began, "cpu")
        recorded.write(save, "memory of training, computed and counted", made, results)


if __name__ == "__main__":
    main()
