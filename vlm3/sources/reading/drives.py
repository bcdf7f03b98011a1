"""What data sets of drives share: boxes of one moment."""

from collections.abc import Sequence

import numpy as np

from vlm3.geometry import Camera
from vlm3.sources.reading import solids
from vlm3.views import Box

UP = 2  # boxes of drives have x along their length, y along their width, z up


def boxes(
    cam_from_box: np.ndarray, sizes_m: np.ndarray, names: Sequence[str], camera: Camera
) -> tuple[Box, ...]:
    """Those of N boxes in space that the image shows, see `solids.on_image`.

    cam_from_box: (N, 4, 4), to the middle of each; sizes_m: (N, 3) length, width, height.
    """
    reach = np.linalg.norm(sizes_m, axis=1) / 2
    ahead = np.flatnonzero(cam_from_box[:, 2, 3] > -reach)
    found = (solids.on_image(cam_from_box[k], sizes_m[k], UP, names[k], camera) for k in ahead)
    return tuple(box for box in found if box is not None)
