"""Adapters (LoRA, Hu et al. 2022): what is trained beside frozen matrices, in the format of peft.

A folder holds adapter_config.json, which names the base, adapter_model.safetensors and, beside
them, how the model was taught. Names are those that peft gives them on the class of the hub, so
transformers, peft and vLLM read them. Adapters stand on the language model only: with nothing to
learn in it, the vision tower keeps no activations, of which it would have more than all layers of
text.

Letters in shapes: r numbers between the two factors, I numbers in, O numbers out.
"""

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from vlm3 import disk
from vlm3.qwen import files
from vlm3.qwen.architecture import ADAPTED
from vlm3.qwen.lessons import write_taught

_SETTINGS, _WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_PREFIX, _NAME = "base_model.model.", "default"
# What all else than two factors beside a matrix would set.
_PLAIN = {
    "peft_type": ("LORA",),
    "bias": ("none", None),
    "use_dora": (False, None),
    "lora_bias": (False, None),
    "fan_in_fan_out": (False, None),
    "modules_to_save": (None, []),
    "rank_pattern": ({}, None),
    "alpha_pattern": ({}, None),
}


class Adapter(NamedTuple):
    """base: the folder or the hub name of what it was trained on; rank: r; scale: of the product of
    factors; factors: by the matrix that they stand beside, (r, I) and (O, r)."""

    base: str
    rank: int
    scale: float
    factors: dict[str, tuple[Tensor, Tensor]]


def there(folder: Path) -> bool:
    """Whether a folder holds an adapter. ValueError for one that holds a whole model, too."""
    if not (folder / _SETTINGS).exists():
        return False
    if (folder / "config.json").exists():
        raise ValueError(
            f"{folder} holds an adapter beside a whole model: move {_SETTINGS} and {_WEIGHTS} into "
            "a folder of their own, or remove them"
        )
    return True


def begun(name: str) -> Path | None:
    """The folder of adapters that a model's name means, if it means one."""
    if name == "tiny" or name.startswith("random:"):
        return None
    folder = files.folder_of(name)
    return folder if there(folder) else None


def base_of(name: str) -> str:
    """The model that an adapter was trained on; of anything else its own name, made absolute where
    it is a folder."""
    if folder := begun(name):
        return read(folder).base
    path = Path(name).expanduser()
    return str(path.resolve()) if path.is_dir() and name != "tiny" else name


def read(folder: Path) -> Adapter:
    """An adapter from its folder. ValueError or FileNotFoundError for what is missing, for factors
    without a partner, and for kinds that are more than two factors beside a matrix."""
    path = folder / _SETTINGS
    said = files.read_json(path)
    for name, plain in _PLAIN.items():
        if (value := said.get(name)) not in plain:
            raise ValueError(
                f"{path}: {name} is {value!r}, but only {plain[0]!r} is read: merge it with peft "
                "(merge_and_unload, then save_pretrained) and give that folder"
            )
    with files.reading(path):
        base, rank, alpha = str(said["base_model_name_or_path"]), int(said["r"]), said["lora_alpha"]
        scale = alpha / (rank**0.5 if said.get("use_rslora") else rank)
    with files.reading(folder / _WEIGHTS):
        weights = load_file(folder / _WEIGHTS)
    return Adapter(base, rank, scale, _factors(weights, folder))


def _factors(weights: Mapping[str, Tensor], folder: Path) -> dict[str, tuple[Tensor, Tensor]]:
    ends = ".lora_A.weight", ".lora_B.weight"
    names = [name.removesuffix(ends[0]) for name in weights if name.endswith(ends[0])]
    wanted = {f"{name}{end}" for name in names for end in ends}
    if odd := sorted(wanted ^ weights.keys()):
        raise ValueError(
            f"{folder / _WEIGHTS}: {odd[0]} is no factor of a pair, or lacks the other one: "
            f"{files.COPY}"
        )
    down, up = ({name: weights[f"{name}{end}"] for name in names} for end in ends)
    return {name.removeprefix(_PREFIX): (down[name], up[name]) for name in names}


