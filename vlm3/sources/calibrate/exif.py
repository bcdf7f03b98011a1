"""What the camera noted in the file, see `vlm3.sources.exif`; nobody looks at the picture."""

from vlm3.focal import NO_FOCAL
from vlm3.sources.calibrate import Ask, Focal
from vlm3.sources.photo import Photo


def calibrator(which: str) -> Ask:
    """which: nothing, since there is only one."""
    return _noted


def _noted(photo: Photo) -> Focal:
    if photo.noted is None:
        height, width = photo.image.shape[:2]
        raise ValueError(NO_FOCAL.format(f"{width}x{height}"))
    return Focal(*photo.noted)
