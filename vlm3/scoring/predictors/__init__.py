"""Who answers: one file for each, with `predictor(model, source) -> Predictor`.

`network` is a Qwen3-VL, decoded by this package; `mbr` the same, saying the most central of its
likely answers; `vllm` the same served by vLLM. All others are baselines that a model has to beat:
`opencv` solves pairs of views without learning; `constant`, `place`, `same_place`, `mean_motion`
and `boxes` never look (`vlm3.scoring.blind`); `shuffled` is a model that looks at other images.
Those with an `EXPERT` are networks of others that see geometry (`vlm3.scoring.experts`).
Folders named in the environment variable VLM3_BASELINES may hold more: each file is one that
`--model NAME` or `--model NAME:MODEL` knows.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import NamedTuple

from vlm3.mixture import Source
from vlm3.views import Answer, Sample

__path__ += filter(None, os.environ.get("VLM3_BASELINES", "").split(os.pathsep))
NAMES = tuple(sorted(p.stem for folder in __path__ for p in Path(folder).glob("[a-z]*.py")))


class Predictor(NamedTuple):
    """predict: samples to the answers to all their questions; source: as this one is to be asked;
    identity: what tells its predictions from those of another of the same name."""

    predict: Callable[[Sequence[Sample]], list[list[Answer]]]
    source: Source
    identity: str = ""


def get(model: str, source: Source, lessons: str = "") -> Predictor:
    """By name: "constant", "opencv", "vllm:Qwen/Qwen3-VL-4B-Instruct"; anything else is a model for
    `vlm3.qwen.model.load`.

    lessons: see `vlm3.qwen.lessons.read`, for those whose `predictor` takes them: models.
    """
    kind, _, rest = model.partition(":")
    kind, rest = (kind, rest) if kind in NAMES else ("network", model)
    make = import_module(f"vlm3.scoring.predictors.{kind}").predictor
    told = {"lessons": lessons} if lessons and "lessons" in signature(make).parameters else {}
    return make(rest, source, **told)


def as_taught(source: Source, taught: Mapping[str, Mapping]) -> Source:
    """The source with the sizes of images and the templates of a model's lessons, where they are
    known, see `vlm3.qwen.lessons`."""
    told = taught.get(source.task, {})
    # How long answers may be is up to who answers.
    return replace(source, **{name: value for name, value in told.items() if name != "tokens"})
