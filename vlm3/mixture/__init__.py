"""Ingredient 3: data mixing at scale."""

from vlm3.mixture.files import PACKAGED, load
from vlm3.mixture.source import Source
from vlm3.mixture.stream import Draw, Mixture, NoSample, shuffled

__all__ = ["PACKAGED", "Draw", "Mixture", "NoSample", "Source", "load", "shuffled"]