@torch.no_grad()
def merge(net: torch.nn.Module, adapter: Adapter, folder: Path) -> None:
    """Add an adapter to the matrices of its base, in float32, in place. ValueError, naming the
    folder, where it fits another model."""
    fitted = _fitted(net, adapter, folder)
    for name, (down, up) in adapter.factors.items():
        weight = fitted[name]
        added = up.to(weight.device).float() @ down.to(weight.device).float()
        # Rounded once, at the end: a change is often less than one step of bfloat16.
        weight.copy_(weight.float() + adapter.scale * added)


def _fitted(net: torch.nn.Module, adapter: Adapter, folder: Path) -> dict[str, Tensor]:
    """The matrix of the base for each pair of factors."""
    known = dict(net.named_parameters())
    found = {name: known.get(f"{name}.weight") for name in adapter.factors}
    for name, (down, up) in adapter.factors.items():
        shape = up.shape[0], down.shape[1]
        if found[name] is None or found[name].shape != shape:
            has = "no such matrix" if found[name] is None else f"one of {tuple(found[name].shape)}"
            raise ValueError(
                f"{folder}: {name} is adapted as a matrix of {shape}, but {adapter.base} has {has}"
                ": the adapter was trained on another model; write that one into "
                f"base_model_name_or_path of {_SETTINGS}"
            )
    return found


def put(net: torch.nn.Module, rank: int, seed: int, begun: Path | None = None) -> torch.nn.Module:
    """The network with adapters of this rank beside the matrices of its language model, which alone
    learn, in float32: new ones, drawn from `seed`, or those of the folder `begun`.

    ValueError for a folder with adapters of another rank, or of another model.
    """
    from peft import LoraConfig, get_peft_model

    fresh = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=list(ADAPTED))
    settings = fresh if begun is None else LoraConfig.from_pretrained(begun)
    settings.inference_mode = False  # a finished one says that it does not learn
    if settings.r != rank:
        raise ValueError(
            f"{begun} has adapters of rank {settings.r}: go on with --lora {settings.r}, or start "
            "from the merged model beside it"
        )
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        # peft asks by the old name.
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated")
        torch.default_generator.manual_seed(seed)
        adapted = get_peft_model(net, settings)
    for module in adapted.modules():
        if hasattr(module, "lora_A"):
            # Autocast does what is needed; peft would make and keep a copy of x for each factor.
            module.cast_input_dtype_enabled = False
    if begun is not None:
        _begin(adapted, begun)
    return adapted


@torch.no_grad()
def _begin(adapted: torch.nn.Module, folder: Path) -> None:
    weights = {f"{_PREFIX}{name}": pair for name, pair in read(folder).factors.items()}
    for name, module in adapted.named_modules():
        if hasattr(module, "lora_A"):
            pair = module.lora_A[_NAME].weight, module.lora_B[_NAME].weight
            if [w.shape for w in pair] != [w.shape for w in weights.get(name, ())]:
                raise ValueError(f"{folder}: the adapter of {name} is missing or of another shape")
            for mine, theirs in zip(pair, weights[name], strict=True):
                mine.copy_(theirs)


def learned(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Those of a network's weights that are adapters, by the names that peft's files have."""
    ends = ".lora_A.", ".lora_B."
    own = {name: weight for name, weight in weights.items() if any(end in name for end in ends)}
    return {name.replace(f".{_NAME}.", "."): weight.contiguous() for name, weight in own.items()}


def save(
    net: torch.nn.Module,
    weights: Mapping[str, Tensor],
    base: str,
    taught: Mapping[str, Mapping],
    folder: Path,
) -> None:
    """Write the adapters of a network that `put` made, of whose weights these are all that learn.

    base: what they were trained on, see `base_of`. There in full or not at all.
    """
    settings = json.loads(json.dumps(net.peft_config[_NAME].to_dict(), default=_listed))
    settings |= {"base_model_name_or_path": base, "inference_mode": True}
    with disk.whole(folder) as draft:
        draft.mkdir()
        (draft / _SETTINGS).write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n")
        save_file(learned(weights), draft / _WEIGHTS, metadata={"format": "pt"})
        write_taught(taught, draft)


def _listed(value: object) -> list | str:
    return sorted(value) if isinstance(value, set) else str(getattr(value, "value", value))
