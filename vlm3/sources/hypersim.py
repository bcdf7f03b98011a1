"""Hypersim: 461 indoor scenes of artists, rendered with a path tracer.

Roberts et al. 2021, Apple; CC BY-SA 3.0. As it lies after unpacking:

    ai_001_001/images/scene_cam_00_final_preview/frame.0000.tonemap.jpg
    ai_001_001/images/scene_cam_00_geometry_hdf5/frame.0000.depth_meters.hdf5
    ai_001_001/_detail/cam_00/camera_keyframe_positions.hdf5, camera_keyframe_orientations.hdf5
    ai_001_001/_detail/metadata_scene.csv
    metadata_camera_parameters.csv    from contrib/mikeroberts3000 of apple/ml-hypersim

Three traps. The depth files hold the distance from the camera centre, not z-depth; where nothing
was hit they hold NaN. Positions are in units of the artist, `meters_per_asset_unit` each;
orientations turn from a camera that looks along -z with y up.

And not every camera has the 60 degrees from side to side that the paper names: many scenes shift
and tilt their film. The table has the true rays of each scene. A film that is shifted, or tilted
one way, is that of a pinhole camera that looks perpendicular to it and whose principal point is off
the middle: such views are exact, and their pose and z-depth are that camera's. Tilted both ways,
its rows and columns are not perpendicular: rows are then moved against each other until they are,
by a few pixels at most, and sides that not every row has are cut off. Without the table every scene
is taken for 60 degrees, which of those scenes is wrong: put it into the folder.
"""

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from vlm3 import disk
from vlm3.geometry import Camera, pixel_centres, rays
from vlm3.sources.photo import read_rgb
from vlm3.sources.reading import Frame, Reader, files, hdf5, units
from vlm3.sources.reading.films import pinhole
from vlm3.views import View

TABLE = "metadata_camera_parameters.csv"
RAYS = [f"M_cam_from_uv_{row}{column}" for row in range(3) for column in range(3)]
HALF_ANGLE = np.radians(30)
_PHOTO = re.compile(r"frame\.(\d{4})\.tonemap\.jpg")
_AGAIN = "unpack the scene again"


@dataclass(frozen=True)
class _Frame(Frame):
    camera: str  # such as cam_00
    number: int
    cam_from_uv: tuple[float, ...] | None  # 9 numbers of the table; () where there is no table


class Hypersim(Reader):
    """Views with depth and poses in metres.

    A scene is one of the data set, such as ai_001_001, with all its cameras.
    """

    layout = "ai_001_001 and so on, each with images and _detail"

    def _frames(self) -> Iterator[_Frame]:
        table = _table(self.root / TABLE)
        for folder in sorted(self.root.glob("ai_*/images/scene_cam_*_final_preview")):
            scene = folder.parts[-3]
            camera = folder.name.removeprefix("scene_").removesuffix("_final_preview")
            cam_from_uv = table.get(scene) if table else ()
            for path in sorted(folder.iterdir()):
                if found := _PHOTO.fullmatch(path.name):
                    name = f"{scene}/{camera}/{found[1]}"
                    yield _Frame(scene, name, camera, int(found[1]), cam_from_uv)

    def _view(self, frame: _Frame) -> View:
        folder, stem = self.root / frame.scene, f"frame.{frame.number:04d}"
        images = folder / "images" / f"scene_{frame.camera}"
        image = read_rgb(f"{images}_final_preview/{stem}.tonemap.jpg")
        range_m = units.known(_array(Path(f"{images}_geometry_hdf5/{stem}.depth_meters.hdf5")))
        height, width = image.shape[:2]
        film = pinhole(self._rays(frame, width, height), width, height)
        pose = _pose(folder / "_detail", frame) @ film.gl_from_cam
        camera = film.shown()
        depth_m = film.straight(range_m, cv2.INTER_NEAREST) * _cosines(camera)
        image = film.straight(image, cv2.INTER_LINEAR)
        return View(image, camera, depth_m, world_from_cam=pose)

    def _rays(self, frame: _Frame, width: int, height: int) -> np.ndarray:
        """3x3 cam_from_uv, see `films.pinhole`."""
        if frame.cam_from_uv is None:
            raise ValueError(f"{self.root / TABLE}: has no row of {frame.scene}; download it again")
        if frame.cam_from_uv:
            return np.reshape(frame.cam_from_uv, (3, 3))
        side = np.tan(HALF_ANGLE)
        return np.diag([side, side * height / width, -1])


@lru_cache(maxsize=8)
def _cosines(camera: Camera) -> np.ndarray:
    """(H, W) z-depth of what is one metre from the camera centre."""
    return (1 / np.linalg.norm(rays(pixel_centres(camera), camera), axis=-1)).astype(np.float32)


def _pose(folder: Path, frame: _Frame) -> np.ndarray:
    """4x4 world_from_cam in metres, of a camera that looks along -z with y up."""
    places = folder / frame.camera
    turned = _kept(places / "camera_keyframe_orientations.hdf5")
    positions = _kept(places / "camera_keyframe_positions.hdf5")
    if frame.number >= (count := min(len(turned), len(positions))):
        raise ValueError(f"{places}: has {count} poses, none for {frame.number}; {_AGAIN}")
    pose = np.column_stack([turned[frame.number], positions[frame.number]])
    return units.scaled(files.rigid(pose, places), _scale(folder / "metadata_scene.csv"))


def _array(path: Path) -> np.ndarray:
    return hdf5.array(path, "dataset", _AGAIN)


_kept = lru_cache(maxsize=256)(_array)


@lru_cache(maxsize=512)
def _scale(path: Path) -> float:
    """Metres per unit of a scene."""
    for row in csv.reader(disk.text(files.there(path, _AGAIN)).splitlines()):
        if row[:1] == ["meters_per_asset_unit"]:
            return float(row[1])
    raise ValueError(f"{path}: says no meters_per_asset_unit; {_AGAIN}")


def _table(path: Path) -> dict[str, tuple[float, ...]]:
    """cam_from_uv of each scene, row by row; nothing where there is no such file."""
    if not path.is_file():
        return {}
    try:
        rows = csv.DictReader(disk.text(path).splitlines())
        return {row["scene_name"]: tuple(float(row[name]) for name in RAYS) for row in rows}
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path}: not the table of Hypersim ({error!r}); download it again"
        ) from None
