"""A Qwen3-VL of any size, asked as it was taught."""

import hashlib
from functools import partial

import torch

from vlm3 import parallel
from vlm3.mixture import Source
from vlm3.qwen import model as models
from vlm3.qwen.decode import LONGEST, greedy
from vlm3.qwen.model import VLM
from vlm3.scoring.predictors import Predictor, as_taught

NOISE = 8  # tokens after which an answer is cut off that learned no end


def predictor(model: str, source: Source) -> Predictor:
    """model: as `vlm3.qwen.model.named` takes it."""
    return of(named(model), source, NOISE if model.startswith("random:") else LONGEST)


def named(model: str) -> VLM:
    """Where this process works, in the precision that answers are compared in."""
    device = parallel.place().device
    return models.named(model, str(device), _dtype(device))


def of(vlm: VLM, source: Source, longest: int = LONGEST) -> Predictor:
    """The same of a network in memory."""
    return Predictor(
        partial(greedy, vlm, longest=longest), as_taught(source, vlm.taught), _fingerprint(vlm)
    )


def _dtype(device: torch.device) -> torch.dtype | None:
    """Small CPU models in float32, in which texts do not depend on what is answered beside them;
    else as stored."""
    return torch.float32 if device.type == "cpu" else None


def _fingerprint(vlm: VLM) -> str:
    """The same for the same weights: a digest of the sums of all parts."""
    sums = [weight.detach().sum(dtype=torch.float64).item() for weight in vlm.net.parameters()]
    return hashlib.sha256(repr(sums).encode()).hexdigest()[:16]
