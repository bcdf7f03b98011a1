"""What a run would need of a GPU's memory, before it is begun."""

import torch

from vlm3.terminal import shown
from vlm3.training import memory
from vlm3.training.config import Config


def lines(config: Config) -> list[str]:
    """A table by part, computed for one GPU that holds the whole network, and whether this
    machine's would do."""
    settings = memory.settings_of(config.model)
    load = memory.load_of(config, settings)
    parts = memory.plan(settings, config, load)
    needed = sum(parts.values())
    rows = [("part", "GB"), *((name, _gb(size)) for name, size in parts.items() if size)]
    held = f"base {config.base}, rank {config.lora}" if config.lora else "all weights learn"
    return [
        f"{config.model}: {held}, {load.tokens} tokens at once ({load.rows} supervised, "
        f"{load.patches} patches), checkpointing {config.checkpointing}",
        *shown.aligned([*rows, ("together", _gb(needed))]),
        "computed, not measured; CUDA is an allowance",
        _verdict(needed),
    ]


def _gb(size: float) -> str:
    return f"{size / memory.GB:.2f}"


def _verdict(needed: float) -> str:
    if not torch.cuda.is_available():
        return "no GPU here to compare it with"
    free, whole = torch.cuda.mem_get_info()
    fits = "fits" if needed <= free else "does not fit"
    return f"{fits} this GPU: {_gb(free)} GB of {_gb(whole)} are free"
