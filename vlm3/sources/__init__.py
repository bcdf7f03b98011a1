"""Where views come from. A source knows views, never tasks; a new data set is one file here.

`rooms` needs torch and is imported on first use.
"""

from importlib import import_module

from vlm3.sources import ibims, photos

__all__ = ["ibims", "photos"]


def __getattr__(name: str):
    if name == "rooms":
        return import_module("vlm3.sources.rooms")
    raise AttributeError(f"module 'vlm3.sources' has no attribute {name!r}")
