"""vlm3: the thin package behind the book that rebuilds VLM3, chapter by chapter.

Importing it costs numpy and Pillow only; rooms that need more are imported on first use.
"""

from importlib import import_module

from vlm3 import focal, geometry, reference, sources, views
from vlm3.focal import unify_focal
from vlm3.geometry import Camera
from vlm3.reference import PixelText
from vlm3.sources import photo
from vlm3.sources.photo import open_photo
from vlm3.views import QA, Box, Pair, Sample, View, points_of

__version__ = "0.1.0"
__all__ = [
    "QA",
    "Box",
    "Camera",
    "Pair",
    "PixelText",
    "Sample",
    "View",
    "focal",
    "geometry",
    "open_photo",
    "photo",
    "points_of",
    "reference",
    "sources",
    "unify_focal",
    "views",
]

_ON_FIRST_USE = {
    "mixture": "vlm3",
    "tasks": "vlm3",
    **dict.fromkeys(("attention", "decode", "model", "packing"), "vlm3.qwen"),
    **dict.fromkeys(("bench", "checkpoints", "config", "sft"), "vlm3.training"),
    **dict.fromkeys(("evaluate", "predictors", "spread"), "vlm3.scoring"),
    **dict.fromkeys(("boards", "charts", "curves", "figures", "pairs", "widgets"), "vlm3.pages"),
    "ask": "vlm3.terminal",
}


def __getattr__(name: str):
    if name in _ON_FIRST_USE:
        return import_module(f"{_ON_FIRST_USE[name]}.{name}")
    raise AttributeError(f"module 'vlm3' has no attribute {name!r}")
