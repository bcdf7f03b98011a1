"""Noise in the place of photographs, for measuring speed, which depends on no picture.

Its labels are such that any task can ask about them.
"""

import numpy as np

from vlm3.geometry import Camera
from vlm3.views import View


def noise(size: tuple[int, int], views: int) -> tuple[View, ...]:
    """Views of (width, height) pixels, focal length 1000, with depth and pose; always the same."""
    rng, (width, height) = np.random.default_rng(0), size
    camera = Camera(1000.0, 1000.0, width / 2, height / 2, width, height)
    depth_m = np.full((height, width), 3.0, np.float32)
    images = rng.integers(0, 256, (2, height, width, 3), np.uint8)
    return tuple(View(image, camera, depth_m, world_from_cam=np.eye(4)) for image in images)[:views]
