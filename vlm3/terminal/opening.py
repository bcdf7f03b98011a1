"""Photos that people name, with what is known of their focal lengths."""

from collections.abc import Sequence
from pathlib import Path

from vlm3 import tasks
from vlm3.sources import calibrate as calibrators
from vlm3.sources.calibrate import Calibrated, Focal
from vlm3.sources.photo import Photo


def opened(
    photos: Sequence[Path], task: str, focal_px: float | None, calibrate: str | None, lessons: str
) -> tuple[Calibrated, ...]:
    """Each photo with its focal length: focal_px, else what a calibrator says, else EXIF; any where
    the model was taught pictures of one size, whatever their lens.

    ValueError for another number of photos than the task asks about.
    """
    wanted = tasks.get(task).views
    if len(photos) != wanted:
        named = f"{wanted} photo{'s' * (wanted - 1)}"
        raise ValueError(f"{task} asks about {named}, got {len(photos)}")
    if focal_px is None and calibrate is None and lessons and _by_size(task, lessons):
        calibrate = f"{__name__}:noted_or_any"
    return tuple(calibrators.opened(path, focal_px, calibrate) for path in photos)


def noted_or_any(photo: Photo) -> Focal:
    """What EXIF says, or as much as a picture is wide or high."""
    try:
        return calibrators.get("exif").focal(photo)
    except ValueError:
        return Focal(float(max(photo.image.shape[:2])), None, "any would do")


def _by_size(task: str, lessons: str) -> bool:
    from vlm3.qwen.lessons import lesson, read

    return lesson(read(lessons), task).longest_px > 0
