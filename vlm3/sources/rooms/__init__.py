"""Rooms: a toy world with exact depth, poses, boxes and sizes, made while you wait."""

from vlm3.sources.rooms.collections import COLLECTIONS, FIXED
from vlm3.sources.rooms.stands import Lens
from vlm3.sources.rooms.world import SPLITS, Rooms, contact_sheet, visible_boxes

__all__ = ["COLLECTIONS", "FIXED", "SPLITS", "Lens", "Rooms", "contact_sheet", "visible_boxes"]
