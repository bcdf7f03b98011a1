"""The command `vlm3`: what the book does, from a terminal."""

import json
import sys
import time
from typing import Annotated, Any, Union

import tyro

from vlm3 import tasks
from vlm3.mixture import NoSample
from vlm3.terminal import asking, drawing, shown
from vlm3.terminal.benching import Benches
from vlm3.terminal.comparing import compare
from vlm3.terminal.data import Data
from vlm3.terminal.doctor import doctor
from vlm3.terminal.exchanging import exchange
from vlm3.terminal.showing import questions, rooms, unify
from vlm3.training.config import PRESETS, Config, described

Presets = tyro.conf.OmitArgPrefixes[
    Annotated[
        Union[  # noqa: UP007, made from a list
            tuple(
                Annotated[
                    Config,
                    tyro.conf.subcommand(
                        name, default=preset, prefix_name=False, description=described(name)
                    ),
                ]
                for name, preset in PRESETS.items()
            )
        ],
        tyro.conf.arg(name=""),
    ]
]


def ask(about: asking.Ask) -> int:
    """Ask a model about photos of yours.

    Args:
        about: the task, with the photos.
    """
    drawing.demand_writable(about.save, *about.photos)
    said = asking.report(about)
    if about.save:
        drawing.draw(said.draw, about.save)
    saved = {"saved": str(about.save)} if about.save else {}
    print(json.dumps(said.facts | saved) if about.json else "\n".join(said.lines))
    if about.save and not about.json:
        print(f"saved {about.save}")
    return 0


def app(
    model: str = "tiny",
    lessons: str = "",
    calibrate: str | None = None,
    host: str = "127.0.0.1",
    port: int | None = None,
    max_upload: float = 20.0,
    keep_minutes: float = 30.0,
) -> int:
    """Serve a page on which a model is asked about photos: drop one, click, read.

    Args:
        model: tiny, a folder, or a hub name.
        lessons: how the model was taught, where its folder does not say so, see `vlm3 ask`.
        calibrate: who says the focal length of a photo in place of EXIF, see `vlm3 ask`.
        host: an address of this computer; by default nobody else can reach the page.
        port: where it listens; without it, the first free one from 7860.
        max_upload: the largest file of a photo, in MB.
        keep_minutes: for how long a visitor's photos are remembered.
    """
    from vlm3.terminal.app.serve import serve

    asked = asking.Asking(model=model, lessons=lessons, calibrate=calibrate)
    serve(asked, host, port, max_upload, keep_minutes)
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


def train(config: Presets, tensorboard: bool = False, plan: bool = False) -> int:
    """Fine-tune a Qwen3-VL on a mixture of sources; the same command again resumes.

    Args:
        config: settings by name; each can be changed.
        tensorboard: write event files beside the log, too.
        plan: print what the run would need of a GPU's memory, computed, instead of training.
    """
    import torch

    if plan:
        from vlm3.terminal import planning

        print(*planning.lines(config), sep="\n")
        return 0

    from vlm3 import parallel
    from vlm3.training import log, sft

    try:
        folder = sft.train(
            config, on_step=log.events(config.out) if tensorboard else lambda record: None
        )
    except torch.OutOfMemoryError as error:
        raise ValueError(
            f"{error} Ways out: fewer --tokens at once, --checkpointing 1, --lora 16, a --base of "
            "fewer bits, or more GPUs that share the network (--shard); `vlm3 train --plan` says "
            "what takes how much"
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
        drawing.demand_writable(what.save)
        import matplotlib

        matplotlib.use("Agg")  # no screen
    return what.run()


def _measure(name: str, value: object) -> str:
    return f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"


COMMANDS = {
    command.__name__: command
    for command in (
        *(doctor, unify, ask, app, evaluate, compare, exchange),
        *(questions, rooms, data, train, bench),
    )
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
