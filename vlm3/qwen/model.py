"""Qwen3-VL of any size: make, load, save. The architecture is that of transformers, unmodified."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import reduce
from pathlib import Path

import torch
from transformers import (
    GenerationConfig,
    PreTrainedTokenizerFast,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
)

from vlm3 import disk
from vlm3.qwen import adapters, files, network
from vlm3.qwen import tokenizer as tokenizers
from vlm3.qwen.architecture import MERGE, PREPROCESSING, SIZES, TOKENS, TOWER
from vlm3.qwen.lessons import Lesson, demand, lesson, of, write_taught
from vlm3.tasks.task import Task

# What others call it.
Settings = Qwen3VLConfig
_BINDING = ("patch_size", "temporal_patch_size", "image_mean", "image_std")


@dataclass(frozen=True)
class VLM:
    """A network, the tokenizer that it was made for, and how it was taught.

    taught: by task, its lessons, see `vlm3.qwen.lessons` and `vlm3.mixture.Mixture.taught`; empty
    where unknown, as in checkpoints of others. name: what it was loaded by.
    """

    net: Qwen3VLForConditionalGeneration
    tokenizer: PreTrainedTokenizerFast
    taught: Mapping[str, Mapping] = field(default_factory=dict)
    name: str = ""

    @property
    def device(self) -> torch.device:
        return self.net.device

    @property
    def dtype(self) -> torch.dtype:
        return self.net.dtype

    def lesson(self, task: str) -> Lesson:
        """How a task was taught; where nothing is known of it, as the task itself has it.
        ValueError for a released checkpoint without its lessons."""
        if task not in self.taught:
            demand(self.name)
        return lesson(self.taught, task)

    def task(self, name: str) -> Task:
        """A task as it was taught."""
        return self.lesson(name).task(name)

    @property
    def image_pad(self) -> int:
        """The token that stands for one block of merge x merge patches."""
        return self.net.config.image_token_id

    @property
    def merge(self) -> int:
        """How many patches a token is wide and high, 2 in all released models."""
        return self.net.config.vision_config.spatial_merge_size


def config(
    size: str = "tiny",
    tokenizer: PreTrainedTokenizerFast | None = None,
    *,
    text: dict | None = None,
    vision: dict | None = None,
) -> Qwen3VLConfig:
    """The configuration of a named size; `text` and `vision` override single values, to make any
    other size.

    Token ids come from the tokenizer, by default the packaged tiny one.
    """
    if size not in SIZES:
        raise ValueError(
            f"unknown size {size!r}: take one of {list(SIZES)} and override its values"
        )
    tokenizer = tokenizer or tokenizers.load()
    text = SIZES[size]["text"] | (text or {})
    vision = {"spatial_merge_size": MERGE} | SIZES[size]["vision"] | (vision or {})
    _demand_sizes(text, vision, len(tokenizer))
    # Always given: the defaults of the classes are not those of any released model.
    rope = {"rope_type": "default", "mrope_interleaved": True} | text["rope_parameters"]
    text |= {"rope_parameters": rope, "tie_word_embeddings": True}
    return Qwen3VLConfig(
        text_config=text | {"pad_token_id": tokenizer.pad_token_id},
        vision_config=vision | TOWER | {"out_hidden_size": text["hidden_size"]},
        tie_word_embeddings=True,
        **_ids(tokenizer),
    )


def _demand_sizes(text: dict, vision: dict, tokens: int) -> None:
    """transformers does not check them, and computes something all the same."""
    rope, deepstack = text["rope_parameters"], vision["deepstack_visual_indexes"]
    half = text["head_dim"] // 2
    if sum(rope["mrope_section"]) != half:
        raise ValueError(
            f"mrope_section {rope['mrope_section']} must sum to half of head_dim, {half}"
        )
    if max(deepstack, default=0) >= vision["depth"]:
        raise ValueError(
            f"deepstack_visual_indexes {deepstack} must stay below depth {vision['depth']}"
        )
    if tokens > text["vocab_size"]:
        raise ValueError(
            f"vocab_size {text['vocab_size']} has no room for {tokens} tokens: raise it"
        )


def new(
    size: str | Qwen3VLConfig = "tiny",
    seed: int = 0,
    tokenizer: PreTrainedTokenizerFast | None = None,
) -> VLM:
    """Random float32 weights on the CPU, drawn from `seed`; the global random state is left as it
    was."""
    tokenizer = tokenizer or tokenizers.load()
    settings = config(size, tokenizer) if isinstance(size, str) else size
    with torch.random.fork_rng(devices=[]):
        # torch.manual_seed would reseed accelerators, too.
        torch.default_generator.manual_seed(seed)
        return _vlm(Qwen3VLForConditionalGeneration(settings), tokenizer)


def named(
    name: str,
    device: str = "cpu",
    dtype: torch.dtype | None = None,
    seed: int = 0,
    lessons: str | Path = "",
) -> VLM:
    """Random weights for "random:tiny" or "random:4b", see `new`; else a model, see `load`."""
    kind, _, size = name.partition(":")
    return new(size, seed) if kind == "random" else load(name, device, dtype, lessons)


def load(
    name_or_path: str | Path,
    device: str = "cpu",
    dtype: torch.dtype | None = None,
    lessons: str | Path = "",
) -> VLM:
    """A model from a folder in hub format, a hub name ("Qwen/Qwen3-VL-4B-Instruct"), or the
    packaged "tiny".

    A folder is read offline; a hub name may download. Weights are read from safetensors only, must
    fit the configuration to the last key, and be finite numbers. dtype None keeps the type of the
    file, the widest where it has several. Answers are greedy, whatever the folder says. Of an
    adapter the base is loaded, too, and both are merged. lessons: how the model was taught, where
    its folder does not say so, see `vlm3.qwen.lessons.read`. A licence that its folder states and
    that is not for all uses is told in the log. Raises FileNotFoundError for what is missing and
    ValueError for what does not fit.
    """
    name = str(name_or_path)
    device = network.usable(device)
    if lessons:
        demand(name, str(lessons))
    folder = files.folder_of(name_or_path)
    taught = of(name, folder, str(lessons))
    files.tell_licence(name, folder)
    if adapters.there(folder):
        return replace(_merged(folder, device, dtype), taught=taught, name=name)
    settings, tokenizer = _described(folder)
    vlm = _vlm(_net(folder, settings, dtype).to(device), tokenizer)
    network.demand_finite(vlm.net, folder)
    return replace(vlm, taught=taught, name=name)


def _merged(folder: Path, device: torch.device, dtype: torch.dtype | None) -> VLM:
    """The model of an adapter, with the lessons of its base."""
    adapter = adapters.read(folder)
    try:
        vlm = load(adapter.base, str(device), dtype)
    except (FileNotFoundError, ValueError) as error:
        raise type(error)(
            f"{folder} is an adapter for {adapter.base}, which cannot be loaded: write where it is "
            f"into base_model_name_or_path of adapter_config.json, or take a merged model: {error}"
        ) from error
    adapters.merge(vlm.net, adapter, folder)
    network.demand_finite(vlm.net, folder)
    return vlm


def save(vlm: VLM, folder: str | Path) -> None:
    """Write a folder in hub format that `load` and transformers read. An existing folder must be
    empty.

    Everything is written beside it first and then moved, so the folder is there in full or not at
    all. ValueError for a head of its own that the configuration would drop.
    """
    folder = Path(folder)
    network.tied(vlm.net.config, vlm.net.state_dict(), str(folder))
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise FileExistsError(
            f"{folder} exists and is not empty: choose another name or remove it first"
        )
    with disk.whole(folder) as draft:
        with network.without_bars():
            vlm.net.save_pretrained(draft)
        describe(vlm.net.config, vlm.tokenizer, draft)
        write_taught(vlm.taught, draft)


def describe(settings: Qwen3VLConfig, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write all of a checkpoint but its weights: configuration, tokenizer, chat and image
    conventions."""
    settings.architectures = ["Qwen3VLForConditionalGeneration"]
    settings.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    _greedy(tokenizer).save_pretrained(folder)
    merge = settings.vision_config.spatial_merge_size
    text = json.dumps(PREPROCESSING | {"merge_size": merge}, indent=2) + "\n"
    (folder / "preprocessor_config.json").write_text(text, encoding="utf-8")


