"""What all tasks do with words: templates in, tuples out.

Single numbers are read by `vlm3.tasks.numbers`. Templates are TOML files, one beside each task.
Patterns never backtrack over a number, so reading takes time linear in the length of the text,
whatever it holds.
"""

import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from vlm3 import disk

# Behind "v2" or "1.2." stands no number of its own, nor does one end before a further digit.
COORDINATE = r"(?<![\w.])[-+\u2212]?+(?>[0-9]++(?:\.[0-9]++)?+|\.[0-9]++)(?!\.?[0-9])"
# Negated, and with a per cent sign, a tolerance or a plus behind it, a tuple says something else.
TUPLE = re.compile(
    r"(?<![-\u2212])(?<![Nn]ot )(?<!n't )"
    rf"[(\[]\s{{0,2}}{COORDINATE}(?:,\s{{0,2}}{COORDINATE}){{1,3}}\s{{0,2}}[)\]]"
    r"(?!\s?[%\u00b1]|\s?\+/)"
)

_OPTIONAL = {"rounding"}  # may be added to templates, which need not say it


def load(path: Path) -> dict:
    """Templates of a task; FileNotFoundError or ValueError, naming the file, where it is none."""
    try:
        return tomllib.loads(disk.text(path))
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path}: not a file of question templates ({error})") from error


def changed(templates: dict, changes: Mapping, where: str) -> dict:
    """Templates with some values changed; ValueError, saying where, for one that they lack."""
    added = set() if "." in where else _OPTIONAL
    if unknown := changes.keys() - templates.keys() - added:
        lacking, known = ", ".join(sorted(unknown)), ", ".join(templates)
        raise ValueError(f"the templates of {where} have no {lacking}, only {known}")
    tables = {name: v for name, v in changes.items() if isinstance(v, Mapping)}
    inner = {name: changed(templates[name], v, f"{where}.{name}") for name, v in tables.items()}
    return templates | dict(changes) | inner


def in_one_wording(templates: dict, rng: np.random.Generator) -> dict:
    """Templates with one wording of each table, drawn with rng."""
    return {
        name: table | {"questions": [table["questions"][rng.integers(len(table["questions"]))]]}
        if isinstance(table, Mapping) and table.get("questions")
        else table
        for name, table in templates.items()
    }


def question(templates: dict, table: str, rng: np.random.Generator, **fills: object) -> str:
    """The note that begins all questions of a file, and one wording, drawn with rng and filled.

    ValueError, naming the table, where it has no questions, or one with a gap that nothing fills.
    """
    wordings = templates.get(table, {}).get("questions")
    if not wordings:
        raise ValueError(f"the templates have no `questions` in a table [{table}]")
    note, wording = templates.get("note", ""), wordings[rng.integers(len(wordings))]
    wording = f"{note} {wording}" if note else wording
    try:
        return wording.format(scale=templates.get("scale"), **fills)
    except KeyError as gap:
        known = ", ".join(f"{{{name}}}" for name in ("scale", *fills))
        raise ValueError(
            f"[{table}] has {{{gap.args[0]}}}, but only {known} are filled in"
        ) from gap


def number(written: str) -> float:
    """A number as written, with a minus sign of either kind; infinite beyond what a float holds."""
    return float(written.replace("\u2212", "-").replace(",", ""))


def tuples(text: str) -> list[tuple[float, ...]]:
    """All "(x, y)" up to "(x, y, z, w)", in round or square brackets, in their order."""
    return [tuple(map(number, re.findall(COORDINATE, match[0]))) for match in TUPLE.finditer(text)]


def without(text: str, about: Sequence[Sequence[float]]) -> str:
    """A text without the pixels and boxes that its question names, however it separates them."""
    for place in about:
        written = [f"{number:g}" for number in place]
        if all(each in text for each in written):
            together = r"\s{0,2}[,;]?\s{0,2}".join(map(re.escape, written))
            text = re.sub(rf"(?<![\w.,+-]){together}(?!\w|[.,][0-9])", " , ", text)
    return text
