"""Libraries that only some data sets need."""

from importlib import import_module
from types import ModuleType


def need(name: str, extra: str = "readers") -> ModuleType:
    """The module; ImportError that says how to get it, where it is not installed."""
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise ImportError(f"this data set needs {name}: pip install 'vlm3[{extra}]'") from error
