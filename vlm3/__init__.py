"""vlm3: the thin package behind the book that rebuilds VLM3, chapter by chapter.

Importing it costs numpy and Pillow only; rooms that need torch are imported on first use.
"""

from importlib import import_module

from vlm3 import focal, geometry, photo, reference, sources, views
from vlm3.focal import unify_focal
from vlm3.geometry import Camera
from vlm3.photo import open_photo
from vlm3.reference import PixelText
from vlm3.views import QA, Box, Pair, Sample, View, points_of

__version__ = "0.1.0"
__all__ = ["Box", "Camera", "Pair", "PixelText", "QA", "Sample", "View", "focal", "geometry", "open_photo", "photo",
           "points_of", "reference", "sources", "unify_focal", "views"]  # fmt: skip

_ON_FIRST_USE = ("answer", "curves", "figures", "mixture", "model", "packing", "runs", "sft", "widgets")


def __getattr__(name: str):
    if name in _ON_FIRST_USE:
        return import_module(f"vlm3.{name}")
    raise AttributeError(f"module 'vlm3' has no attribute {name!r}")
