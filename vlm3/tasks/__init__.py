"""The four tasks. Each is a module with the same three verbs and knows nothing else:

`ask(views, n, rng) -> list[QA]`, `parse(text) -> value or None`, `score(pairs) -> dict[str, float]`.
"""

from importlib import import_module
from pathlib import Path
from types import ModuleType

NAMES = tuple(sorted(path.stem for path in Path(__file__).parent.glob("*.toml")))


def get(task: str) -> ModuleType:
    """The module of a task by its name. ValueError for a name that is none."""
    return import_module(f"vlm3.tasks.{name(task)}")


def name(task: str) -> str:
    """The name itself, once it is known to be one."""
    if task not in NAMES:
        raise ValueError(f"no task {task!r}: take one of {', '.join(NAMES)}")
    return task
