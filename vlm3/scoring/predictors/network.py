"""A Qwen3-VL of any size, asked as it was taught."""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import torch

from vlm3 import parallel
from vlm3.mixture import Source
from vlm3.qwen import model as models
from vlm3.qwen.decode import LONGEST, answer_all
from vlm3.qwen.model import VLM, Lesson
from vlm3.scoring.predictors import Answerer

NOISE = 8  # tokens after which an answer is cut off that learned no end


def answerer(model: str, source: Source) -> Answerer:
    """model: what `vlm3.qwen.model.load` takes, or "random:SIZE" for weights that learned nothing."""
    kind, _, size = model.partition(":")
    device = parallel.place().device
    if kind == "random":
        return of(models.new(size), source, NOISE)
    return of(models.load(model, str(device), _dtype(device)), source)


def of(vlm: VLM, source: Source, longest: int = LONGEST) -> Answerer:
    """The same of a network in memory."""
    return Answerer(
        partial(answer_all, vlm, longest=longest), as_taught(source, vlm), _fingerprint(vlm)
    )


def as_taught(source: Source, vlm: VLM) -> Source:
    """The source with the focal length and the templates of the model's lessons, where they are
    known."""
    return worded(source, vlm.taught)


def worded(source: Source, taught: Mapping[str, Mapping]) -> Source:
    """The same of lessons by themselves, see `vlm3.qwen.model.VLM`."""
    if source.task not in taught:
        return source
    lesson = Lesson(**taught[source.task])
    return replace(source, focal_px=lesson.focal_px, templates=lesson.templates)


def _dtype(device: torch.device) -> torch.dtype | None:
    """Small CPU models in float32, in which texts do not depend on what is answered beside them;
    else as stored."""
    return torch.float32 if device.type == "cpu" else None


def _fingerprint(vlm: VLM) -> str:
    """The same for the same weights: a digest of the sums of all parts."""
    sums = [weight.detach().sum(dtype=torch.float64).item() for weight in vlm.net.parameters()]
    return hashlib.sha256(repr(sums).encode()).hexdigest()[:16]
