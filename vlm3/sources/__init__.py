"""Where views come from; a new data set is one file. A source gives views and imports no task.

Only `released` gives samples instead: its files state their questions.

`rooms` needs torch and is imported on first use.
"""

from importlib import import_module

from vlm3.sources import ibims, photos

__all__ = ["ibims", "photos"]


def __getattr__(name: str):
    if name == "rooms":
        return import_module("vlm3.sources.rooms")
    raise AttributeError(f"module 'vlm3.sources' has no attribute {name!r}")
