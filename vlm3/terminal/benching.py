"""What `vlm3 bench` takes: one class for each of what can be measured."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Union

import tyro


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What every measure takes.

    Args:
        model: random:tiny, random:4b, or a checkpoint.
        size: width and height of the images in pixels; 128 96 where the tiny model trains, else
            1215 920, as the 4B model's depth task.
        steps: how often each rung is measured; the median counts.
        device: cpu or cuda; the GPU where there is one, without it.
        save: write the measures to this .json, too, after each rung.
    """

    model: str = "random:tiny"
    size: tuple[int, int] | None = None
    steps: int = 3
    device: str | None = None
    save: Path | None = None

    def place(self) -> str:
        import torch

        return self.device or ("cuda" if torch.cuda.is_available() else "cpu")

    def demand(self, *names: str) -> None:
        """ValueError where one of these is below 1."""
        for name in names:
            if (value := getattr(self, name)) < 1:
                raise ValueError(f"{name} must be 1 or more, got {value}")


@dataclass(frozen=True, kw_only=True)
class Train(Bench):
    """A step of fine-tuning, rung by rung from a first attempt to what this package does.

    Args:
        task: depth (one image), correspondence (two), or another one.
        batch: samples per step.
        questions: per sample.
        tokens: at most so many at once.
        share: measure as one of so many GPUs that hold the network together computes, without what
            they send each other.
    """

    task: str = "depth"
    batch: int = 8
    questions: int = 10
    tokens: int = 8192
    share: int = 1

    def pixels(self) -> tuple[int, int]:
        return self.size or ((128, 96) if self.model.endswith("tiny") else (1215, 920))

    def what(self) -> str:
        return f"a step of fine-tuning {self.model} on {self.task}"

    def rungs(self) -> Iterator[dict]:
        import torch

        from vlm3.training import bench
        from vlm3.training.config import Config

        self.demand("batch", "questions", "steps", "share")
        config = Config(model=self.model, batch=self.batch, tokens=self.tokens)
        try:
            vlm = bench.start(config, self.place(), self.share)
        except torch.OutOfMemoryError as error:
            raise ValueError(
                f"{error} The weights alone do not fit: try --share 8, or a smaller --model"
            ) from error
        work = (self.task, self.pixels(), self.questions, self.steps, self.share)
        return bench.train(vlm, config, *work)


@dataclass(frozen=True, kw_only=True)
class Answer(Bench):
    """Many depth questions about one image, one by one and all together.

    Args:
        questions: about the image.
    """

    questions: int = 100

    def pixels(self) -> tuple[int, int]:
        return self.size or (1215, 920)

    def what(self) -> str:
        return f"answers of {self.model} to {self.questions} depth questions about one image"

    def rungs(self) -> Iterator[dict]:
        from vlm3.scoring import speed

        self.demand("questions", "steps")
        return speed.measured(self.model, self.pixels(), self.questions, self.steps, self.place())


Benches = tyro.conf.OmitArgPrefixes[
    Annotated[
        Union[  # noqa: UP007, as the list of `vlm3 ask`
            Annotated[Train, tyro.conf.subcommand("train", prefix_name=False)],
            Annotated[Answer, tyro.conf.subcommand("answer", prefix_name=False)],
        ],
        tyro.conf.arg(name=""),
    ]
]
