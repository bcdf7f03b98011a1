"""How much memory a step of training takes, before a GPU is asked: computed, by part.

Counted are the tensors that torch keeps, layer by layer, as they are on a GPU: what a layer saves
for its gradients, what checkpointing keeps instead, and the larger of two moments, the loss and the
layer that gradients are in. `vlm3.training.peak` holds the sum against what a step takes on a CPU.

Letters: T tokens at once, in M places of the attention; R of them supervised; N patches; D, q, k
and F numbers of a token in the stream, all queries, all keys, and the layer between; V words.
"""

import math
import re
from itertools import chain
from pathlib import Path
from typing import NamedTuple, Self

from vlm3 import mixture
from vlm3.qwen import adapters, files, model, tokenizer
from vlm3.qwen.architecture import ADAPTED, MERGE
from vlm3.qwen.batching import Batch, batches
from vlm3.qwen.model import Settings
from vlm3.qwen.quantised import BLOCK, OUTER
from vlm3.training.config import Config
from vlm3.training.loader import Share

GB = 1e9
# A GPU's own: context, workspaces of libraries, and what the allocator's blocks leave unused.
CUDA = 1.5 * GB
# In bytes for each weight of a matrix; constants of 4 bits are a byte for each block.
BITS = {"fp32": 4.0, "bf16": 2.0, "int8": 1.0, "nf4": 0.5 + 1 / BLOCK + 4 / BLOCK / OUTER}


