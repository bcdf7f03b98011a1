"""Argoverse 2, sensor data: drives through six cities of the US with nine cameras, two laser
scanners and 3D boxes.

Wilson et al. 2021, Argo AI; CC BY-NC-SA 4.0. A drive ("log") is a folder, in root or in `train`,
`val` and `test` below it, named by an id, with `sensors/cameras/ring_front_center/*.jpg` and so on
(20 a second, 2048x1550, the front one 1550x2048), `sensors/lidar/*.feather` (10 a second), both
named by their time in ns; `calibration/intrinsics.feather` and `egovehicle_SE3_sensor.feather`
(vehicle from sensor), `city_SE3_egovehicle.feather` (world from vehicle, at the times of all files)
and, but for `test`, `annotations.feather`.

- Photographs come without distortion: k1, k2 and k3 of the table are those of the raw ones.
- A sweep is of both scanners, in the frame of the vehicle at the time of its name, which is up to
  51 ms from that of the photograph. Laser points go from there to the world, to the vehicle as the
  camera sees, to the camera; what moves by itself stays where the sweep saw it. So do boxes, which
  are annotated at the times of sweeps.
- Coordinates of laser points are half floats: beyond 64 m in steps of 6 cm, beyond 128 of 12.
- Boxes that no laser point hit are left out; what hides one is not known.
- Principal points are taken to count from pixel centres, as the publisher's code reads pixels.
"""

import os
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vlm3.geometry import Camera, invert, project, transform
from vlm3.sources.photo import read_rgb
from vlm3.sources.reading import Frame, Reader, drives, files, lidar, listed, quaternions
from vlm3.sources.reading.extras import need
from vlm3.views import Box, View

STEREO = "stereo_front_left", "stereo_front_right"
CAMERAS = (
    "ring_front_center",
    "ring_front_right",
    "ring_side_right",
    "ring_rear_right",
    "ring_rear_left",
    "ring_side_left",
    "ring_front_left",
)
GAP_NS = 51_000_000  # between a photograph and its sweep, half of what two sweeps are apart
POSES = "city_SE3_egovehicle.feather"
QUATERNION, PLACE = ("qw", "qx", "qy", "qz"), ("tx_m", "ty_m", "tz_m")
SIZE = "length_m", "width_m", "height_m"
AGAIN = "download this log again"


@dataclass(frozen=True)
class _Frame(Frame):
    """Its name is the path of the photograph below root; sweep_ns: the time of its sweep."""

    sweep_ns: int | None


class Argoverse2(Reader):
    """Photographs with poses, and the laser points and boxes of the nearest sweep.

    A scene is a log; frames are in the order of time, then of cameras. Those further than GAP_NS
    from any sweep have neither points nor boxes. cameras: two more are stereo_front_left and
    stereo_front_right. depthlm_compat: laser points as in the labels of DepthLM, at whole pixels,
    with the distance from the camera in place of z-depth.
    """

    layout = "train, val and test, or one of them, of the Argoverse 2 sensor data set"

    def __init__(
        self,
        root,
        scenes="*",
        frames=(0, None),
        cameras: Sequence[str] = CAMERAS,
        depthlm_compat: bool = False,
    ):
        self.cameras, self.depthlm_compat = listed(cameras), depthlm_compat
        super().__init__(root, scenes, frames)

    def _frames(self) -> Iterator[_Frame]:
        if unknown := sorted(set(self.cameras) - set(CAMERAS + STEREO)):
            raise ValueError(f"no cameras {unknown}; there are {', '.join(CAMERAS + STEREO)}")
        logs = [p for below in ("*", "*/*") for p in sorted(self.root.glob(f"{below}/sensors"))]
        if logs and not any((sensors / "cameras").is_dir() for sensors in logs):
            raise FileNotFoundError(
                f"{self.root}: its logs have no sensors/cameras: download their photographs, too"
            )
        for sensors in logs:
            yield from self._log(sensors)

    def _log(self, sensors: Path) -> Iterator[_Frame]:
        below = sensors.relative_to(self.root).as_posix()
        sweeps = sorted(_times(sensors / "lidar", ".feather"))
        photos = (
            (ns, f"{below}/cameras/{camera}/{ns}.jpg")
            for camera in self.cameras
            for ns in _times(sensors / "cameras" / camera, ".jpg")
        )
        # of one time they stay in the order of cameras
        for ns, name in sorted(photos, key=lambda photo: photo[0]):
            yield _Frame(sensors.parent.name, name, _nearest(sweeps, ns))

    def _view(self, frame: _Frame) -> View:
        photo = self.root / frame.name
        log, ns = photo.parents[3], int(photo.stem)
        camera, ego_from_cam = _calibrated(log / "calibration", photo.parent.name)
        world_from_cam = _world_from_ego(log / POSES, ns) @ ego_from_cam
        points, boxes = None, ()
        if (then := frame.sweep_ns) is not None:
            cam_from_ego = invert(world_from_cam) @ _world_from_ego(log / POSES, then)
            points_m = transform(cam_from_ego, _points(log / f"sensors/lidar/{then}.feather"))
            points = (_labels if self.depthlm_compat else lidar.on_image)(points_m, camera)
            boxes = _boxes(log / "annotations.feather", then, cam_from_ego, camera)
        image = read_rgb(photo)
        return View(image, camera, points=points, world_from_cam=world_from_cam, boxes=boxes)


