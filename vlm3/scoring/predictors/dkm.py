"""DKM: dense kernelized matching, the forerunner of RoMa.

`--model dkm` takes its outdoor weights (MegaDepth), `--model dkm:indoor` those of ScanNet; both are
downloaded by the package from its authors' releases (MIT). It is installed from its repository:
what the package index has under the name dkm is another package and a placeholder, which is
refused. Its interface is read in that repository and tested against a stand-in of it.
"""

from functools import partial

from vlm3.mixture import Source
from vlm3.scoring import warps
from vlm3.scoring.experts import Expert, answering
from vlm3.scoring.predictors import Predictor

EXPERT = Expert(
    name="dkm",
    weights={"correspondence": "outdoor", "pose": "outdoor"},
    install="pip install git+https://github.com/Parskatt/DKM",
    licence="MIT",
    published={"correspondence": "DKM"},
)


def predictor(model: str, source: Source) -> Predictor:
    """model: outdoor or indoor. ValueError for another task, other weights, without DKM."""
    weights = EXPERT.meant(model, source)
    if weights not in ("outdoor", "indoor"):
        raise ValueError(f"dkm:{weights}: its weights are outdoor and indoor")
    make = getattr(EXPERT.module("dkm", f"DKMv3_{weights}"), f"DKMv3_{weights}")
    matcher = EXPERT.loaded(lambda _: make(), weights)  # on the GPU where there is one
    look = partial(warps.look, matcher, source.task == "pose")
    return Predictor(answering(look, source), source, EXPERT.identity("dkm", weights))
