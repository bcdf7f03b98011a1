"""DepthPro: sharp metric depth of one image, through transformers.

It finds the inverse depth of a picture as wide as its focal length is long, and a field of view
beside it. The camera of a view is known here, as VLM3 knows it, so that one makes metres; where it
is not, its own field of view does. `--model depthpro:NAME` takes other weights than
apple/DepthPro-hf, which are Apple's (apple-amlr, for research). Tested on the same classes with
small random weights.
"""

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from vlm3 import parallel
from vlm3.mixture import Source
from vlm3.scoring.experts import Expert, Found, answering
from vlm3.scoring.predictors import Predictor
from vlm3.sources.calibrate.depthpro import HUB, prepared
from vlm3.views import View

EXPERT = Expert(
    name="depthpro",
    weights={"depth": HUB},
    install="pip install transformers",
    licence="apple-amlr, for research",
    research_only=True,
)
NEAREST, FARTHEST = 1e-4, 1e4  # metres


def predictor(model: str, source: Source) -> Predictor:
    """model: a hub name or a folder. ValueError for another task or without weights."""
    weights, device = EXPERT.meant(model, source), parallel.place().device
    kind = EXPERT.module("transformers", "DepthProForDepthEstimation").DepthProForDepthEstimation
    net = EXPERT.loaded(kind.from_pretrained, weights).to(device).eval()
    predict = answering(partial(look, net), source)
    return Predictor(predict, source, EXPERT.identity("transformers", weights))


@torch.no_grad()
def look(net, views: Sequence[View]) -> Found:
    """net: `DepthProForDepthEstimation`."""
    (view,) = views
    out = net(prepared(view.image, net.config).to(net.device, net.dtype))
    widths = _widths(view, out.field_of_view)
    inverse = (out.predicted_depth[0].float() * widths).clamp(1 / FARTHEST, 1 / NEAREST)
    return Found(depth_m=(1 / inverse).cpu().numpy())


def _widths(view: View, seen_deg: Tensor | None) -> float:
    """How many focal lengths the picture is wide; NaN where nothing tells."""
    if view.camera:
        return view.size[0] / view.camera.fx
    return 2 * np.tan(np.radians(float(seen_deg[0])) / 2) if seen_deg is not None else np.nan
