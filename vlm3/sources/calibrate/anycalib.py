"""AnyCalib (Tirado-Garín and Civera 2025), with which the paper finds focal lengths of photos
without intrinsics: the camera that fits best the rays that it says each pixel looks along.

Called as its authors' README does (github.com/javrtg/AnyCalib; code and weights Apache-2.0). Here
it ran only on a stand-in with the same interface, never on the package itself, which no registry
has. It states no uncertainty.
"""

import logging
import math

from vlm3.sources.calibrate import Ask, Focal
from vlm3.sources.photo import Photo

_LOG = logging.getLogger("vlm3")
LICENCE = "anycalib: code and weights Apache-2.0"
MISSING = (
    "anycalib is not installed: pip install git+https://github.com/javrtg/AnyCalib, or take "
    "another calibrator"
)


def calibrator(which: str) -> Ask:
    """which: the weights, by default "anycalib_pinhole". ValueError without the package.

    It fits fx, fy and the principal point; of these the geometric mean of fx and fy is kept.
    """
    import torch

    try:
        from anycalib import AnyCalib
    except ImportError as error:
        raise ValueError(MISSING) from error
    _LOG.warning(LICENCE)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    net = AnyCalib(model_id=which or "anycalib_pinhole").to(device).eval()

    def ask(photo: Photo) -> Focal:
        pixels = torch.tensor(photo.image, device=device).permute(2, 0, 1) / 255
        fx, fy = net.predict(pixels, cam_id="pinhole")["intrinsics"][:2].tolist()
        return Focal(math.sqrt(fx * fy) if fx > 0 and fy > 0 else math.nan)

    return ask
