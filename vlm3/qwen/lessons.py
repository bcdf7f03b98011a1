"""How a model was taught, and so is to be asked: for each task the images, the wordings, and how
long an answer may be.

A folder tells it in taught.json, beside the weights. Checkpoints of others have none: there it
comes from a file of the user's, or from the user's own copy of a release, see
`vlm3.qwen.release`; a plain Qwen3-VL, which was taught none of the tasks, is told in words what
an answer looks like (words.toml).
"""

import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from vlm3 import disk, tasks
from vlm3.focal import FITS
from vlm3.qwen import files, release
from vlm3.tasks.task import Task

LONGEST = 64  # tokens of an answer; the longest of the four tasks, a direction, takes about 25
WORDS = Path(__file__).parent / "words.toml"
_FILE = "taught.json"
THINKING = 2048  # tokens of an answer that begins with thoughts
_PLAIN = re.compile(r"Qwen/Qwen3-VL-\w+-(Instruct|Thinking)")
_RELEASED = re.compile(r"(?:|.*/)VLM3-(depth|object|corr|pose)/?")
_OF_RELEASED = {"object": "objects", "corr": "correspondence"}


class Lesson(NamedTuple):
    """How images are brought to the model, and what differs from the task's own templates.

    focal_px, longest_px, fit: see `vlm3.focal.unify_focal`; tokens: after which an answer is cut
    off.
    """

    focal_px: float = 1000.0
    templates: Mapping = MappingProxyType({})
    longest_px: int = 0
    fit: str = "pad"
    tokens: int = LONGEST

    def task(self, name: str) -> Task:
        """The task as it was taught."""
        return tasks.get(name, self.templates)

    @property
    def sizing(self) -> dict:
        """How images are brought to the model, as arguments of `vlm3.focal.unify_focal`."""
        return {"focal_px": self.focal_px, "longest_px": self.longest_px, "fit": self.fit}


def lesson(taught: Mapping[str, Mapping], task: str) -> Lesson:
    """That of a task; where nothing is known of it, as the task itself has it."""
    return Lesson(**{"focal_px": tasks.get(task).focal_px} | dict(taught.get(task, {})))


def demand(model: str, path: str = "") -> None:
    """Before anything is loaded: ValueError for a released checkpoint whose lessons nobody has,
    since asked in other words it would look broken, and errors as of `read` for others at path."""
    given, released = read(path) if path else {}, _RELEASED.fullmatch(model)
    if not released or (Path(model).expanduser() / _FILE).exists():
        return
    task = _OF_RELEASED.get(released[1], released[1])
    if path and task not in given:
        raise ValueError(f"{path} has no lesson of {task}, which {model} was taught: add [{task}]")
    if not path:
        raise ValueError(
            f"{model} answers well in the words that it was taught in, which its authors published "
            "and this package may not copy. Three ways out: (1) --lessons PATH, the folder of your "
            "copy of their release, with inference.ipynb and sample_data; (2) --lessons FILE, "
            "lessons that you wrote yourself, in TOML or as taught.json; (3) --lessons words, to "
            "ask it as a plain Qwen3-VL"
        )


def of(model: str, folder: Path, path: str = "") -> dict[str, dict]:
    """By task, the lessons of a model in a folder: those that `path` names, see `read`, and of
    other tasks what the folder tells, or ours for a plain Qwen3-VL of the hub; empty where nothing
    is known."""
    own = read_taught(folder) or (_words(model) if _PLAIN.fullmatch(model) else {})
    return own | (read(path) if path else {})


def read(path: str | Path) -> dict[str, dict]:
    """Lessons of a TOML file or of a taught.json, by task, of a folder with one, of a copy of the
    authors' release, or "words": ours for a model that was taught none.

    FileNotFoundError or ValueError, naming the file, for anything else.
    """
    path = WORDS if str(path) == "words" else Path(path).expanduser()
    if not path.exists():
        raise FileNotFoundError(
            f"no lessons at {path}: say a file of yours in TOML, a taught.json, a folder with one, "
            "your copy of the authors' release, or words"
        )
    if path.is_dir():
        found = read_taught(path) or release.lessons(path)
    elif path.suffix == ".toml":
        found = _toml(path)
    else:
        found = files.read_json(path)
    for task, told in found.items():
        _demand(task, told, path)
    return found


def _words(model: str) -> dict[str, dict]:
    longest = {"tokens": THINKING} if model.endswith("Thinking") else {}
    return {task: told | longest for task, told in read("words").items()}


def read_taught(folder: Path) -> dict[str, dict]:
    """What a folder tells, by task; empty where it tells nothing."""
    path = folder / _FILE
    return files.read_json(path) if path.exists() else {}


def write_taught(taught: Mapping[str, Mapping], folder: Path) -> None:
    if taught:
        text = json.dumps(taught, indent=1) + "\n"
        (folder / _FILE).write_text(text, encoding="utf-8")


def _toml(path: Path) -> dict[str, dict]:
    try:
        return tomllib.loads(disk.text(path))
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path}: not lessons in TOML ({error})") from error


def _demand(task: str, told: object, path: Path) -> None:
    """ValueError for what is no lesson of a task."""
    if task not in tasks.NAMES or not isinstance(told, Mapping):
        known = ", ".join(tasks.NAMES)
        raise ValueError(f"{path}: lessons are tables named after tasks ({known}), not {task!r}")
    if unknown := sorted(told.keys() - set(Lesson._fields)):
        known = ", ".join(Lesson._fields)
        raise ValueError(f"{path}, {task}: unknown {', '.join(unknown)}: a lesson has {known}")
    try:
        found = Lesson(**told)
        asked = found.task(task)
        if "scale" in found.templates:
            _ = asked.reference  # which is made of scale and rounding
        _demand_numbers(found)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}, {task}: {error}") from error


def _demand_numbers(found: Lesson) -> None:
    for name, kind, least in (
        ("focal_px", (int, float), 1),
        ("longest_px", int, 0),
        ("tokens", int, 1),
    ):
        value = getattr(found, name)
        if isinstance(value, bool) or not isinstance(value, kind) or not value >= least:
            raise ValueError(f"{name} is a number of at least {least}, got {value!r}")
    if found.fit not in FITS:
        raise ValueError(f"fit is one of {', '.join(FITS)}, got {found.fit!r}")
