"""Depth Anything 3: depth of one image, and poses of several.

`--model da3` takes depth-anything/DA3METRIC-LARGE for depth (Apache-2.0), which counts metres by
the focal length, and depth-anything/DA3-GIANT-1.1 for poses (CC-BY-NC-4.0); `--model da3:NAME` any
of its weights that fit the task. Of those named NESTED, depth and poses are in metres. The package
asks for older libraries than this one, so it wants an environment of its own. Its interface is read
in depth-anything-3 0.1.1 and tested against a stand-in of it.
"""

from collections.abc import Sequence
from functools import partial

import numpy as np

from vlm3 import parallel
from vlm3.geometry import invert
from vlm3.mixture import Source
from vlm3.scoring.experts import Expert, Found, answering
from vlm3.scoring.predictors import Predictor
from vlm3.views import View

EXPERT = Expert(
    name="da3",
    weights={"depth": "depth-anything/DA3METRIC-LARGE", "pose": "depth-anything/DA3-GIANT-1.1"},
    install="pip install depth-anything-3, apart from others",
    licence="Apache-2.0 (depth), CC-BY-NC-4.0 (poses)",
    research_only=True,
    published={"pose": "DA3-Giant"},
)
CANONICAL_PX = 300.0  # the focal length for which DA3METRIC counts in metres, says its README


def predictor(model: str, source: Source) -> Predictor:
    """model: a hub name or a folder. ValueError for another task, without the package or weights,
    and for weights whose depth has no unit."""
    weights, device = EXPERT.meant(model, source), parallel.place().device
    metric = "METRIC" in weights.upper() or "NESTED" in weights.upper()
    if source.task == "depth" and not metric:
        raise ValueError(f"{weights} finds depth without a unit: take DA3METRIC or DA3NESTED")
    kind = EXPERT.module("depth_anything_3.api", "DepthAnything3").DepthAnything3
    net = EXPERT.loaded(kind.from_pretrained, weights).to(device).eval()
    look_at = partial(look, net)
    identity = EXPERT.identity("depth-anything-3", weights)
    return Predictor(answering(look_at, source), source, identity)


def look(net, views: Sequence[View]) -> Found:
    """Views of two sizes are brought to one by what is added on the right and at the bottom: the
    package would cut their sides."""
    found = net.inference(one_size([view.image for view in views]))
    if len(views) == 1:
        return Found(depth_m=_metres(found, views[0]))
    cam_from_world = [np.vstack([each[:3], [0, 0, 0, 1]]) for each in found.extrinsics]
    pose = cam_from_world[0] @ invert(cam_from_world[1])
    return Found(cam1_from_cam2=pose.astype(float), metric=bool(found.is_metric))


def _metres(found, view: View) -> np.ndarray:
    """(h, w); a focal length is counted in the pixels of the map."""
    if found.is_metric:
        return found.depth[0]
    return found.depth[0] * view.camera.fx * found.depth.shape[2] / view.size[0] / CANONICAL_PX


def one_size(images: Sequence[np.ndarray], value: int = 0) -> list[np.ndarray]:
    """Images HxWx3, filled up on the right and at the bottom until all are as large."""
    height, width = np.max([image.shape[:2] for image in images], axis=0)
    return [
        np.pad(
            image,
            ((0, height - image.shape[0]), (0, width - image.shape[1]), (0, 0)),
            constant_values=value,
        )
        for image in images
    ]
