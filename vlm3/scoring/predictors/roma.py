"""RoMa: robust dense matching, from features of DINOv2.

`--model roma` takes its outdoor weights, `--model roma:indoor` the indoor ones; both are downloaded
by the package `romatch` from its authors' releases (code and weights MIT, DINOv2 Apache-2.0). Its
interface is read in romatch 0.1.2 and tested against a stand-in of it.
"""

from functools import partial

from vlm3 import parallel
from vlm3.mixture import Source
from vlm3.scoring import warps
from vlm3.scoring.experts import Expert, answering
from vlm3.scoring.predictors import Predictor

EXPERT = Expert(
    name="roma",
    weights={"correspondence": "outdoor", "pose": "outdoor"},
    install="pip install romatch",
    licence="MIT, its DINOv2 Apache-2.0",
    published={"correspondence": "RoMa"},
)


def predictor(model: str, source: Source) -> Predictor:
    """model: outdoor or indoor. ValueError for another task, other weights, without romatch."""
    weights = EXPERT.meant(model, source)
    if weights not in ("outdoor", "indoor"):
        raise ValueError(f"roma:{weights}: its weights are outdoor and indoor")
    make = getattr(EXPERT.module("romatch", f"roma_{weights}"), f"roma_{weights}")
    device = parallel.place().device
    matcher = EXPERT.loaded(lambda _: make(device=device), weights)
    look = partial(warps.look, matcher, source.task == "pose")
    return Predictor(answering(look, source), source, EXPERT.identity("romatch", weights))
