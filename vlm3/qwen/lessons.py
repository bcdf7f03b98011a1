"""How a model was taught: for each task, the focal length of its images and the wordings.

A folder tells it in taught.json, beside the weights; checkpoints of others have none.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from vlm3 import tasks
from vlm3.qwen import files
from vlm3.tasks.task import Task

_FILE = "taught.json"


class Lesson(NamedTuple):
    """The focal length of a task's images, and what differs from the task's own templates."""

    focal_px: float = 1000.0
    templates: Mapping = MappingProxyType({})

    def task(self, name: str) -> Task:
        """The task as it was taught."""
        return tasks.get(name, self.templates)


def read_taught(folder: Path) -> dict[str, dict]:
    """What a folder tells, by task; empty where it tells nothing."""
    path = folder / _FILE
    return files.read_json(path) if path.exists() else {}


def write_taught(taught: Mapping[str, Mapping], folder: Path) -> None:
    if taught:
        text = json.dumps(taught, indent=1) + "\n"
        (folder / _FILE).write_text(text, encoding="utf-8")
