"""What labels would be, had one of the usual mistakes been made in reading them."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from vlm3.geometry import depth_from_range, invert, pixel_centres
from vlm3.views import View

Change = Callable[[View], View]


def _axes(*signs: int) -> np.ndarray:
    return np.diag([*map(float, signs), 1.0])


def _flipped(*signs: int) -> Change:
    """A camera whose axes were taken for others."""
    return lambda view: _with_pose(view, lambda pose: pose @ _axes(*signs))


def _mirrored(*signs: int) -> Change:
    """A world and a camera one of whose axes has the wrong sign."""
    axes = _axes(*signs)
    return lambda view: _with_pose(view, lambda pose: axes @ pose @ axes)


def _moved(factor: float) -> Change:
    """Positions in another unit."""
    scale = np.array([[1, 1, 1, factor]] * 3 + [[1, 1, 1, 1]])
    return lambda view: _with_pose(view, lambda pose: pose * scale)


def _deeper(factor: float) -> Change:
    return lambda view: _with_depth(view, factor)


def _along_axis(view: View) -> View:
    """What was taken for z-depth is distance from the camera."""
    depth_m, points = view.depth_m, view.points
    if depth_m is not None:
        z_m = depth_from_range(depth_m, pixel_centres(view.camera), view.camera)
        depth_m = z_m.astype(np.float32)
    if points is not None:
        z_m = depth_from_range(points[:, 2], points[:, :2], view.camera)
        points = np.column_stack([points[:, :2], z_m])
    return replace(view, depth_m=depth_m, points=points)


# What would follow from the usual mistakes, undone.
MISTAKES: dict[str, Change] = {
    "poses are the other way round: cam_from_world was read as world_from_cam": (
        lambda view: _with_pose(view, invert)
    ),
    "cameras look along -z with y up, as in OpenGL: flip the axes y and z": _flipped(1, -1, -1),
    "cameras look backward: flip the axes x and z": _flipped(-1, 1, -1),
    "cameras stand on their heads: flip the axes x and y": _flipped(-1, -1, 1),
    "the axis x of poses has the wrong sign": _mirrored(-1, 1, 1),
    "the axis y of poses has the wrong sign": _mirrored(1, -1, 1),
    "the axis z of poses has the wrong sign": _mirrored(1, 1, -1),
    "positions are in millimetres: divide them by 1000": _moved(0.001),
    "positions are a thousand times too small": _moved(1000.0),
    "depth is in millimetres: divide it by 1000": _deeper(0.001),
    "depth is a thousand times too small": _deeper(1000.0),
    "depth is a fifth too small, as where SUN RGB-D is divided by 10000": _deeper(1.25),
    "depth is the distance from the camera: turn it into z-depth": _along_axis,
}


def _with_pose(view: View, change: Callable[[np.ndarray], np.ndarray]) -> View:
    return replace(view, world_from_cam=change(view.world_from_cam))


def _with_depth(view: View, factor: float) -> View:
    depth_m, points = view.depth_m, view.points
    return replace(
        view,
        depth_m=None if depth_m is None else depth_m * np.float32(factor),
        points=None if points is None else points * [1, 1, factor],
    )
