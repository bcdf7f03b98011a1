"""Omni3D: boxes in space for six data sets, in one format: names, metric sizes, places; no depth.

Brazil et al. 2023, Meta. Annotations CC BY-NC 4.0; photos under the terms of their data sets. The
folder as the publisher has it, `datasets/`:

    Omni3D/SUNRGBD_train.json, KITTI_val.json, ...     {SUNRGBD, KITTI, nuScenes, Hypersim,
                                                       ARKitScenes, Objectron}_{train, val, test}
    SUNRGBD/, KITTI_object/, nuScenes/, hypersim/,     photos, where `file_path` says
    ARKitScenes/, objectron/

A json file holds `images` (id, file_path, width, height, K) and `annotations` (image_id,
category_name, valid3D, center_cam, dimensions, R_cam, ...), in metres and camera coordinates, x
right, y down, z forward.

- `dimensions` are width, height and length, along z, y and x of the object's own frame, whose y
  stands upright; R_cam turns that frame into the camera's.
- K counts from pixel centres, as its sources do; where its principal point is exactly half the
  image, as in Hypersim, it is taken to count from the corner.
- Objects without a reliable box are left out: those that the file calls so, that no lidar point or
  pixel of the segmentation shows, whose depth is off by more than 0.5 m, and those more than 70 per
  cent hidden, as far as the file knows; so are photos without any object.
- Boxes bound what is in the image of a solid; `bbox2D_tight`, which few sets have, is not read.
"""

import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path, PurePosixPath

import numpy as np

from vlm3.geometry import Camera
from vlm3.sources.photo import read_rgb
from vlm3.sources.reading import Frame, Reader, files, solids
from vlm3.views import Box, View

_WAY_OUT = "download Omni3D_json.zip again"
_AGREED_M = 0.5
UNHIDDEN = 0.3  # of an object must be seen


@dataclass(frozen=True, eq=False)
class _Frame(Frame):
    size: tuple[int, int]
    matrix: tuple[tuple[float, ...], ...]  # K
    names: tuple[str, ...]
    solids: np.ndarray  # (N, 15) float32: center_cam, dimensions, R_cam by rows

    @property
    def folder(self) -> str:
        """That of the photos of its data set."""
        return self.name.partition("/")[0]


class Omni3d(Reader):
    """Views with boxes.

    labels: the annotation files in Omni3D/, by pattern; of data sets whose folder of photos is not
    there nothing is read. A scene is the first two folders of a photo's path: a place in Hypersim,
    but all of KITTI, so the publisher's own split is what keeps places apart.
    """

    layout = "Omni3D/*_train.json beside folders of photos (SUNRGBD, KITTI_object, nuScenes, ...)"

    def __init__(self, root, scenes="*", frames=(0, None), labels: str = "*_train.json"):
        self.labels = labels
        super().__init__(root, scenes, frames)

    def _frames(self) -> list[_Frame]:
        paths = sorted((self.root / "Omni3D").glob(self.labels))
        found = [frame for path in paths for frame in _listed(path)]
        named = {frame.folder for frame in found}
        there = {folder for folder in named if (self.root / folder).is_dir()}
        if found and not there:
            raise FileNotFoundError(
                f"{self.root}: Omni3D/{self.labels} is about photos in {', '.join(sorted(named))}, "
                "none of which is there; unpack them beside Omni3D/"
            )
        return [frame for frame in found if frame.folder in there]

    def _view(self, frame: _Frame) -> View:
        path = files.inside(self.root, frame.name, f"{self.root}/Omni3D")
        image = read_rgb(files.there(path, "unpack the photos of its data set beside Omni3D/"))
        if image.shape[1::-1] != frame.size:
            raise ValueError(
                f"{path}: photo is {image.shape[1]}x{image.shape[0]}, its labels are for "
                f"{frame.size[0]}x{frame.size[1]}; take the photos that Omni3D names"
            )
        camera = _camera(frame)
        return View(image, camera, boxes=tuple(_boxes(frame, camera)))


def _listed(path: Path) -> Iterator[_Frame]:
    table, found = files.json_of(path, _WAY_OUT), defaultdict(list)
    try:
        for annotation in table["annotations"]:
            if _reliable(annotation):
                found[annotation["image_id"]].append(annotation)
        for image in table["images"]:
            if image["id"] in found:
                yield _frame(image, found[image["id"]])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{path}: not as Omni3D has it ({error!r}); {_WAY_OUT}") from None


def _reliable(annotation: dict) -> bool:
    hidden = 0 <= annotation.get("visibility", -1) < UNHIDDEN
    unseen = annotation.get("lidar_pts", -1) == 0 or annotation.get("segmentation_pts", -1) == 0
    off = annotation.get("depth_error", -1) > _AGREED_M
    solid = annotation["valid3D"] and min(annotation["dimensions"]) > 0
    return bool(solid) and not (hidden or unseen or off)


def _frame(image: dict, annotations: list[dict]) -> _Frame:
    path = image["file_path"]
    rows = [(*a["center_cam"], *a["dimensions"], *chain(*a["R_cam"])) for a in annotations]
    return _Frame(
        scene="/".join(PurePosixPath(path).parts[:2]),
        name=path,
        size=(image["width"], image["height"]),
        matrix=tuple(map(tuple, image["K"])),
        names=tuple(sys.intern(a["category_name"]) for a in annotations),
        solids=np.array(rows, np.float32).reshape(-1, 15),
    )


def _camera(frame: _Frame) -> Camera:
    (fx, _, cx), (_, fy, cy), _ = frame.matrix
    if (2 * cx, 2 * cy) == frame.size:
        return Camera(fx, fy, cx, cy, *frame.size)
    return Camera.from_opencv(frame.matrix, *frame.size)


def _boxes(frame: _Frame, camera: Camera) -> Iterator[Box]:
    for name, numbers in zip(frame.names, frame.solids.astype(float), strict=True):
        (wide, high, long), turn = numbers[3:6].tolist(), numbers[6:].reshape(3, 3)
        cam_from_box = files.rigid(np.column_stack([turn, numbers[:3]]), f"R_cam of a {name}")
        box = solids.on_image(cam_from_box, (long, high, wide), 1, name, camera)
        if box is not None:
            yield box
