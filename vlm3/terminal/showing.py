"""Commands that show what a model would be given, without one."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import tyro
from PIL import Image

import vlm3
from vlm3 import tasks
from vlm3.qwen.architecture import BLOCK
from vlm3.sources import calibrate as calibrators
from vlm3.terminal import drawing, facts, typed


def unify(
    photo: Annotated[Path, tyro.conf.Positional],
    focal_px: float | None = None,
    calibrate: str | None = None,
    fit: Literal["pad", "crop", "stretch"] = "pad",
    max_pixels: int | None = None,
    save: Path | None = None,
) -> int:
    """Bring a photo to a focal length of 1000 px, and show it before and after.

    Args:
        photo: any picture that Pillow reads.
        focal_px: its focal length in pixels; without it, a calibrator or EXIF must know.
        calibrate: who says it where --focal-px does not: depthpro, anycalib, geocalib, exif, or
            package.module:function; also where EXIF knows, which counts without this option.
        fit: how to come to multiples of 32.
        max_pixels: keep no more than this, around the centre.
        save: write both pictures, drawn to scale, to this file (.png, .jpg, .pdf, ...).
    """
    drawing.demand_writable(save, photo)
    before, focal = calibrators.opened(photo, focal_px, calibrate)
    after = vlm3.unify_focal(before, fit=fit, max_pixels=max_pixels)
    print(f"{'':8}{'size':>12}{'fx':>10}{'fy':>10}{'cx':>10}{'cy':>10}{'tokens':>8}")
    for name, view in (("before", before), ("after", after)):
        c, (width, height) = view.camera, view.size
        tokens = width * height // BLOCK**2 if view is after else "-"
        numbers = "".join(f"{number:10.1f}" for number in (c.fx, c.fy, c.cx, c.cy))
        print(f"{name:8}{f'{width}x{height}':>12}{numbers}{tokens:>8}")
    print(f"before: {facts.focal(focal)}")
    if save:
        drawing.draw(lambda: _both(before, after), save)
        print(f"saved {save}")
    return 0


def questions(
    photos: Annotated[tuple[Path, ...], tyro.conf.Positional],
    task: Literal[tasks.NAMES] = "depth",
    n: int = 4,
    focal_px: float | None = None,
    calibrate: str | None = None,
    box: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = (),
    seed: int = 0,
) -> int:
    """Print what a task would ask about a photo of yours, or about two: what a model is given to
    answer.

    Args:
        photos: one, or two for correspondence and pose.
        task: what is asked.
        n: how many questions.
        focal_px: focal length of the photos in pixels; without it, a calibrator or EXIF must know.
        calibrate: who says it where --focal-px does not: depthpro, anycalib, geocalib, exif, or
            package.module:function; also where EXIF knows, which counts without this option. What
            it says goes to the standard error, beside the questions.
        box: an object as xmin,ymin,xmax,ymax in pixels of the photo; say it at least twice for
            objects.
        seed: another seed, other pixels and other wordings.
    """
    wanted = tasks.get(task).views
    if len(photos) != wanted:
        raise ValueError(f"{task} asks about {wanted} photo{'s' * (wanted - 1)}, got {len(photos)}")
    rng = np.random.default_rng(seed)
    opened = [calibrators.opened(path, focal_px, calibrate) for path in photos]
    views = [
        vlm3.unify_focal(_labelled(view, box, shift_m=0.1 * k))
        for k, (view, _) in enumerate(opened)
    ]
    asked = tasks.get(task).ask(views, n, rng)
    for path, (_, focal) in zip(photos, opened, strict=True):
        print(f"{path}: {facts.focal(focal)}", file=sys.stderr)
    print(*(qa.question for qa in asked), sep="\n")
    return 0


def _labelled(view: vlm3.View, boxes: tuple[str, ...], shift_m: float) -> vlm3.View:
    """The view with made-up depth and pose: enough to be asked about, and no answer of theirs is
    ever shown."""
    pose = np.eye(4)
    pose[0, 3] = shift_m
    depth_m = np.ones(view.image.shape[:2], np.float32)
    boxes = typed.boxes(boxes)
    return vlm3.View(view.image, view.camera, depth_m, world_from_cam=pose, boxes=boxes)


def rooms(
    save: Annotated[Path, tyro.conf.Positional],
    collection: str = "medium",
    n: int = 6,
    views: int = 2,
    seed: int = 0,
) -> int:
    """Write a contact sheet of toy rooms: each scene's views and their depth.

    Args:
        save: the picture to write (.png, .jpg, ...).
        collection: small, medium, large or endless.
        n: how many scenes.
        views: how many cameras in each.
        seed: another seed, other rooms.
    """
    from vlm3.sources.rooms import contact_sheet

    drawing.write(save, Image.fromarray(contact_sheet(collection, n, views, seed=seed)).save)
    print(f"saved {save}")
    return 0


def _both(before: vlm3.View, after: vlm3.View):
    from vlm3.pages import figures

    titles = [
        f"{name}: f = {v.camera.fx:.0f} px" for name, v in (("before", before), ("after", after))
    ]
    return figures.to_scale([before, after], titles, width=12)[0].figure
