"""Text files of KITTI: labels of objects, poses, and which drive an image is from."""

from pathlib import Path

import numpy as np

from vlm3 import disk
from vlm3.sources.reading import files, solids
from vlm3.sources.reading.kitti_rigs import Rig
from vlm3.views import Box

EARTH_M = 6378137.0
HIDDEN = 2  # "largely occluded": such a box shows what hides the object


def boxes(path: Path, rig: Rig) -> tuple[Box, ...]:
    """The labelled objects of a frame that the camera shows.

    Not those without a name (Misc, DontCare), nor what is called largely occluded.
    """
    lines = disk.text(files.there(path, "download data_object_label_2.zip again")).splitlines()
    found = [_box(line, rig, f"{path}:{n}") for n, line in enumerate(lines, 1) if line.strip()]
    return tuple(box for box in found if box is not None)


def _box(line: str, rig: Rig, where: str) -> Box | None:
    name, *rest = line.split()
    try:
        _, occluded, _, *_, high, wide, long, x, y, z, turn = np.array(rest[:14], float).tolist()
    except ValueError:
        raise ValueError(
            f"{where}: a label is a name and 14 numbers, got {line!r}; "
            "download data_object_label_2.zip again"
        ) from None
    if name in ("DontCare", "Misc") or occluded == HIDDEN:
        return None
    rect_from_box = np.eye(4)
    cos, sin = np.cos(turn), np.sin(turn)
    rect_from_box[:3, :3] = [[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]]
    rect_from_box[:3, 3] = x, y - high / 2, z  # the file has the middle of the underside
    called = name.lower().replace("_", " ")
    return solids.on_image(
        rig.cam_from_rect @ rect_from_box, (long, high, wide), 1, called, rig.camera
    )


def poses(path: Path) -> list[tuple[float, ...]]:
    """The 3x4 world_from_rect of each frame of an odometry sequence, row by row."""
    lines = [line.split() for line in disk.text(path).splitlines() if line.strip()]
    try:
        return [tuple(row) for row in np.array(lines, float).reshape(-1, 12).tolist()]
    except ValueError as error:
        raise ValueError(
            f"{path}: not lines of 12 numbers ({error}); download data_odometry_poses.zip again"
        ) from None


def pose_of(found: list[tuple[float, ...]], index: int, path: Path) -> tuple[float, ...]:
    """One of the poses of a file; ValueError where it has fewer."""
    if index >= len(found):
        raise ValueError(
            f"{path}: has {len(found)} poses, none for frame {index}; "
            "download data_odometry_poses.zip again"
        )
    return found[index]


def first_oxts(drive: Path) -> Path | None:
    """The first oxts file of a drive, None without any, or without calib_imu_to_velo.txt."""
    if not (drive.parent / "calib_imu_to_velo.txt").is_file():
        return None
    return min(drive.glob("oxts/data/*.txt"), default=None)


def world_from_car(first: Path, path: Path) -> np.ndarray:
    """4x4 pose of the car by GPS and inertial unit: x east, y north, z up, from the place of first.

    first, path: oxts files of one drive: latitude, longitude, altitude, roll, pitch, yaw, ...
    Mercator projection at the latitude of the first, as the development kit of KITTI has it.
    """
    start, now = _oxts(first), _oxts(path)
    scale = np.cos(np.radians(start[0]))
    pose = np.eye(4)
    pose[:3, 3] = _mercator_m(now, scale) - _mercator_m(start, scale)
    (sr, sp, sy), (cr, cp, cy) = np.sin(now[3:6]), np.cos(now[3:6])
    yaw = np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]])
    pitch = np.array([[cp, 0, sp], [0, 1, 0], [-sp, 0, cp]])
    roll = np.array([[1, 0, 0], [0, cr, -sr], [0, sr, cr]])
    pose[:3, :3] = yaw @ pitch @ roll
    return pose


def drives(folder: Path) -> list[str]:
    """The drive of each training image of the object set, from the devkit's mapping/ folder."""
    mapping, order = (folder / f"train_{name}.txt" for name in ("mapping", "rand"))
    try:
        lines = disk.text(mapping).splitlines()
        return [lines[int(n) - 1].split()[1] for n in disk.text(order).split(",") if n.strip()]
    except (ValueError, IndexError) as error:
        raise ValueError(
            f"{folder}: train_mapping.txt and train_rand.txt do not fit ({error}); "
            "download devkit_object.zip again"
        ) from None


def _mercator_m(oxts: np.ndarray, scale: float) -> np.ndarray:
    latitude, longitude = np.radians(oxts[:2])
    north = np.log(np.tan(np.pi / 4 + latitude / 2))
    return np.array([scale * EARTH_M * longitude, scale * EARTH_M * north, oxts[2]])


def _oxts(path: Path) -> np.ndarray:
    way_out = "download the synced data of this drive again"
    try:
        return np.array(disk.text(files.there(path, way_out)).split()[:6], float).reshape(6)
    except ValueError as error:
        raise ValueError(f"{path}: does not begin with 6 numbers ({error}); {way_out}") from None
