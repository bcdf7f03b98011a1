"""The field of view that Depth Pro finds in a picture (Bochkovskii et al. 2025), by transformers.

A network for metric depth, of which one part says how wide the picture is. It states no
uncertainty.
"""

import logging
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from vlm3.sources.calibrate import Ask, Focal
from vlm3.sources.photo import Photo

if TYPE_CHECKING:
    import torch

_LOG = logging.getLogger("vlm3")
HUB = "apple/DepthPro-hf"
LICENCE = "licence apple-amlr, by Apple: read it on the hub before you build on what it says"


def calibrator(which: str) -> Ask:
    """which: a hub name or a folder, by default HUB. Its licence is shown when it is loaded, which
    may download it; ValueError where it cannot be, or has no part for the field of view."""
    import torch
    from transformers import DepthProForDepthEstimation

    name = which or HUB
    try:
        net = DepthProForDepthEstimation.from_pretrained(name)
    except OSError as error:
        raise ValueError(
            f"no Depth Pro in {name!r} ({error}): where the hub cannot be reached, copy {HUB} and "
            "say depthpro:FOLDER, or take another calibrator"
        ) from error
    if not net.use_fov_model:
        raise ValueError(
            f"{name}: this Depth Pro has no use_fov_model, so it knows no focal length"
        )
    _LOG.warning("%s: %s", name, LICENCE)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    net = net.to(device).eval()

    @torch.inference_mode()
    def ask(photo: Photo) -> Focal:
        degrees = net(prepared(photo.image, net.config).to(device)).field_of_view.item()
        return Focal(_focal_px(photo.image, degrees))

    return ask


def prepared(image: np.ndarray, config: Any) -> "torch.Tensor":
    """(1, 3, side, side) in [-1, 1], whatever the shape of the image (H, W, 3).

    As transformers' own processor does, which would need torchvision: scaled first, then resampled
    bilinearly without smoothing, to the side of which the smallest picture in the network's pyramid
    is one patch.
    """
    import torch

    side = round(config.patch_size / min(config.scaled_images_ratios))
    pixels = torch.tensor(image).permute(2, 0, 1)[None] / 127.5 - 1
    return torch.nn.functional.interpolate(pixels, (side, side), mode="bilinear")


def _focal_px(image: np.ndarray, degrees: float) -> float:
    """Of an image (H, W, 3) that is so many degrees wide: W / 2 / tan(degrees / 2)."""
    if not 0 < degrees < 180:
        raise ValueError(f"Depth Pro says the picture is {degrees:.4g} degrees wide")
    return image.shape[1] / 2 / math.tan(math.radians(degrees) / 2)
