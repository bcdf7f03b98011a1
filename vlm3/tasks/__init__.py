"""The four tasks. Each is a module with the same four verbs and knows nothing else:

`ask(views, n, rng) -> list[QA]`, `read(qa, text) -> value or None`, `parse(text) -> value or None`,
which reads a text whose question nobody knows, and `score(pairs) -> dict[str, float]`. Where
answers are places (`PLACES`), the last three take the `scale` that the templates count them in.
"""

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType

from vlm3.tasks import text as words
from vlm3.views import QA

NAMES = tuple(sorted(path.stem for path in Path(__file__).parent.glob("*.toml")))


def get(task: str) -> ModuleType:
    """The module of a task by its name. ValueError for a name that is none."""
    return import_module(f"vlm3.tasks.{name(task)}")


def name(task: str) -> str:
    """The name itself, once it is known to be one."""
    if task not in NAMES:
        raise ValueError(f"no task {task!r}: take one of {', '.join(NAMES)}")
    return task


def read(task: str, qa: QA, text: str, templates: Mapping | None = None) -> object | None:
    """What an answer says to its question, whether or not its truth is known; None for nothing.

    templates: what differs from the task's own, see `vlm3.tasks.text.adapted`.
    """
    module = get(task)
    return module.read(qa, text, **_counting(module, task, templates))


def score(task: str, pairs: Sequence[tuple], templates: Mapping | None = None) -> dict[str, float]:
    """Scores of (value, truth) pairs, whose places, if any, are counted as the templates say."""
    return get(task).score(pairs, **_counting(get(task), task, templates))


def _counting(module: ModuleType, task: str, templates: Mapping | None) -> dict:
    return (
        {"scale": words.adapted(task, templates or {})["scale"]}
        if getattr(module, "PLACES", False)
        else {}
    )
