"""The settings of a run, and the named ones.

Those that end in -4b are the paper's, as summaries of it report them, one for each task. Batches
count the samples of all processes, so they hold for any number of GPUs.
"""

import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from vlm3.qwen.architecture import BASES, PARTS

# What may change on resume.
FREE = ("out", "shard", "workers", "patience_s", "save_every", "keep", "progress", "peak_tflops")

_POSITIVE = (
    *("steps", "batch", "tokens", "lr", "clip", "patience_s"),
    *("save_every", "keep", "validate_samples"),
)
_NOT_NEGATIVE = (
    *("decay", "checkpointing", "lora", "shard", "workers"),
    *("validate_every", "peak_tflops", "seed"),
)
_KNOWN = {
    "precision": "bf16, fp32",
    "layout": "isolated, chat",
    "weighting": "token, answer, sample",
    "optimizer": "adamw, muon",
    "base": ", ".join(BASES),
}


@dataclass(frozen=True)
class Config:
    """All that a run depends on.

    Args:
        out: folder of the run; what is there already is resumed.
        model: a folder, a hub name, "tiny", or "random:tiny" and "random:4b" for new weights.
        mixture: a packaged one or a TOML file, see `vlm3.mixture.load`.
        validation: another one, whose loss is logged every validate_every steps, and beside it that
            of the same questions about other images.
        layout: "isolated" or "chat", see `vlm3.qwen.packing.pack`.
        weighting: what counts the same in the loss: each "token", each "answer" or each "sample".
        steps: how often the weights change.
        batch: samples per step, over all processes.
        tokens: at most so many go through the network at once; gradients of the rest are added up.
        lr: the highest, reached after `warmup` and left along a cosine that ends at zero.
        warmup: share of the steps.
        optimizer: "adamw", or "muon" for new weights: it leaves the first plateau much sooner.
        decay: weight decay.
        clip: the gradient's norm is cut to this.
        seed: of new weights, of the stream, and of the questions.
        precision: "bf16" (autocast, on a CPU without instructions for it as "fp32") or "fp32";
            weights and optimiser are float32 in both.
        checkpointing: one layer of so many forgets its activations and computes them again, to save
            memory; 0: none.
        compiled: compile the layers of the language model (torch.compile): minutes of waiting, then
            faster steps; without a C++ compiler it warns and runs them as they are.
        freeze: parts that stay as they are: vision, text, merger, deepstack, embeddings.
        lora: rank of adapters on the language model; the run leaves them in adapter/ and, merged,
            in model/. From a folder of adapters of this rank it goes on. 0 trains the weights
            themselves.
        base: in what the frozen weights below adapters are held: "fp32"; "bf16", half of that;
            "int8" or "nf4", the language model's matrices in 8 or 4 bits, all else in bf16.
        shard: how many processes hold one copy of the network together; 0: those of one machine.
        workers: processes that prepare samples.
        patience_s: seconds without a sample after which a run ends instead of waiting on.
        save_every: steps between checkpoints.
        keep: how many checkpoints are kept.
        validate_every: steps between validations; 0 for none.
        validate_samples: samples per validation.
        progress: show a bar.
        peak_tflops: of the device, for MFU; 0 looks it up, or measures it on a CPU.
    """

    out: Path = Path("run")
    model: str = "random:tiny"
    mixture: str = "rooms"
    validation: str = ""
    layout: str = "isolated"
    weighting: str = "answer"
    steps: int = 100
    batch: int = 16
    tokens: int = 8192
    lr: float = 1e-3
    warmup: float = 0.1
    optimizer: str = "adamw"
    decay: float = 0.0
    clip: float = 1.0
    seed: int = 0
    precision: str = "bf16"
    checkpointing: int = 0
    compiled: bool = False
    freeze: tuple[str, ...] = ()
    lora: int = 0
    base: str = "fp32"
    shard: int = 0
    workers: int = 1
    patience_s: float = 900.0
    save_every: int = 100
    keep: int = 2
    validate_every: int = 0
    validate_samples: int = 64
    progress: bool = True
    peak_tflops: float = 0.0

    def __post_init__(self):
        for name in _POSITIVE:
            self._demand(name, 0 < getattr(self, name) < math.inf, "positive")
        for name in _NOT_NEGATIVE:
            self._demand(name, 0 <= getattr(self, name) < math.inf, "0 or more")
        self._demand("warmup", 0 <= self.warmup <= 1, "a share of the steps, 0 to 1")
        for name, known in _KNOWN.items():
            self._demand(name, getattr(self, name) in known.split(", "), f"one of {known}")
        self._demand("freeze", set(self.freeze) <= PARTS.keys(), f"some of {', '.join(PARTS)}")
        if {"vision", "text"} <= set(self.freeze) or (self.lora and "text" in self.freeze):
            raise ValueError(
                f"with {', '.join(self.freeze)} frozen there is nothing left to train; "
                "adapters are put on the text part"
            )

        if self.base != "fp32" and not (self.lora and self.precision == "bf16"):
            raise ValueError(
                f"a base of {self.base} does not learn and is multiplied in bfloat16: give it "
                "adapters, such as --lora 16, and --precision bf16"
            )

    @property
    def identity(self) -> dict:
        """What must be the same on resume; a base is said only where it is chosen, so that runs
        from before there was a choice go on."""
        chosen = {k: v for k, v in asdict(self).items() if k not in FREE}
        return chosen if self.base != "fp32" else {k: v for k, v in chosen.items() if k != "base"}

    def _demand(self, name: str, fits: bool, wanted: str) -> None:
        if not fits:
            raise ValueError(f"{name} must be {wanted}, got {getattr(self, name)!r}")


