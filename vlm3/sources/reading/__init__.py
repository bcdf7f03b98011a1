"""What readers of data sets share: frames in scenes, files that may be broken, lidar, boxes."""

from vlm3.sources.reading.reader import Frame, Reader, listed, name_of, named

__all__ = ["Frame", "Reader", "listed", "name_of", "named"]
