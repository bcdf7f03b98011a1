"""Experts that follow every pixel of a picture into another: RoMa and its forerunner DKM.

Both give a warp and how certain they are of each pixel. A match is the warp at the pixel. A pose is
the motion on which matches agree that were drawn by their certainty, as the authors draw them.
"""

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vlm3.geometry import invert
from vlm3.scoring.experts import Found, between
from vlm3.scoring.motion import solved
from vlm3.views import View

DRAWN = 5000  # matches that are held against one motion


@torch.no_grad()
def look(matcher, posed: bool, views: Sequence[View]) -> Found:
    """What two views show of each other; posed: whether the pose is asked for.

    matcher: its `match` of two Pillow images gives a warp (H, W, 4), places in both from -1 to 1,
    and certainties (H, W), there in the left half and back in the right one if it is `symmetric`;
    its `sample` draws matches from both.
    """
    images = [Image.fromarray(view.image) for view in views]
    warp, certainty = (part.squeeze(0).float() for part in matcher.match(*images))
    there = warp[:, : warp.shape[1] // 2] if matcher.symmetric else warp
    follow = partial(between, _pixels(there[..., 2:], views[1]), size=views[0].size)
    pose = _pose(matcher, warp, certainty, views) if posed else None
    return Found(follow=follow, cam1_from_cam2=pose)


def _pixels(places: Tensor, view: View) -> np.ndarray:
    """From -1 to 1, the borders of a picture, to its pixels."""
    return (places.cpu().numpy() + 1) / 2 * view.size


def _pose(matcher, warp: Tensor, certainty: Tensor, views: Sequence[View]) -> np.ndarray | None:
    with torch.random.fork_rng():
        torch.manual_seed(0)  # the same answers again
        drawn, _ = matcher.sample(warp, certainty, num=DRAWN)
    uv1, uv2 = (_pixels(drawn[:, k : k + 2], view) for k, view in ((0, views[0]), (2, views[1])))
    pose = solved(uv1.astype(float), uv2.astype(float), *views).cam2_from_cam1
    return None if pose is None else invert(pose)