# Found on an earlier toy: Muon leaves the first plateau much sooner than AdamW.
TINY = Config(
    steps=5600,
    batch=16,
    lr=1.5e-3,
    warmup=0.03,
    optimizer="muon",
    shard=1,
    mixture="homes",
    validation="homes-validation",
    validate_every=400,
)
# clip as reported: fifty times smaller than the usual 1.
PAPER = Config(
    model="Qwen/Qwen3-VL-4B-Instruct",
    mixture="",
    tokens=16384,
    clip=0.02,
    checkpointing=1,
    workers=8,
    save_every=500,
)
PRESETS = {
    "tiny": TINY,
    "depth-4b": replace(PAPER, lr=5.5e-5, batch=1344, steps=32_000_000 // 1344),
    "objects-4b": replace(PAPER, lr=3.5e-4, batch=640, steps=1_000_000 // 640),
    "correspondence-4b": replace(PAPER, lr=2e-5, batch=2816, steps=80_000_000 // 2816),
    "pose-4b": replace(PAPER, lr=5e-5, batch=448, steps=10_000_000 // 448),
}

# What fits one GPU of so many GB, as `vlm3.training.memory` computes it, with a tenth to spare.
BUDGETS = {
    16: dict(base="int8", lora=16, tokens=4096, checkpointing=1),
    24: dict(base="bf16", lora=16, tokens=8192, checkpointing=1),
    40: dict(base="bf16", lora=32, tokens=4096, checkpointing=2),
    80: dict(base="bf16", lora=64, tokens=8192, checkpointing=0),
}
# Not the paper's, which trains all weights, and not tuned: a usual rate of adapters, and a batch
# that one GPU adds up from as many parts as its memory asks for.
ADAPTERS = replace(PAPER, lr=1e-4, clip=1.0, batch=64, steps=2000, shard=1)
TASKS = ("depth", "objects", "correspondence", "pose")
PRESETS |= {
    f"{task}-lora-{gb}gb": replace(ADAPTERS, **budget)
    for task in TASKS
    for gb, budget in BUDGETS.items()
}


def described(name: str) -> str:
    """A preset in one line."""
    made = PRESETS[name]
    if made.lora:
        forgets = {0: "none", 1: "all", 2: "half"}[made.checkpointing]
        return (
            f"rank {made.lora} on {made.base}, {made.tokens} tokens at once, {forgets} of the "
            "layers checkpointed"
        )
    return "the packaged model's" if name == "tiny" else "all weights, as the paper reports it"
