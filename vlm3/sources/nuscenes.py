"""nuScenes: drives through Boston and Singapore with six cameras, a laser scanner and 3D boxes.

Caesar et al. 2020, Motional; CC BY-NC-SA 4.0 and the publisher's own terms, no commercial use. The
folder holds `samples/CAM_FRONT/*.jpg` and so on (1600x900, without distortion),
`samples/LIDAR_TOP/*.pcd.bin` (float32 x, y, z, intensity, ring) and folders of tables, `v1.0-mini`,
`v1.0-trainval` or `v1.0-test`. Key frames are read, two in a second: those that have boxes.

- Each photograph and each sweep has a pose of its own: cameras see up to 50 ms before the sweep
  ends, at 15 m/s 0.7 m. Laser points therefore go from the scanner to the car, to the world, to the
  car as the camera sees, to the camera. What moves by itself stays where the sweep saw it.
- Boxes are annotated in the world, at the time of the sweep. They go from there to the camera by
  its own pose, as the publisher's code brings them: right for what stands, and for what moves late
  by up to 50 ms, just as laser points are. Those are left out that no laser point hit, or that are
  hidden by more than 60 %.
- Poses are flat: the height of the car in the world is zero, hills are not in them.
- The scanner stands above the cameras and sees over what hides things from them.
- Principal points are taken to count from pixel centres; the publisher does not say.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vlm3.geometry import Camera, invert, transform
from vlm3.sources.photo import read_rgb
from vlm3.sources.reading import (
    Frame,
    Reader,
    drives,
    files,
    lidar,
    listed,
    nuscenes_tables,
    quaternions,
)
from vlm3.sources.reading.nuscenes_tables import AGAIN, Shot
from vlm3.views import Box, View

CAMERAS = (
    "CAM_FRONT",
    "CAM_FRONT_RIGHT",
    "CAM_BACK_RIGHT",
    "CAM_BACK",
    "CAM_BACK_LEFT",
    "CAM_FRONT_LEFT",
)
LIDAR = "LIDAR_TOP"
NEAR_M = 1.0  # as in the publisher's code: what is nearer is the car itself
NO_BOXES = np.empty((0, 10), np.float32), ()
PARTLY = (
    "take the part of the data set that has it, or name scenes that you have: scenes=['scene-0061']"
)


class _Sample(NamedTuple):
    """What the cameras share at one time. boxes: (N, 10) centre, width, length, height and rotation
    in the world; names: of each."""

    sweep: Shot
    boxes: np.ndarray
    names: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class _Frame(Frame):
    shot: Shot
    sample: _Sample


class Nuscenes(Reader):
    """Key frames with poses, laser points, and boxes; a scene is a drive of 20 s.

    Their order is that of scenes, time, and cameras. version: the folder of tables, needed where
    there are several. Scenes of which no photograph is there are left out, since the data set comes
    in parts. depthlm_compat: laser points as in the labels of DepthLM, without the motion of the
    car between sweep and photograph, and at whole pixels.
    """

    layout = "samples and v1.0-mini, v1.0-trainval or v1.0-test, as nuScenes comes"

    def __init__(
        self,
        root,
        scenes="*",
        frames=(0, None),
        cameras: Sequence[str] = CAMERAS,
        version: str = "",
        depthlm_compat: bool = False,
    ):
        self.cameras, self.version = listed(cameras), version
        self.depthlm_compat = depthlm_compat
        super().__init__(root, scenes, frames)

    def _frames(self) -> Iterator[_Frame]:
        found = sorted(path.parent.name for path in self.root.glob("*/sample_data.json"))
        if not found:
            return
        version = self.version or found[0]
        if version not in found or not self.version and len(found) > 1:
            raise ValueError(
                f"{self.root}: has tables {', '.join(found)}; say version= one of them"
            )
        try:
            yield from self._listed(self.root / version)
        except (KeyError, TypeError) as error:
            raise ValueError(
                f"{self.root / version}: tables that do not fit together ({error!r}); {AGAIN}"
            ) from error

    def _listed(self, tables: Path) -> Iterator[_Frame]:
        shots = nuscenes_tables.shots(tables, (*self.cameras, LIDAR))
        boxes = nuscenes_tables.boxes(tables)
        times: dict[str, list] = {}
        for row in files.json_of(tables / "sample.json", AGAIN):
            times.setdefault(row["scene_token"], []).append((row["timestamp"], row["token"]))
        for scene in files.json_of(tables / "scene.json", AGAIN):
            samples = [token for _, token in sorted(times[scene["token"]])]
            first = shots[samples[0]]
            if not any((self.root / first[camera].path).is_file() for camera in self.cameras):
                continue
            for token in samples:
                sample = _Sample(shots[token][LIDAR], *boxes.get(token, NO_BOXES))
                for camera in self.cameras:
                    shot = shots[token][camera]
                    yield _Frame(scene["name"], shot.path, shot, sample)

    def _view(self, frame: _Frame) -> View:
        shot, sample = frame.shot, frame.sample
        image = read_rgb(files.there(self._file(shot), PARTLY))
        world_from_cam = shot.world_from_ego @ shot.ego_from_sensor
        return View(
            image,
            shot.camera,
            points=self._points(sample.sweep, shot),
            world_from_cam=world_from_cam,
            boxes=_on_image(sample, invert(world_from_cam), shot.camera),
        )

    def _points(self, sweep: Shot, shot: Shot) -> np.ndarray:
        """(N, 3) u, v, z_m."""
        cam_from_ego, moved = invert(shot.ego_from_sensor), np.eye(4)
        if not self.depthlm_compat:
            moved = invert(shot.world_from_ego) @ sweep.world_from_ego
        stored = files.records(self._file(sweep), "<f4", 5, "download it again")
        points_m = transform(cam_from_ego @ moved @ sweep.ego_from_sensor, stored[:, :3])
        if not self.depthlm_compat:
            return lidar.on_image(points_m[points_m[:, 2] > NEAR_M], shot.camera)
        # as if principal points counted from corners, and then down to whole pixels
        found = lidar.on_image(points_m, shot.camera.cropped(0.5, 0.5, *shot.camera.size))
        return np.column_stack([np.floor(found[:, :2]) + 0.5, found[:, 2]])

    def _file(self, shot: Shot) -> Path:
        return files.inside(self.root, shot.path, "sample_data.json")


def _on_image(sample: _Sample, cam_from_world: np.ndarray, camera: Camera) -> tuple[Box, ...]:
    centres, sizes, rotations = np.split(sample.boxes.astype(float), [3, 6], axis=1)
    cam_from_box = cam_from_world @ quaternions.poses(rotations, centres)
    return drives.boxes(cam_from_box, sizes[:, [1, 0, 2]], sample.names, camera)
