"""Photographs of a board of markers, of which pose and plane are exact: pairs to be tested on.

`board:Board` in the file of a mixture; the markers are AprilTags of the family 36h11.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

import cv2
import numpy as np

from vlm3.geometry import pixel_centres, rays, relative_pose, rotation_angle_deg
from vlm3.sources.rgbd import Rgbd
from vlm3.views import View

SIZE = (410, 308)  # about 128x96 at a focal length of 100 px, as the tiny model knows images


class Board(Sequence):
    """Pairs of views whose depth is known where a marker is seen, and nowhere else.

    root: the folder of photographs, whose world has the board as the plane z = 0. Views are the
    middle of a photograph. most: pairs, drawn with seed from those at most `far_m` and `angle_deg`
    apart.
    """

    def __init__(self, root: str, far_m: float = 0.6, angle_deg: float = 30.0, most=200, seed=0):
        self.photos = Rgbd(root)
        poses = [self.photos[k].world_from_cam for k in range(len(self.photos))]
        near = [
            pair
            for pair in combinations(range(len(poses)), 2)
            if _near(*(poses[k] for k in pair), far_m, angle_deg)
        ]
        order = np.random.default_rng(seed).permutation(len(near))[:most]
        self.pairs = [near[k] for k in order]

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> tuple[View, View]:
        first, second = (on_markers(_middle(self.photos[k])) for k in self.pairs[index])
        return first, second


def _near(
    world_from_1: np.ndarray, world_from_2: np.ndarray, far_m: float, angle_deg: float
) -> bool:
    pose = relative_pose(world_from_1, world_from_2)
    return (
        0 < np.linalg.norm(pose[:3, 3]) <= far_m and rotation_angle_deg(pose[:3, :3]) <= angle_deg
    )


def _middle(view: View) -> View:
    left, top = ((whole - part) // 2 for whole, part in zip(view.size, SIZE, strict=True))
    image = np.ascontiguousarray(view.image[top : top + SIZE[1], left : left + SIZE[0]])
    return replace(view, image=image, camera=view.camera.cropped(left, top, *SIZE))


def on_markers(view: View) -> View:
    """The view with the depth of the plane z = 0 of the world where a marker is detected."""
    family = cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_APRILTAG_36h11)
    grey = cv2.cvtColor(view.image, cv2.COLOR_RGB2GRAY)
    corners, _, _ = cv2.aruco.ArucoDetector(family).detectMarkers(grey)
    marked = np.zeros(grey.shape, np.uint8)
    for corner in corners:
        cv2.fillConvexPoly(marked, corner[0].round().astype(np.int32), 1)
    ahead = rays(pixel_centres(view.camera), view.camera) @ view.world_from_cam[2, :3]
    depth_m = -view.world_from_cam[2, 3] / ahead
    return replace(view, depth_m=np.where(marked > 0, depth_m, np.nan).astype(np.float32))
