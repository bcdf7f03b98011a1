"""DDAD, dense depth for driving: six cameras and a laser scanner that sees 250 m far.

Guizilini et al. 2020, Toyota Research Institute; CC BY-NC-SA 4.0. `ddad.json` lists by split a file
for each scene, `000150/scene_<hash>.json`, with samples of datums: photographs
(`rgb/CAMERA_01/*.png` or .jpg, 1936x1216, without distortion) and a sweep
(`point_cloud/LIDAR/*.npz`), each with its time and pose. Beside it lie `calibration/<hash>.json`
and, where they were made, `bounding_box_3d/CAMERA_01/*.json` and `ontology/<hash>.json`, which
names what they hold. Other data sets of the publisher have this layout, DGP, too.

- Poses are those of sensors in the world, each at its own time: laser points go from the scanner to
  the world to the camera, and so with the motion of the car. What moves by itself stays where the
  sweep saw it, up to 0.2 s earlier. The extrinsics of calibrations are not needed.
- Boxes are in the coordinates of a camera at its time, x along their length, y along their width, z
  up. Those that no laser point hit are left out; what hides one is not known.
- The scanner stands on the roof, and points lie on what hides them from a camera, such as the car's
  own bonnet, which is in some pictures at the lower edge.
- Principal points count from pixel centres, as in the publisher's code.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import numpy as np

from vlm3.geometry import Camera, invert, project, transform
from vlm3.sources.photo import read_rgb
from vlm3.sources.reading import Frame, Reader, drives, files, lidar, listed, quaternions
from vlm3.views import Box, View

CAMERAS = "CAMERA_01", "CAMERA_05", "CAMERA_06", "CAMERA_07", "CAMERA_08", "CAMERA_09"
SPLITS = {"train": "0", "val": "1", "test": "2", "train_overfit": "3"}
BOXES = "1"  # the key of 3D boxes in lists of annotations
AGAIN = "download this scene again"


@dataclass(frozen=True, eq=False)
class _Frame(Frame):
    """Its name, and the other paths, are below root. sweep: its file and pose; boxes: their file;
    names: of what boxes hold, by number."""

    camera: Camera
    pose: tuple[float, ...]
    sweep: tuple[str, tuple[float, ...]] | None
    boxes: str | None
    names: dict[int, str]


class Ddad(Reader):
    """Photographs with poses, laser points, and boxes where the cameras have them.

    Their order is that of scenes, samples and cameras. split: "train", "val", "test" or
    "train_overfit"; without it, all scenes. Those that are listed and not there are left out.
    depthlm_compat: laser points as in the labels of DepthLM, at whole pixels by truncation, the
    last in the file where several fall into one.
    """

    layout = "ddad.json and the folders of its scenes"

    def __init__(
        self,
        root,
        scenes="*",
        frames=(0, None),
        split: str = "",
        cameras: Sequence[str] = CAMERAS,
        depthlm_compat: bool = False,
    ):
        if split and split not in SPLITS:
            raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
        self.split, self.cameras, self.depthlm_compat = split, listed(cameras), depthlm_compat
        super().__init__(root, scenes, frames)

    def _frames(self) -> Iterator[_Frame]:
        for path in self._scene_files():
            try:
                yield from self._scene(path)
            except (KeyError, TypeError, AttributeError) as error:
                raise ValueError(f"{path}: not such a scene ({error!r}); {AGAIN}") from error

    def _scene_files(self) -> list[Path]:
        listed: dict[Path, None] = {}
        for path in sorted(self.root.glob("*.json")):
            told = files.json_of(path)
            splits = told.get("scene_splits", {}) if isinstance(told, dict) else {}
            for number, split in splits.items():
                if not self.split or number == SPLITS[self.split]:
                    for name in split["filenames"]:
                        listed[files.inside(self.root, name, str(path))] = None
        return [path for path in listed if path.is_file()]

    def _scene(self, path: Path) -> Iterator[_Frame]:
        scene, folder = files.json_of(path, AGAIN), path.parent
        below = folder.relative_to(self.root.resolve()).as_posix()
        datums = {datum["key"]: datum for datum in scene["data"]}
        names = _names(folder, scene["ontologies"].get(BOXES))
        lenses = cache(lambda key: _lenses(folder / "calibration" / f"{key}.json"))
        for sample in scene["samples"]:
            of = {datums[k]["id"]["name"]: datums[k]["datum"] for k in sample["datum_keys"]}
            if not set(of) & set(self.cameras):
                raise ValueError(f"{path}: has {', '.join(of)}, none of {', '.join(self.cameras)}")
            yield from self._sample(below, of, lenses(sample["calibration_key"]), names)

    def _sample(self, scene: str, of: dict, lenses: dict, names: dict) -> Iterator[_Frame]:
        sweep = next(
            (datum["point_cloud"] for datum in of.values() if "point_cloud" in datum), None
        )
        if sweep:
            sweep = f"{scene}/{sweep['filename']}", _numbers(sweep["pose"])
        for name in filter(of.__contains__, self.cameras):
            photo = of[name]["image"]
            path, boxes = f"{scene}/{photo['filename']}", photo["annotations"].get(BOXES)
            boxes = boxes and f"{scene}/{boxes}"
            camera = _camera(*lenses[name], photo["width"], photo["height"])
            yield _Frame(scene, path, camera, _numbers(photo["pose"]), sweep, boxes, names)

    def _view(self, frame: _Frame) -> View:
        world_from_cam, points = _pose(frame.pose), None
        if frame.sweep:
            path, pose = frame.sweep
            cam_from_lidar = invert(world_from_cam) @ _pose(pose)
            points_m = transform(cam_from_lidar, _points(self._file(path)))
            points = (_labels if self.depthlm_compat else lidar.on_image)(points_m, frame.camera)
        return View(
            read_rgb(self._file(frame.name)),
            frame.camera,
            points=points,
            world_from_cam=world_from_cam,
            boxes=_boxes(self._file(frame.boxes), frame) if frame.boxes else (),
        )

    def _file(self, path: str) -> Path:
        return files.there(files.inside(self.root, path, "the scene"), AGAIN)


def _lenses(path: Path) -> dict[str, tuple[float, ...]]:
    """fx, fy, cx, cy of each camera; ValueError for one that bends what is straight."""
    told = files.json_of(path, AGAIN)
    found = {}
    for name, numbers in zip(told["names"], told["intrinsics"], strict=True):
        found[name] = tuple(numbers.pop(key) for key in ("fx", "fy", "cx", "cy"))
        if any(numbers.values()):
            raise ValueError(f"{path}: {name} is no pinhole camera: {numbers}; it is not read")
    return found


@lru_cache(maxsize=64)
def _camera(fx: float, fy: float, cx: float, cy: float, width: int, height: int) -> Camera:
    return Camera.from_opencv(np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]]), width, height)


def _numbers(pose: dict[str, dict[str, float]]) -> tuple[float, ...]:
    """A quaternion, w first, and a translation."""
    turn, move = pose["rotation"], pose["translation"]
    return *(turn[f"q{axis}"] for axis in "wxyz"), *(move[axis] for axis in "xyz")


def _pose(numbers: Sequence[float] | np.ndarray) -> np.ndarray:
    """(..., 4, 4) of (..., 7) such numbers."""
    return quaternions.poses(*np.split(np.asarray(numbers), [4], axis=-1))


def _names(folder: Path, ontology: str | None) -> dict[int, str]:
    """What things are called, by number; nothing where a scene says nothing of it."""
    if ontology is None:
        return {}
    told = files.json_of(folder / "ontology" / f"{ontology}.json", AGAIN)
    return {item["id"]: item["name"].lower() for item in told["items"]}


def _points(path: Path) -> np.ndarray:
    """(N, 3) in the frame of the scanner."""
    try:
        with np.load(path) as stored:
            return stored["data"][:, :3].astype(float)
    except Exception as error:  # zipfile and zlib have errors of their own
        raise ValueError(f"{path}: no table of laser points ({error}); {AGAIN}") from None


def _boxes(path: Path, frame: _Frame) -> tuple[Box, ...]:
    found = [row for row in files.json_of(path, AGAIN)["annotations"] if row["num_points"]]
    if not found:
        return ()
    poses = np.array([_numbers(row["box"]["pose"]) for row in found])
    sizes = [[row["box"][side] for side in ("length", "width", "height")] for row in found]
    names = [frame.names[row["class_id"]] for row in found]
    return drives.boxes(_pose(poses), np.array(sizes), names, frame.camera)


def _labels(points_m: np.ndarray, camera: Camera) -> np.ndarray:
    """(N, 3) u, v, z_m as DepthLM has them."""
    points_m = points_m[points_m[:, 2] > 0]
    # truncated towards zero, so that what lies less than a pixel outside comes in
    pixels = (project(points_m, camera) - 0.5).astype(int)
    inside = ((pixels >= 0) & (pixels < camera.size)).all(1)
    pixels, depth = pixels[inside][::-1], points_m[inside, 2][::-1]
    _, last = np.unique(pixels[:, 1] * camera.width + pixels[:, 0], return_index=True)
    return np.column_stack([pixels + 0.5, depth])[last]
