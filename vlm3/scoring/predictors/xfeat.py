"""XFeat: keypoints that a laptop finds in real time, matched, and one motion through them.

As `opencv`, with learned keypoints in place of SIFT: matches are each other's best, the motion is
`vlm3.scoring.motion`, by PoseLib where it is installed. `--model xfeat` takes the weights that
kornia downloads from its authors' repository, `--model xfeat:PATH` a file of them (xfeat.pt); all
Apache-2.0. The pip package named xfeat is another one. Tested on kornia's class with random
weights.
"""

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch

from vlm3 import parallel
from vlm3.geometry import invert
from vlm3.mixture import Source
from vlm3.scoring.experts import Expert, Found, answering
from vlm3.scoring.motion import follower, solved, solver
from vlm3.scoring.predictors import Predictor
from vlm3.views import View

EXPERT = Expert(
    name="xfeat",
    weights={"correspondence": "released", "pose": "released"},
    install="pip install kornia poselib, or vlm3[experts]",
    licence="Apache-2.0",
)
ALIKE = 0.82  # cosine of descriptors from which on its authors call two keypoints a match


def predictor(model: str, source: Source) -> Predictor:
    """model: a file of weights. ValueError for another task, without kornia or weights."""
    weights = EXPERT.meant(model, source)
    kind = EXPERT.module("kornia.feature", "XFeat").XFeat
    device = parallel.place().device
    net = EXPERT.loaded(partial(_loaded, kind), weights).to(device).eval()
    identity = f"{EXPERT.identity('kornia', weights)}, poses by {solver()}"
    return Predictor(answering(partial(look, net, device), source), source, identity)


def _loaded(kind, weights: str):
    if weights == EXPERT.weights["pose"]:
        return kind.from_pretrained()
    net = kind()
    net.net.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    return net


def look(net, device: torch.device, views: Sequence[View]) -> Found:
    """What two views show of each other; net: kornia's XFeat."""
    images = [torch.from_numpy(np.array(v.image)).movedim(-1, 0)[None] / 255 for v in views]
    found = net.match_xfeat(*(image.to(device) for image in images), min_cossim=ALIKE)
    # its keypoints count from pixel centres
    uv1, uv2 = (uv.cpu().numpy().astype(float).reshape(-1, 2) + 0.5 for uv in found)
    motion = solved(uv1, uv2, *views)
    pose = motion.cam2_from_cam1
    pose = None if pose is None else invert(pose)
    return Found(follow=follower(motion, *views), cam1_from_cam2=pose)
