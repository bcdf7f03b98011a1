"""The four tasks. Each is a module with the same three verbs and knows nothing else:

`ask(views, n, rng) -> list[QA]`, `parse(text) -> value or None`, `score(pairs) -> dict[str, float]`.

A task may besides have `read(qa, text)`, a parse that knows the question. Where answers are places (`PLACES`), parse
and score take the `scale` that the templates count them in.
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
    """What an answer says to its question, None for nothing.

    templates: what differs from the task's own, see `vlm3.tasks.text.adapted`. With a truth, the task may read more.
    """
    module = get(task)
    if hasattr(module, "read") and qa.truth is not None:
        return module.read(qa, text)
    return module.parse(text, **_counting(module, task, templates))


def score(task: str, pairs: Sequence[tuple], templates: Mapping | None = None) -> dict[str, float]:
    """Scores of (value, truth) pairs, whose places, if any, are counted as the templates say."""
    return get(task).score(pairs, **_counting(get(task), task, templates))


def _counting(module: ModuleType, task: str, templates: Mapping | None) -> dict:
    return {"scale": words.adapted(task, templates or {})["scale"]} if getattr(module, "PLACES", False) else {}
