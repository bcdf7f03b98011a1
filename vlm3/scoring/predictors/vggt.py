"""VGGT: cameras, depth and tracks of several images from one transformer.

`--model vggt` takes facebook/VGGT-1B (CC-BY-NC-4.0), `--model vggt:facebook/VGGT-1B-Commercial` the
weights that may earn money. A pose is what its camera head says, up to scale; a match is where its
track head follows a pixel to. Its depth has no unit, so it answers no questions about metres. The
package comes from its repository. Its interface is read there and tested against a stand-in.
"""

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from PIL import Image

from vlm3 import parallel
from vlm3.geometry import invert
from vlm3.mixture import Source
from vlm3.scoring.experts import Expert, Found, answering
from vlm3.scoring.predictors import Predictor
from vlm3.scoring.predictors.da3 import one_size
from vlm3.views import View

EXPERT = Expert(
    name="vggt",
    weights={"pose": "facebook/VGGT-1B", "correspondence": "facebook/VGGT-1B"},
    install="pip install git+https://github.com/facebookresearch/vggt",
    licence="CC-BY-NC-4.0 (facebook/VGGT-1B-Commercial: VGGT License)",
    research_only=True,
    published={"pose": "VGGT"},
)
LONGEST_PX, PATCH_PX, WHITE = 518, 14, 255  # of its images: the longest side; both are multiples


def predictor(model: str, source: Source) -> Predictor:
    """model: a hub name or a folder. ValueError for another task, without vggt or weights."""
    weights, device = EXPERT.meant(model, source), parallel.place().device
    kind = EXPERT.module("vggt.models.vggt", "VGGT").VGGT
    decode = EXPERT.module("vggt.utils.pose_enc").pose_encoding_to_extri_intri
    net = EXPERT.loaded(kind.from_pretrained, weights).to(device).eval()
    look_at = partial(look, net, decode, device)
    return Predictor(answering(look_at, source), source, EXPERT.identity("vggt", weights))


@torch.no_grad()
def look(net, decode, device: torch.device, views: Sequence[View]) -> Found:
    """decode: the package's reading of what the camera head says."""
    images = one_size([view.image for view in views], WHITE)
    size = images[0].shape[1::-1]
    scaled = _scaled(images).to(device)

    def follow(uv: np.ndarray) -> np.ndarray:
        shrunk = np.array(scaled.shape[:-3:-1]) / size
        asked = torch.from_numpy(uv * shrunk - 0.5).float().to(device)  # counted from centres
        track = net(scaled, query_points=asked)["track"]
        return (track[0, 1].float().cpu().numpy() + 0.5) / shrunk

    cam_from_world, _ = decode(net(scaled)["pose_enc"], scaled.shape[-2:])
    first, second = (
        np.vstack([each, [0, 0, 0, 1]]) for each in cam_from_world[0].float().cpu().numpy()
    )
    return Found(follow=follow, cam1_from_cam2=(first @ invert(second)).astype(float))


def _scaled(images: Sequence[np.ndarray]) -> torch.Tensor:
    """(N, 3, H, W) from 0 to 1, of the size that it learned from."""
    height, width = images[0].shape[:2]
    sides = [
        max(1, round(side * LONGEST_PX / max(height, width) / PATCH_PX)) * PATCH_PX
        for side in (width, height)
    ]
    small = [Image.fromarray(i).resize(sides, Image.Resampling.BICUBIC) for i in images]
    return torch.from_numpy(np.array(small)).movedim(-1, 1).float() / 255
