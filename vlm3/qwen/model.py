"""Qwen3-VL of any size: make, load, save; images to patches.

The architecture is that of transformers, unmodified. Patches are cut here, in a few lines tested
against transformers' own, because the library's processor needs torchvision and may resample an
image whose focal length is already right. Letters in shapes: N patches.
"""

import json
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import reduce
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import torch
from huggingface_hub import snapshot_download
from safetensors import safe_open
from torch.nn.functional import linear
from transformers import (
    GenerationConfig,
    PreTrainedTokenizerFast,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
)
from transformers.utils import logging

from vlm3 import disk
from vlm3.qwen.tokenizer import CHAT_TEMPLATE

TAUGHT = "taught.json"
PATCH, MERGE, TEMPORAL = (
    16,
    2,
    2,
)  # pixels per patch side, patches per token side, copies of a still image
TOWER = {"patch_size": PATCH, "spatial_merge_size": MERGE, "temporal_patch_size": TEMPORAL}
HEAD, EMBEDDINGS = "lm_head.weight", "model.language_model.embed_tokens.weight"
PACKAGED = Path(__file__).parent / "checkpoints" / "tiny"
SIZES = {
    "tiny": {
        "text": dict(
            vocab_size=1536,
            hidden_size=128,
            intermediate_size=384,
            num_hidden_layers=6,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=32,
            max_position_embeddings=8192,
            rope_parameters=dict(rope_theta=1e4, mrope_section=[6, 5, 5]),
        ),
        "vision": dict(
            depth=4,
            hidden_size=128,
            intermediate_size=512,
            num_heads=4,
            num_position_embeddings=256,
            deepstack_visual_indexes=[1, 2],
        ),
    },
    "4b": {
        "text": dict(
            vocab_size=151936,
            hidden_size=2560,
            intermediate_size=9728,
            num_hidden_layers=36,
            num_attention_heads=32,
            num_key_value_heads=8,
            head_dim=128,
            max_position_embeddings=262144,
            rope_parameters=dict(rope_theta=5e6, mrope_section=[24, 20, 20]),
        ),
        "vision": dict(
            depth=24,
            hidden_size=1024,
            intermediate_size=4096,
            num_heads=16,
            num_position_embeddings=2304,
            deepstack_visual_indexes=[5, 11, 17],
        ),
    },
}
# What `patches` does, in the words of transformers' image processors. Their resizing leaves our
# images alone: sides are multiples of 32 already, and so are the pixel counts from one token up to
# 4096 x 4096.
PREPROCESSING = {
    "image_processor_type": "Qwen2VLImageProcessor",
    "processor_class": "Qwen3VLProcessor",
    "size": {"shortest_edge": (PATCH * MERGE) ** 2, "longest_edge": 4096**2},
    "patch_size": PATCH,
    "merge_size": MERGE,
    "temporal_patch_size": TEMPORAL,
    "image_mean": [0.5] * 3,
    "image_std": [0.5] * 3,
}
_BINDING = ("patch_size", "merge_size", "temporal_patch_size", "image_mean", "image_std")
_TOKENS = {
    "image_token_id": "<|image_pad|>",
    "video_token_id": "<|video_pad|>",
    "vision_start_token_id": "<|vision_start|>",
    "vision_end_token_id": "<|vision_end|>",
}
_TYPES = {
    "BF16": torch.bfloat16,
    "F16": torch.float16,
    "F32": torch.float32,
}  # as safetensors name them
_COPY = "copy it again from where the checkpoint came from"


class Lesson(NamedTuple):
    """How a task was taught: the focal length of its images, and what differs from the task's own
    templates."""

    focal_px: float = 1000.0
    templates: Mapping = MappingProxyType({})


