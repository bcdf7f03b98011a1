"""Depth Anything V2, fine-tuned to metric depth, through transformers.

It knows no focal length: its metres are taken as they come, right for cameras like those it learned
from. `--model depth_anything` takes the small indoor weights (Apache-2.0, a laptop runs them);
`--model depth_anything:depth-anything/Depth-Anything-V2-Metric-Outdoor-Large-hf` and so on others,
of which Base and Large are licensed as CC-BY-NC-4.0. Tested on the same classes with small random
weights.
"""

from collections.abc import Sequence
from functools import partial

import torch

from vlm3 import parallel
from vlm3.mixture import Source
from vlm3.scoring.experts import Expert, Found, answering
from vlm3.scoring.predictors import Predictor
from vlm3.views import View

EXPERT = Expert(
    name="depth_anything",
    weights={"depth": "depth-anything/Depth-Anything-V2-Metric-Indoor-Small-hf"},
    install="pip install transformers torchvision",
    licence="Apache-2.0 (Small), CC-BY-NC-4.0 (Base, Large)",
)


def predictor(model: str, source: Source) -> Predictor:
    """model: a hub name or a folder. ValueError for another task, without weights, and for weights
    whose depth has no unit."""
    weights, device = EXPERT.meant(model, source), parallel.place().device
    hub = EXPERT.module("transformers", "DepthAnythingForDepthEstimation")
    net = EXPERT.loaded(hub.DepthAnythingForDepthEstimation.from_pretrained, weights)
    if net.config.depth_estimation_type != "metric":
        raise ValueError(f"{weights} finds depth without a unit: take weights with Metric in them")
    scale = EXPERT.loaded(hub.AutoImageProcessor.from_pretrained, weights)
    look_at = partial(look, net.to(device).eval(), scale)
    return Predictor(answering(look_at, source), source, EXPERT.identity("transformers", weights))


@torch.no_grad()
def look(net, processor, views: Sequence[View]) -> Found:
    (view,) = views
    inputs = processor(images=view.image, return_tensors="pt").to(net.device)
    sizes = [view.image.shape[:2]]
    (found,) = processor.post_process_depth_estimation(net(**inputs), target_sizes=sizes)
    return Found(depth_m=found["predicted_depth"].float().cpu().numpy())
