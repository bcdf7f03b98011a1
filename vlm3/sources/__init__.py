"""Where views come from. A source knows views, never tasks; a new data set is one file here."""

from vlm3.sources import ibims, photos

__all__ = ["ibims", "photos"]
