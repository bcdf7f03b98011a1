"""What all tasks do with words: templates in, numbers out.

Templates are TOML files, one for each task, beside this module; a reader's own file in the same form does as well.
Patterns never backtrack over a number, so reading takes time linear in the length of the text, whatever it holds.
"""

import math
import re
import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vlm3 import disk

METRES = {
    "m": 1.0, "metre": 1.0, "metres": 1.0, "meter": 1.0, "meters": 1.0,
    "cm": 0.01, "centimetre": 0.01, "centimetres": 0.01, "centimeter": 0.01, "centimeters": 0.01,
    "mm": 0.001, "millimetre": 0.001, "millimetres": 0.001, "millimeter": 0.001, "millimeters": 0.001,
    "km": 1000.0, "in": 0.0254, "inch": 0.0254, "inches": 0.0254, "ft": 0.3048, "foot": 0.3048, "feet": 0.3048,
}  # fmt: skip
COORDINATE = r"(?<![\w.])[-+\u2212]?+(?>[0-9]++(?:\.[0-9]++)?+|\.[0-9]++)(?!\.?[0-9])"
NUMBER = rf"(?<![0-9],){COORDINATE}(?!,[0-9])"  # 1,234 and 2,5 could be two things each, so they are none
_UNIT = rf"(?!in\s++[a-z])(?:{'|'.join(METRES)})\b"  # "2.5 in metres" are no inches
_MEASURE = re.compile(rf"({NUMBER})(?:[ \u00a0]{{0,2}}((?ai:{_UNIT}))|(?!\w))")
_TUPLE = re.compile(rf"[(\[] {{0,2}}{COORDINATE}(?:, {{0,2}}{COORDINATE}){{1,3}} {{0,2}}[)\]]")
_RANGE = re.compile(rf"{NUMBER} {{0,2}}(?:-|\u2013|to|and|or) {{0,2}}{NUMBER}", re.IGNORECASE)


class Measure(NamedTuple):
    """A number as written, and its unit in metres if it has one."""

    number: float
    unit_m: float | None


def load(path: str | Path) -> dict:
    """Templates of a task from a TOML file; FileNotFoundError or ValueError, naming the file, where it is none."""
    try:
        return tomllib.loads(disk.text(Path(path)))
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path}: not a file of question templates ({error})") from error


@cache
def packaged(task: str) -> dict:
    """The templates of this book for a task."""
    return load(Path(__file__).parent / f"{task}.toml")


def adapted(task: str, changes: Mapping) -> dict:
    """The templates of this book for a task with some values changed: {"z": {"answer": "{value:.1f}"}}.

    ValueError for a value that they do not have.
    """
    return _changed(packaged(task), changes, task)


def _changed(values: dict, changes: Mapping, where: str) -> dict:
    if unknown := changes.keys() - values.keys():
        raise ValueError(f"the templates of {where} have no {', '.join(sorted(unknown))}, only {', '.join(values)}")
    found = {k: _changed(values[k], v, f"{where}.{k}") if isinstance(v, Mapping) else v for k, v in changes.items()}
    return values | found


def question(templates: dict, table: str, rng: np.random.Generator, **fills: object) -> str:
    """The file's note, which all its questions begin with, and one wording, drawn with rng and filled in."""
    wordings = templates[table]["questions"]
    wording = f"{templates.get('note', '')} {wordings[rng.integers(len(wordings))]}".lstrip()
    return wording.format(scale=templates.get("scale"), **fills)


def said(text: str) -> str:
    """What is left of an answer without its thoughts, and inside its answer tags where it has them."""
    text = text.rsplit("</think>", 1)[-1].split("<think>", 1)[0]
    return text.split("<answer>", 1)[-1].split("</answer>", 1)[0].strip()


def number(written: str) -> float:
    """A number as the patterns of this module find it; infinite where it is too long for a float."""
    return float(written.replace("\u2212", "-"))


def tuples(text: str) -> list[tuple[float, ...]]:
    """All "(x, y)" up to "(x, y, z, w)", in round or square brackets, in their order."""
    return [tuple(map(number, re.findall(COORDINATE, match[0]))) for match in _TUPLE.finditer(text)]


def measures(text: str) -> list[Measure]:
    """All numbers outside brackets of several numbers, with their units."""
    found = _MEASURE.finditer(_TUPLE.sub(" ", text))
    return [Measure(number(m[1]), METRES[m[2].lower()] if m[2] else None) for m in found]


def length_m(text: str) -> float | None:
    """The one positive length that the text states; a bare number counts as metres where no number has a unit.

    None where it states none, one that is not positive and finite, a range such as "2 to 3 m", or several that differ
    by more than 2 per cent (the same length in metres and in feet, each rounded, does not).
    """
    if _RANGE.search(text):
        return None
    found = measures(text)
    found = [m for m in found if m.unit_m] or found
    lengths = [m.number * (m.unit_m or 1.0) for m in found]
    if not lengths or not all(0 < length < math.inf for length in lengths) or max(lengths) > 1.02 * min(lengths):
        return None
    return lengths[0]