def _vlm(net: Qwen3VLForConditionalGeneration, tokenizer: PreTrainedTokenizerFast) -> VLM:
    net.generation_config = _greedy(tokenizer)
    network.use_linear_patches(net)
    network.use_side_by_side(net)
    return VLM(net.eval(), tokenizer)


def _greedy(tokenizer: PreTrainedTokenizerFast) -> GenerationConfig:
    # The hub's settings sample (temperature 0.7), which is no way to read a number.
    end, pad = _id(tokenizer, "<|im_end|>"), _id(tokenizer, "<|endoftext|>")
    return GenerationConfig(do_sample=False, eos_token_id=[end, pad], pad_token_id=pad)


def _ids(tokenizer: PreTrainedTokenizerFast) -> dict[str, int]:
    return {key: _id(tokenizer, token) for key, token in TOKENS.items()}


def _id(tokenizer: PreTrainedTokenizerFast, token: str) -> int:
    # convert_tokens_to_ids would answer with the id of the unknown token, or None.
    if (found := tokenizer.get_added_vocab().get(token)) is None:
        raise ValueError(
            f"tokenizer {tokenizer.name_or_path!r} lacks {token}: use the one made for the weights"
        )
    return found


def _described(folder: Path) -> tuple[Qwen3VLConfig, PreTrainedTokenizerFast]:
    """Configuration and tokenizer of a checkpoint, once all of its descriptions agree with this
    module."""
    path = folder / "config.json"
    found = files.read_json(path)
    _demand({"model_type": "qwen3_vl", "quantization_config": None}, found, path)
    with files.reading(path):
        settings = Qwen3VLConfig.from_dict(found)
    tokenizer = tokenizers.load(folder)
    _demand(TOWER, settings.vision_config.to_dict(), path)
    if (merge := settings.vision_config.spatial_merge_size) not in (1, MERGE):  # BLOCK would differ
        raise ValueError(f"{path}: spatial_merge_size is {merge}, but only 1 and {MERGE} are read")
    _demand(_ids(tokenizer), settings.to_dict(), path)
    if len(tokenizer) > settings.text_config.vocab_size:
        raise ValueError(
            f"{path}: vocab_size {settings.text_config.vocab_size} < {len(tokenizer)} tokens: "
            "this tokenizer was not made for these weights"
        )
    path = folder / "preprocessor_config.json"
    if path.exists():
        expected = {key: PREPROCESSING[key] for key in _BINDING} | {"merge_size": merge}
        _demand(expected, files.read_json(path), path)
    return settings, tokenizer


def _net(
    folder: Path, settings: Qwen3VLConfig, dtype: torch.dtype | None
) -> Qwen3VLForConditionalGeneration:
    """The network with its weights: all of them from the files, none left over, and none twice."""
    if dtype is None:
        stored = [getattr(torch, name) for name in files.types(folder).values()]
        dtype = reduce(torch.promote_types, stored or [torch.float32])
    with files.reading(folder), network.without_bars():
        net, report = Qwen3VLForConditionalGeneration.from_pretrained(
            folder,
            config=settings,
            dtype=dtype,
            local_files_only=True,
            use_safetensors=True,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    # The library fills gaps with random numbers and goes on.
    faults = {"missing": "missing", "mismatched": "of another shape", "unexpected": "left over"}
    for key, fault in faults.items():
        if names := sorted(map(str, report[f"{key}_keys"])):
            raise ValueError(
                f"{folder}: {len(names)} weights are {fault}, such as {names[0]}: {files.COPY}"
            )
    network.tied(net.config, net.state_dict(), str(folder))
    return net


def _demand(expected: dict, found: dict, path: Path) -> None:
    for key, value in expected.items():
        if found.get(key) != value:
            raise ValueError(f"{path}: {key} is {found.get(key)!r}, but only {value!r} fits here")
