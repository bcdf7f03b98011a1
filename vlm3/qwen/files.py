"""The files of a checkpoint, read with errors that name the file and the way out."""

import json
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import snapshot_download
from safetensors import safe_open

from vlm3 import disk

PACKAGED = Path(__file__).parent / "checkpoints" / "tiny"
_DOWNLOADED = ["*.json", "*.jinja", "*.safetensors", "README.md"]
_FREE = ("apache-2.0", "mit", "bsd-3-clause", "cc0-1.0", "cc-by-4.0")  # for all uses
_LOG = logging.getLogger("vlm3")
_TYPES = {"BF16": "bfloat16", "F16": "float16", "F32": "float32"}  # of safetensors, in torch
COPY = "copy it again from where the checkpoint came from"


def folder_of(name_or_path: str | Path) -> Path:
    """The folder itself, the packaged one, or where the hub's files are cached.

    FileNotFoundError or ValueError, naming it, for what is no folder and no name of the hub.
    """
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
        # Weights as safetensors only: pickles can run code.
        return Path(snapshot_download(name, allow_patterns=_DOWNLOADED))
    except (OSError, ValueError) as error:
        raise FileNotFoundError(f"no folder {name!r}, and the hub gave none: {error}") from error


def tell_licence(name: str, folder: Path) -> None:
    """Say in the log what a model may be used for, where its README.md or its name says that this
    is not everything."""
    path = folder / "README.md"
    head = disk.text(path).partition("\n---")[0] if path.exists() else ""
    stated = dict(re.findall(r"^(license\w*):[ \t]*(\S.*?)[ \t]*$", head, re.MULTILINE))
    licence = stated.get("license_name") or stated.get("license", "")
    if not licence and name.startswith("facebook/VLM3-"):
        licence = "FAIR CC-BY-NC"
    if licence and licence.lower() not in _FREE:
        limits = ", for non-commercial use only" if "nc" in re.split(r"\W", licence.lower()) else ""
        _LOG.warning("%s: licence %s%s", name, licence, limits)


def weights(folder: Path) -> list[Path]:
    """The safetensors files of a folder; FileNotFoundError or ValueError where there are none."""
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if single.exists():
        return [single]
    if index.exists():
        with reading(index):
            return [folder / name for name in sorted(set(read_json(index)["weight_map"].values()))]
    if pickles := sorted(path.name for path in folder.glob("*.bin")):
        raise ValueError(
            f"{folder} has weights only in {', '.join(pickles)}, a format that can run code: "
            "where you trust it, convert it to safetensors with save_pretrained"
        )
    raise FileNotFoundError(f"{single} is missing: {COPY}")


def types(folder: Path) -> dict[str, str]:
    """What torch calls the type of each weight in the files, from their headers; ValueError for
    types that training would spoil."""
    found: dict[str, str] = {}
    for path in weights(folder):
        # Opening compares the length with the header.
        with reading(path), safe_open(path, "np") as file:
            types = {name: file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118
        if twice := sorted(found.keys() & types.keys()):
            raise ValueError(f"{path}: {twice[0]} is in another file, too: {COPY}")
        if odd := sorted(types.keys() - {name for name, kind in types.items() if kind in _TYPES}):
            raise ValueError(
                f"{path}: {odd[0]} is {types[odd[0]]}, but only {', '.join(_TYPES)} are read: "
                "take the checkpoint in bfloat16, one that is not quantised"
            )
        found |= {name: _TYPES[kind] for name, kind in types.items()}
    return found


def read_json(path: Path) -> dict:
    """The object in a JSON file."""
    with reading(path):
        return dict(json.loads(disk.text(path)))


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Whatever a library raises about a bad file, readers get one of two errors, with the file's
    name."""
    try:
        yield
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path} is missing: {COPY}") from error
    except Exception as error:
        raise ValueError(f"{path} does not hold what it should, {COPY}: {error}") from error
