"""The four tasks. Each is a module with the same three verbs and knows nothing else:

`ask(views, n, rng) -> list[QA]`, `parse(text) -> value or None`, `score(pairs) -> dict[str, float]`.
"""

from importlib import import_module
from pathlib import Path
from types import ModuleType

NAMES = tuple(sorted(path.stem for path in Path(__file__).parent.glob("*.toml")))


def get(name: str) -> ModuleType:
    """The module of a task by its name. ValueError for a name that is none."""
    if name not in NAMES:
        raise ValueError(f"no task {name!r}: take one of {', '.join(NAMES)}")
    return import_module(f"vlm3.tasks.{name}")