class Load(NamedTuple):
    """What goes through the network at once. shared, own: places of the attention for what samples
    share and for questions; seen: keys of all questions, each with its own copy of what is shared;
    cells: of their masks."""

    tokens: int
    rows: int
    patches: int
    shared: int
    own: int
    seen: int
    cells: int
    merge: int

    @classmethod
    def of(cls, batch: Batch) -> Self:
        seen = cells = 0
        for stem, twig in zip(batch.tree.stems, batch.tree.twigs, strict=True):
            samples, questions, length = twig.shape
            keys = samples * questions * (stem.shape[1] + length)
            seen, cells = seen + keys, cells + keys * length
        return cls(
            len(batch),
            int(batch.supervised.sum()),
            len(batch.pixels),
            sum(stem.numel() for stem in batch.tree.stems),
            sum(twig.numel() for twig in batch.tree.twigs),
            seen,
            cells,
            batch.merge,
        )

    @classmethod
    def typical(cls, views: int, tokens: int) -> Self:
        """As many samples as fit, at least one, of so many images of 1216x928 pixels: the paper's
        depth images after focal unification; and ten questions of 64 tokens, 16 of them answers,
        longer than those of any task here."""
        image, questions, length, rows = 38 * 29, 10, 64, 16
        shared = views * (image + 2) + length
        each = shared + questions * length
        samples = max(1, tokens // each)
        asked = samples * questions
        seen = asked * (shared + length)
        patches = samples * views * image * MERGE**2
        made = asked * rows, patches, samples * shared, asked * length, seen, seen * length
        return cls(samples * each, *made, MERGE)


class Sizes(NamedTuple):
    """Numbers of weights, by part."""

    matrices: int  # of the language model's layers, those that adapters stand beside
    sides: int  # rows and columns of all of them
    words: int
    vision: int
    norms: int


def sizes(settings: Settings) -> Sizes:
    """Counted from the configuration: 4.44 billion for Qwen3-VL-4B."""
    text, vision = settings.text_config, settings.vision_config
    shapes, layers = _shapes(text), text.num_hidden_layers
    wide, merged = vision.hidden_size, vision.hidden_size * vision.spatial_merge_size**2
    block = 4 * wide**2 + 2 * wide * vision.intermediate_size + 9 * wide + vision.intermediate_size
    merger = merged**2 + merged * text.hidden_size + merged + text.hidden_size
    mergers = (1 + len(vision.deepstack_visual_indexes)) * merger
    norms = 2 * wide + 2 * merged * len(vision.deepstack_visual_indexes)
    patch = 3 * vision.temporal_patch_size * vision.patch_size**2
    rows = patch + 1 + vision.num_position_embeddings
    return Sizes(
        layers * sum(rows * columns for rows, columns in shapes.values()),
        layers * sum(map(sum, shapes.values())),
        text.vocab_size * text.hidden_size * (1 if settings.tie_word_embeddings else 2),
        vision.depth * block + mergers + norms + rows * wide,
        layers * 2 * (text.hidden_size + text.head_dim) + text.hidden_size,
    )


def _shapes(text) -> dict[str, tuple[int, int]]:
    """(rows, columns) of each matrix that adapters stand beside."""
    wide, ffn = text.hidden_size, text.intermediate_size
    q, k = (n * text.head_dim for n in (text.num_attention_heads, text.num_key_value_heads))
    found = (q, wide), (k, wide), (k, wide), (wide, q), (ffn, wide), (ffn, wide), (wide, ffn)
    return dict(zip(ADAPTED, found, strict=True))


def settings_of(name: str) -> Settings:
    """The configuration of a model by its name, without its weights: those of 4B are known."""
    name = adapters.base_of(name) if Path(name).expanduser().is_dir() else name
    kind, _, size = name.partition(":")
    if kind == "random":
        return model.config(size)
    if re.search(r"/(Qwen3-VL-4B|VLM3-)", name) and not Path(name).is_dir():
        return model.config("4b")
    return Settings.from_dict(files.read_json(files.folder_of(name) / "config.json"))


def load_of(config: Config, settings: Settings) -> Load:
    """What goes through at once: the first batch of the mixture, or, where none is named, typical
    samples of two images. Tokens are counted as the packaged tokenizer makes them."""
    if not config.mixture:
        return Load.typical(2, config.tokens)
    merge = settings.vision_config.spatial_merge_size
    share = Share(mixture.load(config.mixture, config.seed), config, tokenizer.load(), merge=merge)
    packs = chain.from_iterable(share[part] for part in share.parts(0))
    return Load.of(next(batches(packs, config.tokens)))


def plan(settings: Settings, config: Config, load: Load, gpu: bool = True) -> dict[str, float]:
    """Bytes of each part of the peak, on one GPU that holds the whole network; gpu: with its own
    overhead."""
    counted, half = sizes(settings), config.base != "fp32"
    full = 2 if half else 4
    learned = config.lora * counted.sides if config.lora else _learned(counted, config)
    kept, layer = _kept(settings, config, load), _layer(settings, config, load)
    checked = _checked(settings, config)
    return {
        "language model": counted.matrices * BITS[config.base] + counted.norms * full,
        "embeddings and head": counted.words * full,
        "vision tower": counted.vision * full,
        "adapters": 4 * learned if config.lora else 0,
        "gradients": 4 * learned,
        "optimiser": (8 if config.optimizer == "adamw" else 4) * learned,
        "images": _images(settings, config, load),
        "activations": kept + (settings.text_config.num_hidden_layers - checked) * layer,
        "working space": _working(settings, config, load, layer if checked else 0),
        "CUDA": CUDA if gpu else 0,
    }


def _learned(counted: Sizes, config: Config) -> int:
    """Without adapters."""
    text = 0 if "text" in config.freeze else counted.matrices + counted.norms + counted.words
    text -= counted.words if {"embeddings"} & set(config.freeze) and text else 0
    return text + (0 if "vision" in config.freeze else counted.vision)


def _checked(settings: Settings, config: Config) -> int:
    """How many layers of the language model forget what they computed."""
    layers, every = settings.text_config.num_hidden_layers, config.checkpointing
    return math.ceil(layers / every) if every else 0


def _stream(config: Config) -> int:
    """Bytes of a number that passes from layer to layer."""
    return 4 if config.base == "fp32" else 2


def _layer(settings: Settings, config: Config, load: Load) -> float:
    """What a layer of the language model keeps for its gradients."""
    text, half = settings.text_config, 2 if config.precision == "bf16" else 4
    wide, heads = text.hidden_size, text.num_attention_heads + text.num_key_value_heads
    q, k = (n * text.head_dim for n in (text.num_attention_heads, text.num_key_value_heads))
    # Norms compute in float32; products take copies of what the stream has in float32.
    copies = 2 if _stream(config) == half else 5
    norms = (2 if config.lora else 4) * (4 * wide + 4) + 4 * (q + k + heads)
    each = norms + half * (copies * wide + q + 4 * text.intermediate_size + 7 * config.lora)
    found = load.tokens * each + _attention(text, load, half, q, k)
    # Autocast's copies of weights in float32, kept for the gradients.
    shapes = _shapes(text).values()
    cast = sum(rows * columns for rows, columns in shapes) if _stream(config) != half else 0
    return found + half * (cast + (config.lora * sum(map(sum, shapes)) if half == 2 else 0))


def _attention(text, load: Load, half: int, q: int, k: int) -> float:
    """What the kernels keep: queries, keys and values of all places, copies of keys and values for
    each question with its mask, results, and a sum for each query."""
    places, group = load.shared + load.own, q // k
    moved = half * places * (q + 2 * k) + 4 * places * text.num_attention_heads
    copied = half * (2 * k * load.seen + group * load.cells + q * load.own)
    return moved + copied + half * q * places


def _kept(settings: Settings, config: Config, load: Load) -> float:
    """What the layers that forget keep, which is their input, and what all share."""
    text, stream = settings.text_config, _stream(config)
    angles = 2 * text.head_dim * stream + 8 * 3
    half = 2 if config.precision == "bf16" else 4
    tower = _tower(settings, load, half) if _sees(config) else 0
    head = half * sizes(settings).words if _stream(config) != half else 0
    inputs = _checked(settings, config) * text.hidden_size * stream
    return load.tokens * (angles + inputs + 4 * text.hidden_size + 4) + tower + head


def _tower(settings: Settings, load: Load, half: int) -> float:
    """What the vision tower keeps where it learns, too, block by block, and copies of its weights
    in bfloat16."""
    vision = settings.vision_config
    block = half * (10 * vision.hidden_size + 2 * vision.intermediate_size)
    kept = load.patches * vision.depth * (block + 4 * vision.num_heads + 8)
    return kept + (2 * sizes(settings).vision if half == 2 else 0)


def _images(settings: Settings, config: Config, load: Load) -> float:
    """Patches as bytes, and, where the tower learns, as numbers; else those are gone by the time
    when most is needed."""
    vision = settings.vision_config
    numbers = 2 * vision.temporal_patch_size * _sees(config)
    return load.patches * 3 * vision.patch_size**2 * (1 + numbers)


def _sees(config: Config) -> bool:
    """Whether the vision tower learns."""
    return not config.lora and "vision" not in config.freeze


def _working(settings: Settings, config: Config, load: Load, layer: float) -> float:
    """The larger of two moments: the loss, with logits in float32 three times; and a layer in which
    gradients are, with what it computes again, the matrix that it needs, and its gradient."""
    text = settings.text_config
    loss = 12 * load.rows * text.vocab_size
    half = 2 if config.precision == "bf16" else 4
    gradients = load.tokens * (half * text.intermediate_size + _stream(config) * text.hidden_size)
    matrix = half * text.intermediate_size * text.hidden_size
    return max(loss, layer + gradients + (0 if config.base == "bf16" else matrix))