def _times(folder: Path, ending: str) -> list[int]:
    """Nanoseconds that files are named by; none where there is no such folder."""
    names = os.listdir(folder) if folder.is_dir() else []
    stems = (name.removesuffix(ending) for name in names if name.endswith(ending))
    return [int(stem) for stem in stems if stem.isdecimal()]


def _nearest(sweeps: list[int], ns: int) -> int | None:
    """The sweep nearest in time to a photograph, None where it is too far."""
    k = bisect_left(sweeps, ns)
    near = [sweep for sweep in sweeps[max(k - 1, 0) : k + 1] if abs(sweep - ns) <= GAP_NS]
    return min(near, key=lambda sweep: abs(sweep - ns), default=None)


def _calibrated(folder: Path, name: str) -> tuple[Camera, np.ndarray]:
    """The camera, and 4x4 ego_from_cam."""
    lens = _row(folder / "intrinsics.feather", "sensor_name", name)
    mount = _row(folder / "egovehicle_SE3_sensor.feather", "sensor_name", name)
    fx, fy, cx, cy = (lens[f"{key}_px"] for key in ("fx", "fy", "cx", "cy"))
    matrix = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
    return Camera.from_opencv(matrix, lens["width_px"], lens["height_px"]), _pose(mount)


def _world_from_ego(path: Path, ns: int) -> np.ndarray:
    """4x4 at the time of a photograph or a sweep, all of which are in the table."""
    return _pose(_row(path, "timestamp_ns", ns))


def _pose(row: dict) -> np.ndarray:
    return quaternions.poses(*(_numbers([row], keys)[0] for keys in (QUATERNION, PLACE)))


def _numbers(rows: list[dict], keys: Sequence[str]) -> np.ndarray:
    """(rows, keys)."""
    return np.array([[row[key] for key in keys] for row in rows])


def _points(path: Path) -> np.ndarray:
    """(N, 3) in the frame of the vehicle at the time of the sweep."""
    table = _table(path)
    return np.stack([table[axis].to_numpy() for axis in "xyz"], 1).astype(float)


def _boxes(path: Path, ns: int, cam_from_ego: np.ndarray, camera: Camera) -> tuple[Box, ...]:
    if not path.is_file():  # as in the split "test"
        return ()
    found = [row for row in _rows(path, "timestamp_ns", ns) if row["num_interior_pts"]]
    if not found:
        return ()
    turns, places, sizes = (_numbers(found, keys) for keys in (QUATERNION, PLACE, SIZE))
    names = [row["category"].lower().replace("_", " ") for row in found]
    return drives.boxes(cam_from_ego @ quaternions.poses(turns, places), sizes, names, camera)


def _labels(points_m: np.ndarray, camera: Camera) -> np.ndarray:
    """(N, 3) u, v and distance in metres, as DepthLM has them: rounded, none hidden by another."""
    uv = project(points_m, camera) - 0.5  # as pixels are counted from their centres
    inside = ((uv >= 0) & (uv < np.subtract(camera.size, 1))).all(1)
    return np.column_stack([np.round(uv) + 0.5, np.linalg.norm(points_m, axis=1)])[inside]


def _row(path: Path, column: str, value: int | str) -> dict:
    """The first of a table with this value; ValueError where there is none."""
    if not (found := _rows(path, column, value)):
        raise ValueError(f"{path}: no row with {column} {value}; {AGAIN}")
    return found[0]


def _rows(path: Path, column: str, value: int | str) -> list[dict]:
    """Those of a table with this value."""
    table = _table(path)
    return table.filter(need("pyarrow.compute").equal(table[column], value)).to_pylist()


def _table(path: Path):
    """The pyarrow.Table of a feather file."""
    try:
        # one thread, since readers run side by side in processes
        return need("pyarrow.feather").read_table(
            files.there(path, AGAIN), use_threads=False, memory_map=False
        )
    except FileNotFoundError:
        raise
    except (ValueError, OSError) as error:  # as pyarrow calls what is cut short
        raise ValueError(f"{path}: not a whole table ({error}); {AGAIN}") from None
