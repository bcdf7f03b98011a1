"""UniDepthV2: metric depth of one image, with the camera that took it.

`--model unidepth` takes lpiccinelli/unidepth-v2-vitl14 (CC-BY-NC-4.0), `--model unidepth:NAME`
another of UniDepthV2's weights. It takes intrinsics where they are known, and here they are. The
package comes from its repository. Its interface is read there and tested against a stand-in.
"""

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch

from vlm3 import parallel
from vlm3.mixture import Source
from vlm3.scoring.experts import Expert, Found, answering
from vlm3.scoring.predictors import Predictor
from vlm3.views import View

EXPERT = Expert(
    name="unidepth",
    weights={"depth": "lpiccinelli/unidepth-v2-vitl14"},
    install="pip install git+https://github.com/lpiccinelli-eth/UniDepth, apart from others",
    licence="CC-BY-NC-4.0",
    research_only=True,
    published={"depth": "UniDepthV2 (expert)"},
)


def predictor(model: str, source: Source) -> Predictor:
    """model: a hub name or a folder. ValueError for another task, without unidepth or weights."""
    weights, device = EXPERT.meant(model, source), parallel.place().device
    kind = EXPERT.module("unidepth.models", "UniDepthV2").UniDepthV2
    net = EXPERT.loaded(kind.from_pretrained, weights).to(device).eval()
    look_at = partial(look, net)
    return Predictor(answering(look_at, source), source, EXPERT.identity("unidepth", weights))


def look(net, views: Sequence[View]) -> Found:
    (view,) = views
    camera = view.camera and torch.from_numpy(view.camera.K).float()
    found = net.infer(torch.from_numpy(np.array(view.image)).movedim(-1, 0), camera)
    return Found(depth_m=found["depth"].float().cpu().numpy()[0, 0])