@dataclass(frozen=True)
class VLM:
    """A network, the tokenizer that it was made for, and how it was taught.

    taught: by task, the focal length and the templates of its lessons, see
    `vlm3.mixture.Mixture.taught`; empty where unknown, as in checkpoints of others.
    """

    net: Qwen3VLForConditionalGeneration
    tokenizer: PreTrainedTokenizerFast
    taught: Mapping[str, Mapping] = field(default_factory=dict)

    @property
    def device(self) -> torch.device:
        return self.net.device

    @property
    def dtype(self) -> torch.dtype:
        return self.net.dtype

    def lesson(self, task: str) -> Lesson:
        """How the task was taught; where that is unknown, as the paper does: 750 px for pose, 1000
        px for all else."""
        known = {"focal_px": 750.0} if task == "pose" else {}
        return Lesson(**self.taught.get(task, known))

    @property
    def image_pad(self) -> int:
        """The token that stands for one block of 32 x 32 pixels."""
        return self.net.config.image_token_id


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
    tokenizer = tokenizer or _tokenizer(PACKAGED)
    text, vision = SIZES[size]["text"] | (text or {}), SIZES[size]["vision"] | (vision or {})
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
    if len(tokenizer) > text["vocab_size"]:
        raise ValueError(
            f"vocab_size {text['vocab_size']} has no room for {len(tokenizer)} tokens: raise it"
        )
    text["rope_parameters"] = {"rope_type": "default", "mrope_interleaved": True} | rope
    return Qwen3VLConfig(
        text_config=text | {"pad_token_id": tokenizer.pad_token_id, "tie_word_embeddings": True},
        vision_config=vision | TOWER | {"out_hidden_size": text["hidden_size"]},
        tie_word_embeddings=True,
        **_ids(tokenizer),
    )


def new(
    size: str | Qwen3VLConfig = "tiny",
    seed: int = 0,
    tokenizer: PreTrainedTokenizerFast | None = None,
) -> VLM:
    """Random float32 weights on the CPU, drawn from `seed`; the global random state is left as it
    was."""
    tokenizer = tokenizer or _tokenizer(PACKAGED)
    settings = config(size, tokenizer) if isinstance(size, str) else size
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(
            seed
        )  # torch.manual_seed would reseed accelerators, too
        return _vlm(Qwen3VLForConditionalGeneration(settings), tokenizer)


def load(name_or_path: str | Path, device: str = "cpu", dtype: torch.dtype | None = None) -> VLM:
    """A model from a folder in hub format, a hub name ("Qwen/Qwen3-VL-4B-Instruct"), or the
    packaged "tiny".

    A folder is read offline; a hub name may download. Weights are read from safetensors only, must
    fit the configuration to the last key, and be finite numbers. dtype None keeps the type of the
    file, the widest where it has several. Answers are greedy, whatever the folder says. Raises
    FileNotFoundError for what is missing and ValueError for what does not fit.
    """
    device = usable(device)
    folder = _folder(name_or_path)
    settings, tokenizer = _described(folder)
    taught = _json(folder / TAUGHT) if (folder / TAUGHT).exists() else {}
    vlm = _vlm(_net(folder, settings, dtype), tokenizer)
    return replace(vlm, net=_finite(vlm.net.to(device), folder), taught=taught)


def save(vlm: VLM, folder: str | Path) -> None:
    """Write a folder in hub format that `load` and transformers read. An existing folder must be
    empty.

    Everything is written beside it first and then moved, so the folder is there in full or not at
    all. ValueError for a head of its own that the configuration would drop.
    """
    folder = Path(folder)
    tied(vlm.net.config, vlm.net.state_dict(), str(folder))
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise FileExistsError(
            f"{folder} exists and is not empty: choose another name or remove it first"
        )
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        draft = Path(scratch) / folder.name
        with without_bars():
            vlm.net.save_pretrained(draft)
        describe(vlm.net.config, vlm.tokenizer, draft)
        if vlm.taught:
            (draft / TAUGHT).write_text(json.dumps(vlm.taught, indent=1) + "\n", encoding="utf-8")
        if folder.exists():
            folder.rmdir()
        draft.rename(folder)


def tied(settings: Qwen3VLConfig, weights: Mapping[str, torch.Tensor], where: str) -> None:
    """ValueError, naming `where`, for weights with a head of their own although the configuration
    ties the two."""
    head, embeddings = weights[HEAD], weights[EMBEDDINGS]
    if settings.tie_word_embeddings and not (
        head.is_set_to(embeddings) or torch.equal(head, embeddings)
    ):
        raise ValueError(
            f"{where}: {HEAD} and {EMBEDDINGS} differ, but the configuration says that they are one: set "
            f"its tie_word_embeddings to false to keep both, or take {HEAD} out of the file"
        )


