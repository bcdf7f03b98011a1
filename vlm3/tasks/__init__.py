"""Tasks: what is asked, how answers are read, how they are scored.

A task is one file here with its templates beside it: `depth.py` holds the class `Depth`, and
`depth.toml` its questions. Folders named in the environment variable VLM3_TASKS may hold more, of
other names than the files here.
"""

import os
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from types import MappingProxyType

from vlm3.tasks import text
from vlm3.tasks.task import Task

_OWN = os.environ.get("VLM3_TASKS", "")


def _named(folder: str) -> set[str]:
    """A task is a Python file and a TOML file; one of them alone is something else."""
    return {path.stem for path in Path(folder).glob("*.toml") if path.with_suffix(".py").exists()}


_HERE = Path(__file__).parent
_TAKEN = {path.stem for path in _HERE.glob("*.py")}  # an import finds these first
__path__ += filter(None, _OWN.split(os.pathsep))
NAMES = tuple(sorted(_named(_HERE) | {n for f in __path__[1:] for n in _named(f) - _TAKEN}))
_load = cache(text.load)  # the files of these folders do not change while they are used


def get(name: str, changes: Mapping = MappingProxyType({})) -> Task:
    """A task by its name, its templates changed in some values: {"z": {"answer": "{value:.1f}"}}.

    ValueError for a name that is none, for a file that holds no task, and for a value that the
    templates do not have.
    """
    if name not in NAMES:
        own = f"yours in folders that VLM3_TASKS names (now {_OWN!r})"
        raise ValueError(f"no task {name!r}: take one of {', '.join(NAMES)}, or {own}")
    module = import_module(f"vlm3.tasks.{name}")
    templates = _load(Path(module.__file__).with_suffix(".toml"))
    return _kind(module)(text.changed(templates, changes, name))


def _kind(module) -> type[Task]:
    name = module.__name__.rpartition(".")[2].capitalize()
    kind = getattr(module, name, None)
    if not (isinstance(kind, type) and issubclass(kind, Task)):
        raise ValueError(f"{module.__file__} has no class {name} that is a vlm3.tasks.task.Task")
    if lacking := sorted(kind.__abstractmethods__):
        raise ValueError(f"{module.__file__}: {name} lacks {', '.join(lacking)}")
    return kind
