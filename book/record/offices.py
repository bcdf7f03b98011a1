"""Rooms that are larger than those of homes, with more in them, for photographs to be learned from.

`offices:Offices` in the file of a mixture.
"""

from dataclasses import replace

from vlm3.sources.rooms import COLLECTIONS, Rooms

OFFICES = replace(COLLECTIONS["homes"], number=6, side_m=(3.0, 9.0), solids=(6, 12))


class Offices(Rooms):
    """Scenes as `Rooms` has them."""

    def __init__(self, split: str = "train", views: int = 2, grade: str = "near"):
        super().__init__(OFFICES, split, views, grade=grade)
