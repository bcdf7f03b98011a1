"""Made drives: poses as tables write them, and laser points whose pixels are known."""

import json
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

from vlm3.geometry import Camera

AHEAD = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])  # a camera that looks along x, z being up


class Pose(NamedTuple):
    """a_from_b as a rotation vector in radians and metres."""

    turn: tuple[float, float, float]
    move: tuple[float, float, float]

    @property
    def matrix(self) -> np.ndarray:
        found = np.eye(4)
        found[:3, :3], found[:3, 3] = cv2.Rodrigues(np.array(self.turn, float))[0], self.move
        return found

    @property
    def quaternion(self) -> list[float]:
        """w, x, y, z."""
        angle = np.linalg.norm(self.turn)
        axis = np.array(self.turn, float) / max(angle, 1e-12)
        return [np.cos(angle / 2), *(np.sin(angle / 2) * axis)]


def looking(yaw_deg: float) -> Pose:
    """ego_from_cam of a camera on a car whose x is ahead, y to the left, z up."""
    turn = cv2.Rodrigues(np.array([0, 0, np.radians(yaw_deg)]))[0] @ AHEAD
    return Pose(cv2.Rodrigues(turn)[0].ravel(), (1.7, 0.1, 1.5))


def seen_at(uv, depth_m, camera: Camera, *a_from_cam: np.ndarray) -> np.ndarray:
    """(N, 3) points that the camera sees at (N, 2) pixels, in a frame that is named by the chain of
    transforms from the camera's."""
    ray = (np.asarray(uv, float) - [camera.cx, camera.cy]) / [camera.fx, camera.fy]
    points = np.column_stack([ray, np.ones(len(ray))]) * np.asarray(depth_m, float)[:, None]
    return move(points, *a_from_cam)


def move(points: np.ndarray, *transforms: np.ndarray) -> np.ndarray:
    homogeneous = np.column_stack([points, np.ones(len(points))])
    return np.linalg.multi_dot([np.eye(4), *transforms, homogeneous.T])[:3].T


def write_json(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=0))


def write_photo(path: Path, width: int, height: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    grey = np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)
    Image.fromarray(grey).save(path)


def sorted_rows(points: np.ndarray) -> np.ndarray:
    """In an order of their own, to compare."""
    return points[np.lexsort(points.T)]
