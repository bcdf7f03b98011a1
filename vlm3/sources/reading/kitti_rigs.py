"""Calibration files of KITTI: where its cameras, laser scanner and inertial unit sit on the car.

All speak of the rectified camera 0, grey and on the left. A 3x4 matrix P of camera k is K [I | t]:
a point x of camera 0 is x + t in camera k; t is some 6 cm for camera 2.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from vlm3 import disk
from vlm3.geometry import Camera
from vlm3.sources.reading import files

WAY_OUT = "download the calibration files of this part of KITTI again"


class Rig(NamedTuple):
    """A camera of a car, and what is known of its place: 4x4 rigid, None where a file is silent.

    rect: the rectified camera 0; car: the car's inertial unit, x forward, y left, z up.
    """

    camera: Camera
    cam_from_rect: np.ndarray
    rect_from_lidar: np.ndarray | None = None
    rect_from_car: np.ndarray | None = None


def of_frame(path: Path, number: int, size: tuple[int, int]) -> Rig:
    """From a calib file of the object or odometry set; number: of the camera, 0 to 3."""
    told = _numbers(path)
    camera, cam_from_rect = _projection(_told(told, f"P{number}", (3, 4), path), size, path)
    if "Tr" in told:
        # odometry: all of the way; an R0_rect in such a file is of another set
        lidar = files.rigid(_told(told, "Tr", (3, 4), path), path)
        return Rig(camera, cam_from_rect, lidar)
    if "Tr_velo_to_cam" not in told:
        return Rig(camera, cam_from_rect)
    turned = _turn(_told(told, "R0_rect", (3, 3), path), path)
    lidar = files.rigid(_told(told, "Tr_velo_to_cam", (3, 4), path), path)
    return Rig(camera, cam_from_rect, turned @ lidar)


def of_day(folder: Path, number: int, size: tuple[int, int]) -> Rig:
    """From the calib_*_to_*.txt of the raw data, which hold for all drives of a day.

    ValueError where the photograph has another size than the rectified ones of that day.
    """
    path = folder / "calib_cam_to_cam.txt"
    told = _numbers(path)
    stated = tuple(_told(told, f"S_rect_{number:02}", (2,), path).astype(int).tolist())
    if stated != size:
        raise ValueError(
            f"photo is {size[0]}x{size[1]}, but {path} is of {stated[0]}x{stated[1]}; take the "
            "synced and rectified photographs as published"
        )
    matrix = _told(told, f"P_rect_{number:02}", (3, 4), path)
    camera, cam_from_rect = _projection(matrix, size, path)
    lidar = _step(folder / "calib_velo_to_cam.txt")
    if lidar is not None:
        lidar = _turn(_told(told, "R_rect_00", (3, 3), path), path) @ lidar
    car = _step(folder / "calib_imu_to_velo.txt") if lidar is not None else None
    return Rig(camera, cam_from_rect, lidar, None if car is None else lidar @ car)


def of_intrinsics(path: Path, number: int, size: tuple[int, int]) -> Rig:
    """From the 3x3 intrinsics of a photograph that was picked and cropped for the depth set."""
    matrix = files.matrix(path, (3, 3), WAY_OUT)
    return Rig(Camera.from_opencv(matrix, *size), np.eye(4))


def _projection(matrix: np.ndarray, size: tuple[int, int], path: Path) -> tuple[Camera, np.ndarray]:
    """The camera, and 4x4 cam_from_rect, of a 3x4 projection matrix."""
    cam_from_rect = np.eye(4)
    try:
        cam_from_rect[:3, 3] = np.linalg.solve(matrix[:, :3], matrix[:, 3])
        return Camera.from_opencv(matrix[:, :3], *size), cam_from_rect
    except ValueError as error:  # LinAlgError is one
        raise ValueError(f"{path}: not a projection matrix ({error}); {WAY_OUT}") from None


def _turn(rotation: np.ndarray, path: Path) -> np.ndarray:
    return files.rigid(np.column_stack([rotation, np.zeros(3)]), path)


def _step(path: Path) -> np.ndarray | None:
    """4x4 from R and T of a file, None without the file."""
    if not path.is_file():
        return None
    told = _numbers(path)
    parts = _told(told, "R", (3, 3), path), _told(told, "T", (3,), path)
    return files.rigid(np.column_stack(parts), path)


def _numbers(path: Path) -> dict[str, np.ndarray]:
    """By name, the numbers of lines "name: number number"; dates are left out."""
    found = {}
    for line in disk.text(files.there(path, WAY_OUT)).splitlines():
        name, _, values = line.partition(":")
        try:
            found[name.strip()] = np.array(values.split(), float)
        except ValueError:
            continue
    return found


def _told(told: dict[str, np.ndarray], name: str, shape: tuple, path: Path) -> np.ndarray:
    values = told.get(name, np.zeros(0))
    if values.size != np.prod(shape) or not np.isfinite(values).all():
        raise ValueError(
            f"{path}: needs {np.prod(shape)} numbers after {name}:, has {values.size}; {WAY_OUT}"
        )
    return values.reshape(shape)
