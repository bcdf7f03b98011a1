"""Cameras, rotations and relative poses.

Conventions, stated here once and never varied:

- Image coordinates are continuous. (0, 0) is the outer corner of the top-left pixel, so pixel
  (column i, row j) has its centre at (i + 0.5, j + 0.5), and a resize multiplies coordinates and
  intrinsics by W'/W and H'/H exactly. Files whose principal point counts from pixel centres
  (OpenCV) get + 0.5 in their reader: `Camera.from_opencv`.
- Cameras look along +z; x points right, y down.
- A transform carries its direction in its name: `x1 = cam1_from_cam2 @ x2`.
- `depth_m` is z-depth, `range_m` the distance from the camera centre.
- Yaw, pitch and roll are intrinsic, in this order: R = Ry(yaw) Rx(pitch) Rz(roll) is the rotation
  part of cam1_from_cam2. Yaw > 0 turns right, pitch > 0 looks up, roll > 0 banks right.
"""

import sys
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Camera:
    """A pinhole camera without distortion: focal lengths, principal point, image size, in pixels.

    Raises ValueError for a size that is not a positive whole number and for intrinsics that are not
    finite or not positive where they must be.
    """

    fx: float
    fy: float
    cx: float
    cy: float
    width: int
    height: int

    def __post_init__(self):
        for name in ("width", "height"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
                raise ValueError(
                    f"camera {name} must be a positive whole number of pixels, got {value!r}"
                )
        for name in ("fx", "fy", "cx", "cy"):
            value = getattr(self, name)
            number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
            # also refuses NaN, and whole numbers that no float can hold
            if not number or not abs(value) <= sys.float_info.max:
                raise ValueError(f"camera {name} must be a finite number of pixels, got {value!r}")
        if self.fx <= 0 or self.fy <= 0:
            raise ValueError(f"focal lengths must be positive, got fx={self.fx}, fy={self.fy}")

    @classmethod
    def from_opencv(cls, matrix: np.ndarray, width: int, height: int) -> "Camera":
        """From a 3x3 matrix whose principal point counts from pixel centres, as most files do."""
        K = np.asarray(matrix, float)
        if K.shape != (3, 3):
            raise ValueError(f"a camera matrix is 3x3, got shape {K.shape}")
        fx, fy, cx, cy = K[[0, 1, 0, 1], [0, 1, 2, 2]].tolist()
        return cls(fx, fy, cx + 0.5, cy + 0.5, width, height)

    @property
    def K(self) -> np.ndarray:
        """3x3 intrinsic matrix."""
        return np.array([[self.fx, 0, self.cx], [0, self.fy, self.cy], [0, 0, 1.0]])

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self.width, self.height

    def resized(self, width: int, height: int) -> "Camera":
        """The camera of the same picture, resampled to another size."""
        sx, sy = width / self.width, height / self.height
        return Camera(self.fx * sx, self.fy * sy, self.cx * sx, self.cy * sy, width, height)

    def cropped(self, left: float, top: float, width: int, height: int) -> "Camera":
        """The camera of a window of width x height pixels with its outer corner at (left, top)."""
        return Camera(self.fx, self.fy, self.cx - left, self.cy - top, width, height)


def pixel_centres(camera: Camera) -> np.ndarray:
    """(H, W, 2) continuous coordinates of all pixel centres."""
    u, v = np.meshgrid(np.arange(camera.width) + 0.5, np.arange(camera.height) + 0.5)
    return np.stack([u, v], -1)


def rays(uv: np.ndarray, camera: Camera) -> np.ndarray:
    """Viewing rays of depth one. uv: (..., 2) pixels. Returns (..., 3), not unit length: z is 1."""
    xy = (np.asarray(uv, float) - [camera.cx, camera.cy]) / [camera.fx, camera.fy]
    return np.concatenate([xy, np.ones_like(xy[..., :1])], -1)


def unproject(uv: np.ndarray, depth_m: np.ndarray, camera: Camera) -> np.ndarray:
    """Lift pixels to camera coordinates.

    uv: (..., 2) continuous pixel coordinates; depth_m: (...) z-depth in metres.
    Returns (..., 3) points in metres, x right, y down, z forward.
    """
    return rays(uv, camera) * np.asarray(depth_m, float)[..., None]


def project(points: np.ndarray, camera: Camera) -> np.ndarray:
    """Image of points given in camera coordinates.

    points: (..., 3) metres. Returns (..., 2) continuous pixel coordinates, inside the image or not;
    NaN for points that are not in front of the camera.
    """
    points = np.asarray(points, float)
    z = np.where(points[..., 2:] > 0, points[..., 2:], np.nan)
    return points[..., :2] / z * [camera.fx, camera.fy] + [camera.cx, camera.cy]


def range_from_depth(depth_m: np.ndarray, uv: np.ndarray, camera: Camera) -> np.ndarray:
    """Distance from the camera centre of pixels uv (..., 2) at z-depth depth_m (...), in metres."""
    return np.asarray(depth_m) * np.linalg.norm(rays(uv, camera), axis=-1)


def depth_from_range(range_m: np.ndarray, uv: np.ndarray, camera: Camera) -> np.ndarray:
    """z-depth of pixels uv (..., 2) at distance range_m (...) from the camera centre, in metres."""
    return np.asarray(range_m) / np.linalg.norm(rays(uv, camera), axis=-1)


def rotation_from_ypr(yaw_deg: float, pitch_deg: float, roll_deg: float) -> np.ndarray:
    """3x3 rotation of cam1_from_cam2, Ry(yaw) Rx(pitch) Rz(roll), intrinsic.

    Its columns are camera 2's axes as camera 1 sees them.
    """
    angles = np.radians([yaw_deg, pitch_deg, roll_deg])
    (sy, sp, sr), (cy, cp, cr) = np.sin(angles), np.cos(angles)
    return np.array(
        [
            [cy * cr + sy * sp * sr, -cy * sr + sy * sp * cr, sy * cp],
            [cp * sr, cp * cr, -sp],
            [-sy * cr + cy * sp * sr, sy * sr + cy * sp * cr, cy * cp],
        ]
    )


def ypr_from_rotation(rotation: np.ndarray) -> tuple[float, float, float]:
    """(yaw_deg, pitch_deg, roll_deg) of a 3x3 cam1_from_cam2.

    Pitch lies in [-90, 90], the others in [-180, 180]. Looking straight up or down leaves only one
    of yaw and roll defined; roll is then 0.
    """
    R = np.asarray(rotation, float)
    cos_pitch = np.hypot(R[1, 0], R[1, 1])
    if cos_pitch < 1e-9:  # below, rounding alone would decide how yaw and roll share the turn
        yaw, roll = np.arctan2(-R[2, 0], R[0, 0]), 0.0
    else:
        yaw, roll = np.arctan2(R[0, 2], R[2, 2]), np.arctan2(R[1, 0], R[1, 1])
    yaw, pitch, roll = np.degrees([yaw, np.arctan2(-R[1, 2], cos_pitch), roll])
    return float(yaw), float(pitch), float(roll)


def rotation_angle_deg(rotation: np.ndarray) -> float:
    """Angle of a 3x3 rotation, 0 to 180 degrees, exact for small angles too."""
    R = np.asarray(rotation, float)
    # arccos of the trace alone loses half the digits near 0 and 180 degrees
    sine = np.linalg.norm([R[2, 1] - R[1, 2], R[0, 2] - R[2, 0], R[1, 0] - R[0, 1]])
    return float(np.degrees(np.arctan2(sine, np.trace(R) - 1)))


def check_pose(pose: np.ndarray, name: str) -> np.ndarray:
    """The 4x4 rigid transform as float64, or a ValueError that says what is wrong with it."""
    pose = np.asarray(pose, float)
    if pose.shape != (4, 4) or not np.isfinite(pose).all():
        raise ValueError(
            f"{name} must be a finite 4x4 matrix, got shape {pose.shape}: {pose.tolist()}"
        )
    R = pose[:3, :3]
    off = max(np.abs(R.T @ R - np.eye(3)).max(), np.abs(pose[3] - [0, 0, 0, 1]).max())
    # 1e-4 lets poses pass that a file holds in float32 or with five digits
    if off > 1e-4 or np.linalg.det(R) < 0:
        raise ValueError(
            f"{name} is not a rotation and a translation (off by {off:.2g}): {pose.tolist()}"
        )
    return pose


def invert(a_from_b: np.ndarray) -> np.ndarray:
    """b_from_a of a 4x4 rigid transform."""
    R, t = a_from_b[:3, :3], a_from_b[:3, 3]
    b_from_a = np.eye(4)
    b_from_a[:3, :3], b_from_a[:3, 3] = R.T, -R.T @ t
    return b_from_a


def transform(a_from_b: np.ndarray, points_b: np.ndarray) -> np.ndarray:
    """Move points: (..., 3) in frame b to (..., 3) in frame a, by a 4x4 rigid transform."""
    return np.asarray(points_b) @ a_from_b[:3, :3].T + a_from_b[:3, 3]


def relative_pose(world_from_cam1: np.ndarray, world_from_cam2: np.ndarray) -> np.ndarray:
    """4x4 cam1_from_cam2, whose translation is the centre of camera 2 in camera 1's frame.

    ValueError for a pose that is no rigid transform.
    """
    world_from_cam1 = check_pose(world_from_cam1, "world_from_cam1")
    return invert(world_from_cam1) @ check_pose(world_from_cam2, "world_from_cam2")
