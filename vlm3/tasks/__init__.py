"""Tasks: what is asked, how answers are read, how they are scored.

A task is one file here with its templates beside it: `depth.py` holds the class `Depth`, and
`depth.toml` its questions. Folders named in the environment variable VLM3_TASKS may hold more.
"""

import os
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from types import MappingProxyType

from vlm3.tasks import text
from vlm3.tasks.task import Task

__path__ += filter(None, os.environ.get("VLM3_TASKS", "").split(os.pathsep))
NAMES = tuple(sorted(file.stem for folder in __path__ for file in Path(folder).glob("*.toml")))

_load = cache(text.load)  # the files of this folder do not change while it is used


def get(name: str, changes: Mapping = MappingProxyType({})) -> Task:
    """A task by its name, its templates changed in some values: {"z": {"answer": "{value:.1f}"}}.

    ValueError for a name that is none, and for a value that the templates do not have.
    """
    if name not in NAMES:
        raise ValueError(f"no task {name!r}: take one of {', '.join(NAMES)}")
    module = import_module(f"vlm3.tasks.{name}")
    templates = _load(Path(module.__file__).with_suffix(".toml"))
    return getattr(module, name.capitalize())(text.changed(templates, changes, name))