def describe(settings: Qwen3VLConfig, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write all of a checkpoint but its weights: configuration, tokenizer, chat and image
    conventions."""
    settings.architectures = ["Qwen3VLForConditionalGeneration"]
    settings.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    _greedy(tokenizer).save_pretrained(folder)
    text = json.dumps(PREPROCESSING, indent=2) + "\n"
    (folder / "preprocessor_config.json").write_text(text, encoding="utf-8")


def grid(image: np.ndarray) -> np.ndarray:
    """(3,): 1, H / 16, W / 16, the patches of an image; ValueError for one that cannot be cut into
    blocks.

    image: (H, W, 3) uint8, both sides multiples of 32: a token stands for a block of 2 x 2 patches.
    """
    if (
        not isinstance(image, np.ndarray)
        or image.dtype != np.uint8
        or image.ndim != 3
        or image.shape[2] != 3
    ):
        found = (
            f"{image.dtype} {image.shape}"
            if isinstance(image, np.ndarray)
            else type(image).__name__
        )
        raise ValueError(f"an image must be an (H, W, 3) array of uint8, got {found}")
    (height, width), side = image.shape[:2], PATCH * MERGE
    if not image.size or height % side or width % side:
        raise ValueError(
            f"image sides must be multiples of {side}, got {width}x{height}: use unify_focal"
        )
    return np.array([1, height // PATCH, width // PATCH])


def patches(image: torch.Tensor) -> torch.Tensor:
    """Cut an image into the rows that the vision tower reads, on the image's own device.

    image: (H, W, 3) uint8, see `grid`. Returns (N, 1536) float32 in [-1, 1]. Rows come in blocks of
    2 x 2 patches, one block per token; a still image fills both time steps of its row.
    """
    height, width, _ = image.shape
    blocks = image.view(
        height // PATCH // MERGE, MERGE, PATCH, width // PATCH // MERGE, MERGE, PATCH, 3
    )
    blocks = blocks.permute(0, 3, 1, 4, 6, 2, 5)  # block, patch in block, colour, pixel in patch
    rows = blocks.reshape(-1, 3, 1, PATCH * PATCH).float() / 127.5 - 1
    return rows.expand(-1, -1, TEMPORAL, -1).reshape(len(rows), -1)


class LinearPatches(torch.nn.Conv3d):
    """The patch embedding as the matrix product that it is: kernel, stride and patch are of one
    size.

    The weights keep their names and shapes. As a convolution it is slow on CPUs and was so on GPUs
    in torch 2.9.
    """

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        """(N, colours, 2, 16, 16) -> (N, hidden)."""
        return linear(patches.flatten(1), self.weight.flatten(1), self.bias)


def _vlm(net: Qwen3VLForConditionalGeneration, tokenizer: PreTrainedTokenizerFast) -> VLM:
    net.generation_config = _greedy(tokenizer)
    net.model.visual.patch_embed.proj.__class__ = LinearPatches
    return VLM(net.eval(), tokenizer)


def _greedy(tokenizer: PreTrainedTokenizerFast) -> GenerationConfig:
    end, pad = _id(tokenizer, "<|im_end|>"), _id(tokenizer, "<|endoftext|>")
    return GenerationConfig(do_sample=False, eos_token_id=[end, pad], pad_token_id=pad)


def _ids(tokenizer: PreTrainedTokenizerFast) -> dict[str, int]:
    return {key: _id(tokenizer, token) for key, token in _TOKENS.items()}


def _id(tokenizer: PreTrainedTokenizerFast, token: str) -> int:
    if (found := tokenizer.get_added_vocab().get(token)) is None:
        raise ValueError(
            f"tokenizer {tokenizer.name_or_path!r} lacks {token}: use the one made for the weights"
        )
    return found


def usable(name: str) -> torch.device:
    """The device of that name; ValueError where this machine has none."""
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(
            f"device {name!r} cannot be used here, 'cpu' always can: {error}"
        ) from error


def _folder(name_or_path: str | Path) -> Path:
    """The folder itself, the packaged one, or where the hub's files are cached."""
    name = str(name_or_path)
    path = PACKAGED if name == "tiny" else Path(name).expanduser()
    if path.is_dir():
        return path
    if path.exists():
        raise ValueError(
            f"{path} is a file: give the folder with config.json, tokenizer.json and weights"
        )
    if isinstance(name_or_path, Path) or not re.fullmatch(r"\w[\w.-]*/[\w.-]+", name):
        raise FileNotFoundError(
            f"no folder {name!r}, nor a hub name (owner/name); 'tiny' is packaged"
        )
    try:
        return Path(snapshot_download(name, allow_patterns=["*.json", "*.jinja", "*.safetensors"]))
    except (OSError, ValueError) as error:
        raise FileNotFoundError(f"no folder {name!r}, and the hub gave none: {error}") from error


def _described(folder: Path) -> tuple[Qwen3VLConfig, PreTrainedTokenizerFast]:
    """Configuration and tokenizer of a checkpoint, once all of its descriptions agree with this
    module."""
    if (
        folder / "adapter_config.json"
    ).exists():  # transformers would put it on a network of another place
        raise ValueError(
            f"{folder} holds an adapter: merge it into its model (peft: merge_and_unload, then "
            "save_pretrained) and give that folder"
        )
    path = folder / "config.json"
    found = _json(path)
    _demand({"model_type": "qwen3_vl", "quantization_config": None}, found, path)
    with _reading(path):
        settings = Qwen3VLConfig.from_dict(found)
    tokenizer = _tokenizer(folder)
    _demand(TOWER, settings.vision_config.to_dict(), path)
    _demand(_ids(tokenizer), settings.to_dict(), path)
    if len(tokenizer) > settings.text_config.vocab_size:
        raise ValueError(
            f"{path}: vocab_size {settings.text_config.vocab_size} < {len(tokenizer)} tokens: "
            "this tokenizer was not made for these weights"
        )
    path = folder / "preprocessor_config.json"
    if path.exists():
        _demand({key: PREPROCESSING[key] for key in _BINDING}, _json(path), path)
    return settings, tokenizer


def _tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    path = folder / "tokenizer.json"
    _json(path)
    with _reading(path):
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    tokenizer.chat_template = tokenizer.chat_template or CHAT_TEMPLATE
    return tokenizer


def _net(
    folder: Path, settings: Qwen3VLConfig, dtype: torch.dtype | None
) -> Qwen3VLForConditionalGeneration:
    """The network with its weights: all of them from the files, none left over, and none twice."""
    dtype = dtype or reduce(torch.promote_types, _types(folder).values() or [torch.float32])
    with _reading(folder), without_bars():
        net, report = Qwen3VLForConditionalGeneration.from_pretrained(
            folder,
            config=settings,
            dtype=dtype,
            local_files_only=True,
            use_safetensors=True,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    faults = {
        "missing_keys": "missing",
        "mismatched_keys": "of another shape",
        "unexpected_keys": "left over",
    }
    for key, fault in faults.items():  # the library fills gaps with random numbers and goes on
        if names := sorted(map(str, report[key])):
            raise ValueError(
                f"{folder}: {len(names)} weights are {fault}, such as {names[0]}: {_COPY}"
            )
    tied(net.config, net.state_dict(), str(folder))
    return net


def _types(folder: Path) -> dict[str, torch.dtype]:
    """The type of each weight in the files, from their headers; ValueError for types that training
    would spoil."""
    found: dict[str, torch.dtype] = {}
    for path in _weights(folder):
        with (
            _reading(path),
            safe_open(path, "np") as file,
        ):  # opening compares the length with the header
            types = {name: file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118
        if twice := sorted(found.keys() & types.keys()):
            raise ValueError(f"{path}: {twice[0]} is in another file, too: {_COPY}")
        if odd := sorted(types.keys() - {name for name, kind in types.items() if kind in _TYPES}):
            raise ValueError(
                f"{path}: {odd[0]} is {types[odd[0]]}, but only {', '.join(_TYPES)} are read: take the "
                "checkpoint in bfloat16, one that is not quantised"
            )
        found |= {name: _TYPES[kind] for name, kind in types.items()}
    return found


def _finite(net: Qwen3VLForConditionalGeneration, folder: Path) -> Qwen3VLForConditionalGeneration:
    for name, weight in net.named_parameters():
        if (
            not torch.stack(weight.detach().aminmax()).isfinite().all()
        ):  # no copy is made, and NaN comes through
            raise ValueError(
                f"{folder}: {name} holds NaN or infinite numbers as {weight.dtype}: take an earlier "
                f"checkpoint of its training, or {_COPY}"
            )
    return net


def _weights(folder: Path) -> list[Path]:
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if single.exists():
        return [single]
    if index.exists():
        with _reading(index):
            return [folder / name for name in sorted(set(_json(index)["weight_map"].values()))]
    if pickles := sorted(path.name for path in folder.glob("*.bin")):
        raise ValueError(
            f"{folder} has weights only in {', '.join(pickles)}, a format that can run code: "
            "where you trust it, convert it to safetensors with save_pretrained"
        )
    raise FileNotFoundError(f"{single} is missing: {_COPY}")


def _json(path: Path) -> dict:
    with _reading(path):
        return dict(json.loads(disk.text(path)))


def _demand(expected: dict, found: dict, path: Path) -> None:
    for key, value in expected.items():
        if found.get(key) != value:
            raise ValueError(f"{path}: {key} is {found.get(key)!r}, but only {value!r} fits here")


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Whatever a library raises about a bad file, readers get one of two errors, with the file's
    name."""
    try:
        yield
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path} is missing: {_COPY}") from error
    except Exception as error:
        raise ValueError(f"{path} does not hold what it should, {_COPY}: {error}") from error


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
