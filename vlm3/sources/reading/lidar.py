"""Laser points on a photograph."""

import numpy as np

from vlm3.geometry import Camera, project

NEAR_M = 0.1  # nearer than this is the car itself, or noise


def on_image(points_m: np.ndarray, camera: Camera) -> np.ndarray:
    """(M, 3) u, v, z_m of the points that fall into the image, row by row, the nearest one of each
    pixel.

    points_m: (N, 3) in camera coordinates, at the time of the photograph. Of points behind others
    only those of the same pixel are left out: a scanner that stands higher than the camera sees
    over what hides them.
    """
    points_m = np.asarray(points_m, float)
    z_m = points_m[:, 2]
    ahead = points_m.compress((z_m > NEAR_M) & (z_m < np.inf), 0)
    u, v = project(ahead, camera).T
    inside = (u >= 0) & (u < camera.width) & (v >= 0) & (v < camera.height)  # NaN is not
    found = np.column_stack([u, v, ahead[:, 2]]).compress(inside, 0)
    columns, rows = found[:, :2].astype(int).T
    pixel = rows * camera.width + columns
    # one number to sort by: bits of positive floats are in the order of their values
    order = np.argsort(pixel << 32 | found[:, 2].astype(np.float32).view(np.int32))
    return found[order[np.diff(pixel[order], prepend=-1) > 0]]
