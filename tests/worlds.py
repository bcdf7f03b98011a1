"""Exact views, to write out in the layouts of data sets and read back, and whether views fit."""

import numpy as np
from PIL import Image

from vlm3.geometry import Camera
from vlm3.sources.rooms import Rooms
from vlm3.views import View


def room(width: int, height: int, hfov_deg: float, off: float = 0.0) -> tuple[View, View]:
    """Two views of a toy room; off: how far principal points may be off the middle."""
    lens = (width, height, (hfov_deg, hfov_deg), (1.0, 1.0 + off), off)
    return Rooms("small", "test", views=2, lenses=[lens])[0]


def wall(camera: Camera, world_from_cam: np.ndarray) -> View:
    """The plane z = 0 of the world, painted with waves of some decimetres."""
    to, depth_m = _to_plane(camera, world_from_cam)
    x, y = np.moveaxis((world_from_cam[:3, 3] + to * depth_m[..., None])[..., :2], -1, 0)
    waves = np.stack([np.sin(20 * x), np.sin(25 * y), np.sin(9 * (x + y))], -1)
    image = np.round(127.5 + 120 * waves).astype(np.uint8)
    return View(image, camera, depth_m.astype(np.float32), world_from_cam=world_from_cam)


def wall_depth(camera: Camera, world_from_cam: np.ndarray) -> np.ndarray:
    """(H, W) z-depth of the plane z = 0, for pictures too large to paint."""
    return _to_plane(camera, world_from_cam)[1]


def _to_plane(camera: Camera, world_from_cam: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    u, v = np.meshgrid(np.arange(camera.width) + 0.5, np.arange(camera.height) + 0.5)
    to = np.stack([(u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy, np.ones_like(u)], -1)
    to = to @ world_from_cam[:3, :3].T
    return to, -world_from_cam[2, 3] / to[..., 2]


def facing(x: float, y: float, z: float, yaw_deg: float) -> np.ndarray:
    """4x4 world_from_cam of a camera at (x, y, z) that looks along +z, turned right by yaw_deg."""
    sine, cosine = np.sin(np.radians(yaw_deg)), np.cos(np.radians(yaw_deg))
    pose = np.eye(4)
    pose[:3, :3] = [[cosine, 0, sine], [0, 1, 0], [-sine, 0, cosine]]
    pose[:3, 3] = x, y, z
    return pose


def fit(view1: View, view2: View) -> tuple[float, float]:
    """How well depth, pose and camera of two views fit, found out by moving pixels of view 1.

    Returns the share of those that land in view 2 whose depth there is what it must be within a
    hundredth, and the median difference of their colours.
    """
    height, width = view1.depth_m.shape
    u, v = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    uvz = np.stack([u, v, np.ones_like(u)]).reshape(3, -1) * view1.depth_m.reshape(1, -1)
    cam1 = np.linalg.solve(view1.camera.K, uvz)
    world = view1.world_from_cam @ np.vstack([cam1, np.ones_like(cam1[:1])])
    cam2 = (np.linalg.inv(view2.world_from_cam) @ world)[:3]
    pixel = view2.camera.K @ cam2
    with np.errstate(invalid="ignore", divide="ignore"):
        column, row = np.floor(pixel[:2] / pixel[2])
        lands = (cam2[2] > 0) & (column >= 0) & (column < view2.size[0])
        lands &= (row >= 0) & (row < view2.size[1])
    at = row[lands].astype(int), column[lands].astype(int)
    agree = np.abs(view2.depth_m[at] / cam2[2, lands] - 1) < 0.01
    colours = view1.image.reshape(-1, 3)[lands].astype(float) - view2.image[at]
    return float(agree.mean()), float(np.median(np.abs(colours[agree])))


def demand_same(view: View, original: View, depth: float = 1e-6) -> None:
    """That a view is the original; depth: the largest share by which its depth may be off."""
    assert view.size == original.size
    np.testing.assert_allclose(view.camera.K, original.camera.K, atol=1e-4)
    np.testing.assert_allclose(view.world_from_cam, original.world_from_cam, atol=1e-5)
    np.testing.assert_allclose(view.depth_m, original.depth_m, rtol=depth)
    assert np.abs(view.image.astype(int) - original.image).mean() < 6  # a jpg at most


def save(image: np.ndarray, path) -> None:
    """A png or jpg, in a folder that is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, quality=95, subsampling=0)


def save_pfm(stored: np.ndarray, path, order: str = "<") -> None:
    """A grey PFM file, which begins with the lowest row."""
    path.parent.mkdir(parents=True, exist_ok=True)
    head = f"Pf\n{stored.shape[1]} {stored.shape[0]}\n{'-' if order == '<' else ''}1.000000\n"
    path.write_bytes(head.encode() + np.flipud(stored).astype(order + "f4").tobytes())


def save_cam(matrix: np.ndarray, cam_from_world: np.ndarray, path) -> None:
    """A camera file of MVSNet."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [
        "\n".join(" ".join(map(repr, row)) for row in m.tolist()) for m in (cam_from_world, matrix)
    ]
    path.write_text(f"extrinsic\n{rows[0]}\n\nintrinsic\n{rows[1]}\n\n425.0 2.5\n")
