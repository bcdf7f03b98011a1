"""GeoCalib (Veicht et al. 2024): the focal length that explains best which way is up everywhere.

Called as its authors' README does (github.com/cvg/GeoCalib; code Apache-2.0, weights CC-BY-4.0).
Here it ran only on a stand-in with the same interface, never on the package itself, which no
registry has.
"""

import logging

from vlm3.sources.calibrate import Ask, Focal
from vlm3.sources.photo import Photo

_LOG = logging.getLogger("vlm3")
LICENCE = "geocalib: code Apache-2.0, weights CC-BY-4.0"
MISSING = (
    "geocalib is not installed: pip install git+https://github.com/cvg/GeoCalib, or take another "
    "calibrator"
)


def calibrator(which: str) -> Ask:
    """which: the weights, "pinhole" (default) or "distorted". ValueError without the package.

    Its own `focal_uncertainty` in pixels is what the curvature of its fit allows, which nobody
    measured here.
    """
    import torch

    try:
        from geocalib import GeoCalib
    except ImportError as error:
        raise ValueError(MISSING) from error
    _LOG.warning(LICENCE)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    net = GeoCalib(weights=which or "pinhole").to(device)

    def ask(photo: Photo) -> Focal:
        found = net.calibrate(torch.tensor(photo.image, device=device).permute(2, 0, 1) / 255)
        focal_px = found["camera"].f.reshape(-1)[-1].item()  # (1, 2): fx and fy of one picture
        return Focal(focal_px, found["focal_uncertainty"].reshape(-1)[0].item() / focal_px)

    return ask
