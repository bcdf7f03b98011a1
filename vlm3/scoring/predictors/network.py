"""A Qwen3-VL of any size, asked as it was taught."""

import hashlib
from functools import partial

import torch

from vlm3 import parallel
from vlm3.mixture import Source
from vlm3.qwen import model as models
from vlm3.qwen.decode import greedy
from vlm3.qwen.lessons import LONGEST, demand
from vlm3.qwen.model import VLM
from vlm3.scoring.predictors import Predictor, as_taught

NOISE = 8  # tokens after which an answer is cut off that learned no end


def predictor(model: str, source: Source, lessons: str = "") -> Predictor:
    """model: as `vlm3.qwen.model.named` takes it; lessons: instead of its own, see
    `vlm3.qwen.lessons.read`."""
    found = named(model, lessons)
    return of(found, source, NOISE if model.startswith("random:") else 0)


def named(model: str, lessons: str = "") -> VLM:
    """Where this process works, in the precision that answers are compared in."""
    demand(model, lessons)
    device = parallel.place().device
    return models.named(model, str(device), _dtype(device), lessons=lessons)


def of(vlm: VLM, source: Source, longest: int = 0) -> Predictor:
    """The same of a network in memory. longest: tokens of an answer, 0 leaves it to its lesson."""
    longest, asked = longest or vlm.lesson(source.task).tokens, as_taught(source, vlm.taught)
    return Predictor(partial(greedy, vlm, longest=longest), asked, _identity(vlm, longest))


def _dtype(device: torch.device) -> torch.dtype | None:
    """Small CPU models in float32, in which texts do not depend on what is answered beside them;
    else as stored."""
    return torch.float32 if device.type == "cpu" else None


def _identity(vlm: VLM, longest: int) -> str:
    """The same for the same weights: a digest of the sums of all parts; and how long answers may
    be, where that is a matter of the lesson."""
    sums = [weight.detach().sum(dtype=torch.float64).item() for weight in vlm.net.parameters()]
    digest = hashlib.sha256(repr(sums).encode()).hexdigest()[:16]
    return f"{digest}, {longest} tokens" if longest > LONGEST else digest
