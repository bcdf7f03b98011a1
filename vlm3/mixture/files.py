"""Mixtures as TOML files: the packaged ones by their names, and those of readers."""

import os
import re
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import fields
from inspect import signature
from pathlib import Path
from pkgutil import resolve_name

from vlm3 import disk
from vlm3.mixture.source import Source
from vlm3.mixture.stream import Mixture

PACKAGED = Path(__file__).parent / "packaged"
_OF_ALL = ("weights", "same_items")
_KEYS = ("weights", "same_items", "like", "arguments", "sources")


def load(path: str | Path, seed: int = 0) -> Mixture:
    """A mixture from a TOML file, or a packaged one by its name.

    `weights` may be a word or a power; `same_items` as in `Mixture`. `like` names a mixture, or a
    list of them, whose sources are taken, with the file's `arguments` added to those of each, and
    with what tables of the same names change, entry by entry. A table that is `like`
    "homes:objects", a source of another mixture, or `like` one before it in the file, says only
    what differs. Each table under `sources` names what makes the items, as "module:callable" in
    `from`, with its arguments in `arguments` ($NAME is what the environment says; a relative path
    counts from where the command runs), and may set task, questions, focal_px, options,
    one_wording, either_way, augment and weight. Raises FileNotFoundError or ValueError, naming the
    file and the source.
    """
    path = _path(path)
    settings, tables = _parts(path)
    given = {name: table.pop("weight") for name, table in tables.items() if "weight" in table}
    if given and "weights" in settings:
        raise ValueError(f"{path}: either `weights` or a weight for each source, not both")
    sources = {name: _source(table, f"{path}, source {name!r}") for name, table in tables.items()}
    try:
        return Mixture(sources, **({"weights": given} if given else {}) | settings, seed=seed)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _path(path: str | Path, beside: Path | None = None) -> Path:
    """A packaged mixture, or a file; beside: the file that names it, in whose folder it may lie."""
    packaged = PACKAGED / f"{path}.toml"
    path = packaged if packaged.exists() else Path(path)
    if beside is not None and (near := beside.parent / path).is_file():
        path = near
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in PACKAGED.glob("*.toml")))
        raise FileNotFoundError(f"{path}: no such mixture; give a TOML file, or one of {known}")
    return path


def _parts(path: Path, within: tuple[Path, ...] = ()) -> tuple[dict, dict[str, dict]]:
    """What the file says of all sources together, and its table of each source; within: the files
    that it is asked for by way of."""
    if path.resolve() in within:
        raise ValueError(f"{path}: is `like` itself, or like a mixture that is like it")
    within += (path.resolve(),)
    try:
        found = tomllib.loads(disk.text(path))
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path}: not a mixture ({error})") from error
    settings = {name: found.pop(name) for name in _OF_ALL if name in found}
    tables = found.pop("sources", {})
    like, arguments = found.pop("like", None), found.pop("arguments", {})
    if found:
        lacking = ", ".join(found)
        raise ValueError(f"{path}: unknown {lacking}: a mixture has {', '.join(_KEYS)}")
    if not isinstance(tables, dict) or not all(isinstance(t, dict) for t in tables.values()):
        raise ValueError(f"{path}: `sources` must hold a table for each source")
    first, found = _shared(like, arguments, path, within) if like else ({}, {})
    for name, table in tables.items():
        whole = _whole(table, found, path, within, f"{path}, source {name!r}")
        found[name] = _over(found.get(name, {}), whole)
    return first | settings, found


def _whole(
    table: dict, before: dict[str, dict], path: Path, within: tuple[Path, ...], where: str
) -> dict:
    """A table with what it leaves to the one that it is like."""
    table = dict(table)
    if (like := table.pop("like", None)) is None:
        return table
    of, _, name = str(like).rpartition(":")
    known = _parts(_path(of, path), within)[1] if of else before
    if name not in known:
        place = f"in {of}" if of else "before it; one of another mixture is like homes:depth"
        raise ValueError(
            f"{where}: like {like!r}, but there are {', '.join(known) or 'none'} {place}"
        )
    return _over(known[name], table)


def _over(below: dict, above: dict) -> dict:
    """Tables as if one were written over the other, entry by entry; what makes other items takes
    none of the arguments of what made those below."""
    if "from" in above and above["from"] != below.get("from"):
        below = {name: entry for name, entry in below.items() if name != "arguments"}
    tables = [k for k in above if isinstance(above[k], dict) and isinstance(below.get(k), dict)]
    return below | above | {k: _over(below[k], above[k]) for k in tables}


def _shared(
    like: object, arguments: dict, path: Path, within: tuple[Path, ...]
) -> tuple[dict, dict[str, dict]]:
    """The settings of the first of the mixtures that a file is like, and the tables of all."""
    names = like if isinstance(like, list) else [like]
    if not all(isinstance(name, str) for name in names):
        raise ValueError(f"{path}: `like` must name a mixture or a list of them, got {like!r}")
    shared = [_parts(_path(name, path), within) for name in names]
    tables = {name: table for _, known in shared for name, table in known.items()}
    more = {name: _over(table, {"arguments": arguments}) for name, table in tables.items()}
    return shared[0][0], more


def _source(table: dict, where: str) -> Source:
    table = dict(table)
    try:
        # What made the items is part of what a run is: another folder, another run.
        origin = {"from": table.pop("from"), "arguments": table.pop("arguments", {})}
        if ":" not in origin["from"]:
            raise ValueError(
                f"from = {origin['from']!r} must be module:callable, such as vlm3.sources.rgbd:Rgbd"
            )
        makes, arguments = resolve_name(origin["from"]), expanded(origin["arguments"])
        return Source(_called(makes, arguments), **_known(table), origin=origin)
    except KeyError as error:
        raise ValueError(f"{where}: {error} is missing") from error
    except (ImportError, AttributeError, TypeError, ValueError, OSError) as error:
        raise ValueError(f"{where}: {error}") from error


def _called(makes: Callable, arguments: dict) -> Sequence:
    try:
        return makes(**arguments)
    except TypeError as error:
        takes = ", ".join(name for name in signature(makes).parameters if name != "self")
        raise ValueError(f"{error}; its arguments are {takes}") from error


def _known(table: dict) -> dict:
    """What a table says of a source; ValueError for what no source has."""
    names = [each.name for each in fields(Source) if each.name not in ("items", "origin")]
    if unknown := sorted(table.keys() - set(names)):
        raise ValueError(f"unknown {', '.join(unknown)}: a source has {', '.join(names)}")
    return table


def expanded(value: object) -> object:
    """Arguments, with what the environment says in the place of $NAME: where data lie differs from
    one machine to the next, and a run does not."""
    if isinstance(value, dict):
        return {name: expanded(each) for name, each in value.items()}
    if isinstance(value, list):
        return [expanded(each) for each in value]
    if not isinstance(value, str):
        return value
    if unknown := re.search(r"\$\{?\w+", found := os.path.expandvars(value)):
        name = unknown[0].strip("${")
        raise ValueError(f"{value!r}: {name} is not set: export {name}=..., the folder of the data")
    return found
