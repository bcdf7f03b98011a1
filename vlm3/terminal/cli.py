"""The command `vlm3`: what the book does, from a terminal."""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, Union

import numpy as np
import tyro
from PIL import Image

import vlm3
from vlm3 import disk, tasks
from vlm3.mixture import NoSample
from vlm3.qwen.architecture import BLOCK
from vlm3.sources import calibrate as calibrators
from vlm3.terminal import asking, facts, shown, typed
from vlm3.terminal.benching import Benches
from vlm3.terminal.data import Data
from vlm3.terminal.doctor import doctor
from vlm3.training.config import PRESETS, Config

Presets = tyro.conf.OmitArgPrefixes[
    Annotated[
        Union[  # noqa: UP007, made from a list
            tuple(
                Annotated[Config, tyro.conf.subcommand(name, default=preset, prefix_name=False)]
                for name, preset in PRESETS.items()
            )
        ],
        tyro.conf.arg(name=""),
    ]
]


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
    _writable(save, photo)
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
        _draw(lambda: _both(before, after), save)
        print(f"saved {save}")
    return 0


def ask(about: asking.Ask) -> int:
    """Ask a model about photos of yours.

    Args:
        about: the task, with the photos.
    """
    _writable(about.save, *about.photos)
    said = asking.report(about)
    if about.save:
        _draw(said.draw, about.save)
    saved = {"saved": str(about.save)} if about.save else {}
    print(json.dumps(said.facts | saved) if about.json else "\n".join(said.lines))
    if about.save and not about.json:
        print(f"saved {about.save}")
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

    _write(save, Image.fromarray(contact_sheet(collection, n, views, seed=seed)).save)
    print(f"saved {save}")
    return 0


def _evaluation() -> type:
    from vlm3.scoring.evaluate import Evaluation  # needs torch, so only where it is asked for

    return Evaluation


def evaluate(
    config: Annotated[Any, tyro.conf.arg(name="", constructor_factory=_evaluation)],
) -> int:
    """Ask a model about a whole test set and score its answers; the same command again resumes.

    Args:
        config: what is asked of whom.
    """
    from vlm3 import parallel
    from vlm3.scoring.evaluate import evaluate as measured

    scores = measured(config)
    if parallel.leads():
        headline = tasks.get(config.task).headline
        ordered = {headline: scores[headline]} | scores if headline in scores else scores
        rows = [(name, f"{value:.4g}") for name, value in ordered.items()]
        print(*shown.aligned(rows), f"saved {config.out}", sep="\n")
    return 0


def train(config: Presets, tensorboard: bool = False) -> int:
    """Fine-tune a Qwen3-VL on a mixture of sources; the same command again resumes.

    Args:
        config: settings by name; each can be changed.
        tensorboard: write event files beside the log, too.
    """
    import torch

    from vlm3 import parallel
    from vlm3.training import log, sft

    try:
        folder = sft.train(
            config, on_step=log.events(config.out) if tensorboard else lambda record: None
        )
    except torch.OutOfMemoryError as error:
        raise ValueError(
            f"{error} Ways out: fewer --tokens at once, --checkpointing 1, --lora 16, "
            "or more GPUs that share the network (--shard)"
        ) from error
    if parallel.leads():
        print(f"saved {folder}")
    return 0


def bench(what: Benches) -> int:
    """Measure on this machine, rung by rung.

    Args:
        what: a step of fine-tuning, or answers.
    """
    from vlm3.pages import recorded

    began, results, (width, height) = time.perf_counter(), [], what.pixels()
    for found in what.rungs():
        results.append(found)
        print("  ".join(_measure(*each) for each in found.items()), flush=True)
        if what.save:
            command, wall_s = " ".join(["vlm3", *sys.argv[1:]]), time.perf_counter() - began
            made = recorded.provenance(command, 0, wall_s, what.place())
            recorded.write(what.save, f"{what.what()}, {width}x{height} px", made, results)
    return 0


def data(what: Data) -> int:
    """Check, pair, split and pack data sets on a disk.

    Args:
        what: what is done.
    """
    if getattr(what, "save", None):
        _writable(what.save)
        import matplotlib

        matplotlib.use("Agg")  # no screen
    return what.run()


def _measure(name: str, value: object) -> str:
    return f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"


COMMANDS = {
    command.__name__: command
    for command in (doctor, unify, ask, evaluate, questions, rooms, data, train, bench)
}


def main() -> None:
    """Run a subcommand; bad input ends in one line that says what is wrong, and exit code 2."""
    try:
        code = tyro.extras.subcommand_cli_from_dict(COMMANDS, prog="vlm3")
    except (ValueError, OSError, ArithmeticError, ImportError, NoSample) as error:
        print("vlm3:", " ".join(str(error).split()), file=sys.stderr)
        code = 2
    except KeyboardInterrupt:
        print("vlm3: stopped", file=sys.stderr)
        code = 130
    sys.exit(code)


def _both(before: vlm3.View, after: vlm3.View):
    from vlm3.pages import figures

    titles = [
        f"{name}: f = {v.camera.fx:.0f} px" for name, v in (("before", before), ("after", after))
    ]
    return figures.to_scale([before, after], titles, width=12)[0].figure


def _draw(make: Callable[[], Any], path: Path) -> None:
    """Make a figure without a screen and save it."""
    import matplotlib

    matplotlib.use("Agg")
    figure = make()
    _write(path, lambda draft: figure.savefig(draft, dpi=150, bbox_inches="tight"))


PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".pdf", ".svg")


def _writable(path: Path | None, *photos: Path) -> None:
    """Complain before the work is done about a place where its picture cannot go."""
    if path is None:
        return
    if path.resolve() in [photo.resolve() for photo in photos]:
        raise ValueError(f"--save {path} is the photo itself: choose another name")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"cannot save {path}: there is no folder {path.parent}")
    if path.suffix.lower() not in PICTURES or path.is_dir():
        kinds = f"{', '.join(PICTURES[:-1])} or {PICTURES[-1]}"
        raise ValueError(f"cannot save {path}: give a file name that ends in {kinds}")


def _write(path: Path, save: Callable[[Path], object]) -> None:
    _writable(path)
    with disk.whole(path) as draft:
        save(draft)
