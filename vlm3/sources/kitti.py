"""KITTI: drives around Karlsruhe with stereo cameras, a laser scanner and GPS.

Geiger, Lenz, Urtasun 2012, KIT and TTI Chicago; depth: Uhrig et al. 2017. CC BY-NC-SA 3.0, research
only. All of these that a folder holds are read, as the publisher's archives unpack:

    training/{image_2,calib,label_2,velodyne}/000000.*         object: lidar points, boxes;
    devkit_object/mapping/                                     with this, scenes are drives
    sequences/00/{image_2,velodyne}/000000.*, calib.txt        odometry: lidar points,
    poses/00.txt                                               poses (sequences 00 to 10)
    2011_09_26/2011_09_26_drive_0001_sync/image_02/data/*.png  raw: lidar points, poses by GPS,
    2011_09_26/calib_{cam_to_cam,velo_to_cam,imu_to_velo}.txt  or, with the depth set beside it,
    {train,val}/*_sync/proj_depth/groundtruth/image_02/*.png   the frames that have a depth map
    val_selection_cropped/{image,groundtruth_depth,intrinsics} 1000 frames picked for evaluation

A folder with image_2 and calib.txt, or calib/calib.txt, is one sequence. What is not there, such as
velodyne, is left out.

- Depth maps gather the laser points of 11 scans, on some 20 per cent of the pixels: they come as
  points. png / 256 is metres, 0 unknown.
- Files speak of camera 0, which stands 6 cm beside camera 2; boxes and poses here are the camera's
  own, which is what makes them fit the image.
- Boxes bound what is in the image of the labelled solids; the 2D labels are not read.
- calib.txt of the odometry set may hold an R0_rect, which is of another set.
- A scan takes 0.1 s, and only in the odometry set the car's own way is taken out of it; the scanner
  looks ahead when the cameras do.
- Images of the object set are shuffled: without the devkit's mapping all are one scene.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vlm3.geometry import invert, transform
from vlm3.sources.photo import read_rgb
from vlm3.sources.reading import Frame, Reader, files, kitti_files, kitti_rigs, lidar
from vlm3.sources.reading.kitti_rigs import Rig
from vlm3.views import View, points_of

_DRIVES = "20??_??_??/*_drive_*_sync"


@dataclass(frozen=True)
class _Frame(Frame):
    photo: Path
    camera: int
    calibration: Path
    rig: Callable[[Path, int, tuple[int, int]], Rig]  # what reads the calibration
    scan: Path | None = None
    depth: Path | None = None
    labels: Path | None = None
    oxts: tuple[Path, Path] | None = None  # of the first frame of the drive, and of this one
    world_from_rect: tuple[float, ...] | None = None  # 3x4, row by row


class Kitti(Reader):
    """Views with points, with boxes in the object set, and with poses in the odometry and raw sets.

    cameras: 2 and 3 are the left and the right one in colour, 0 and 1 the grey ones.
    """

    layout = (
        "training/{image_2,calib}, sequences/00/{image_2,calib.txt}, 2011_09_26/*_sync/image_02 "
        "(and train/*_sync or val/*_sync of the depth set beside it) or val_selection_cropped"
    )

    def __init__(self, root, scenes="*", frames=(0, None), cameras: Sequence[int] = (2,)):
        self.cameras = tuple(cameras)
        super().__init__(root, scenes, frames)

    def _frames(self) -> Iterator[_Frame]:
        for listed in (_objects, _odometry, _raw, _selection):
            for number in self.cameras:
                yield from listed(self.root, number)

    def _view(self, frame: _Frame) -> View:
        image = read_rgb(files.there(frame.photo, "unpack the images of this part of KITTI"))
        rig = frame.rig(frame.calibration, frame.camera, image.shape[1::-1])
        return View(
            image,
            rig.camera,
            points=_points(frame, rig),
            world_from_cam=_pose(frame, rig),
            boxes=kitti_files.boxes(frame.labels, rig) if frame.labels else (),
        )


def _objects(root: Path, number: int) -> Iterator[_Frame]:
    folder = root / "training"
    places = root / "devkit_object" / "mapping", root / "mapping"
    drives = next((kitti_files.drives(place) for place in places if place.is_dir()), [])
    scans, labels = (_folder(folder / name) for name in ("velodyne", "label_2"))
    for photo in sorted(folder.glob(f"image_{number}/??????.png")):
        place = int(photo.stem)
        yield _Frame(
            scene=drives[place] if place < len(drives) else "training",
            name=_name(root, photo),
            photo=photo,
            camera=number,
            calibration=folder / "calib" / f"{photo.stem}.txt",
            rig=kitti_rigs.of_frame,
            scan=scans and scans / f"{photo.stem}.bin",
            labels=labels and labels / f"{photo.stem}.txt",
        )


def _odometry(root: Path, number: int) -> Iterator[_Frame]:
    flat = [root] if any(path.is_file() for path in _calibrations(root)) else []
    for folder in sorted(root.glob("sequences/*")) or flat:
        inner, outer = _calibrations(folder)
        scans, told = _folder(folder / "velodyne"), root / "poses" / f"{folder.name}.txt"
        poses = kitti_files.poses(told) if told.is_file() else None
        for photo in sorted(folder.glob(f"image_{number}/??????.png")):
            yield _Frame(
                scene=folder.resolve().name,
                name=_name(root, photo),
                photo=photo,
                camera=number,
                calibration=inner if inner.is_file() else outer,
                rig=kitti_rigs.of_frame,
                scan=scans and scans / f"{photo.stem}.bin",
                world_from_rect=poses and kitti_files.pose_of(poses, int(photo.stem), told),
            )


def _raw(root: Path, number: int) -> Iterator[_Frame]:
    """Frames with a depth map where the depth set is there; else those with a scan, or all."""
    drives, parts = sorted(root.glob(_DRIVES)), [root / "train", root / "val"]
    annotated = any(any(part.glob("*_sync/proj_depth")) for part in parts)
    if annotated and not drives:
        raise FileNotFoundError(
            f"{root}: has depth maps, but not their photographs; unpack the raw data "
            "(2011_09_26/2011_09_26_drive_0001_sync and so on) beside train and val"
        )
    for drive in drives:
        photos, scans = drive / f"image_{number:02}" / "data", drive / "velodyne_points" / "data"
        maps = [part / drive.name / f"proj_depth/groundtruth/image_{number:02}" for part in parts]
        labels = next(filter(Path.is_dir, maps if annotated else [scans]), None)
        if not photos.is_dir() or (annotated and labels is None):
            continue
        first = kitti_files.first_oxts(drive)
        # by the labels: some scans do not exist, such as four of 2011_09_26_drive_0009
        for path in sorted((labels or photos).glob("[0-9]*")):
            photo = photos / f"{path.stem}.png"
            yield _Frame(
                scene=drive.name,
                name=_name(root, photo),
                photo=photo,
                camera=number,
                calibration=drive.parent,
                rig=kitti_rigs.of_day,
                scan=path if labels and not annotated else None,
                depth=path if annotated else None,
                oxts=first and (first, first.with_name(f"{path.stem}.txt")),
            )


def _selection(root: Path, number: int) -> Iterator[_Frame]:
    for above in (root / "depth_selection", root):
        folder = above / "val_selection_cropped"
        for photo in sorted(folder.glob(f"image/*_image_{number:02}.png")):
            drive, _, rest = photo.name.partition("_image_")
            yield _Frame(
                scene=drive,
                name=_name(root, photo),
                photo=photo,
                camera=number,
                calibration=folder / "intrinsics" / f"{photo.stem}.txt",
                rig=kitti_rigs.of_intrinsics,
                depth=folder / "groundtruth_depth" / f"{drive}_groundtruth_depth_{rest}",
            )


def _calibrations(folder: Path) -> tuple[Path, Path]:
    """Where that of a sequence may be."""
    return folder / "calib" / "calib.txt", folder / "calib.txt"


def _name(root: Path, photo: Path) -> str:
    return photo.relative_to(root).with_suffix("").as_posix()


def _folder(path: Path) -> Path | None:
    return path if path.is_dir() else None


def _points(frame: _Frame, rig: Rig) -> np.ndarray | None:
    if frame.depth is not None:
        depth_m = files.depth_png(frame.depth, 256)
        if depth_m.shape != rig.camera.size[::-1]:
            raise ValueError(
                f"{frame.depth}: is {depth_m.shape[1]}x{depth_m.shape[0]}, {frame.photo} is "
                f"{rig.camera.width}x{rig.camera.height}; take both as published"
            )
        return points_of(depth_m)
    if frame.scan is None:
        return None
    if rig.rect_from_lidar is None:
        raise ValueError(
            f"{frame.calibration}: does not say where the scanner is; {kitti_rigs.WAY_OUT}"
        )
    scan = files.records(frame.scan, "<f4", 4, "download the velodyne files again")
    ahead = scan[scan[:, 0] > 0, :3]  # as all cameras look; half the work
    cam_from_lidar = rig.cam_from_rect @ rig.rect_from_lidar
    return lidar.on_image(transform(cam_from_lidar, ahead), rig.camera)


def _pose(frame: _Frame, rig: Rig) -> np.ndarray | None:
    if frame.world_from_rect is not None:
        told = np.reshape(frame.world_from_rect, (3, 4))
        world_from_rect = files.rigid(told, f"pose of {frame.name}")
    elif frame.oxts is not None and rig.rect_from_car is not None:
        world_from_rect = kitti_files.world_from_car(*frame.oxts) @ invert(rig.rect_from_car)
    else:
        return None
    return world_from_rect @ invert(rig.cam_from_rect)
