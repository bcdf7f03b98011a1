"""Depth at some pixels of photos, as DepthLM and DepthVLM-Bench write it for any data set.

Cai et al. 2025, Meta: what DepthLM's scripts make of each data set; Yu et al. 2026, Zhejiang
University and Tencent: DepthVLM-Bench (Apache-2.0, without photos). The terms of photos and labels
are those of the data set. One json object a line in `.jsonl`, with `image` or `image_path`,
`pixel_coords` [[x, y], ...] (whole pixels), `depth` [metres, ...], and

- DepthLM: `intrinsics` [fx, fy, cx, cy, W, H];
- DepthVLM-Bench: `original_fx`, `original_rgb_size` [W, H], `original_depth_size`: pixels count on
  the depth map, whose size may be another. The principal point is not told: it is taken to be in
  the middle, and fy to be fx. `scene` or `scene_id`, `depth_type` ("z_depth") and more.

DepthLM's own files differ in what depth is (`depth` below) and how true (`scale`):

- z: nuScenes, DDAD, iBims-1. Range, the distance from the camera: Argoverse 2, Waymo, ETH3D,
  SUN RGB-D, NYUv2, Matterport3D. No file says it.
- SUN RGB-D and NYUv2 are at 0.8 of the truth: scale = 1.25.
- ScanNet++ is neither, by a slip in the formula; read the data set instead.
- DepthVLM-Bench pairs depth maps of ETH3D, which are of photos as shot, with undistorted photos:
  they fit in the middle only.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from vlm3.geometry import Camera, depth_from_range
from vlm3.sources.photo import read_rgb
from vlm3.sources.reading import Frame, Reader, files
from vlm3.sources.reading.labels import camera_of, labelled, numbers
from vlm3.views import View

_DEPTHS = ("z", "range")


@dataclass(frozen=True)
class _Frame(Frame):
    labels: Path
    start: int  # bytes before its line
    length: int

    def line(self) -> bytes:
        with self.labels.open("rb") as file:
            file.seek(self.start)
            return file.read(self.length)


class Depthlm(Reader):
    """Views with their labels as points, in the middle of the labelled pixels.

    labels: the files, by pattern, below root; images: the folder below root that the paths of
    photos start from. depth: "z" or "range", for lines that do not say; scale: by what it is
    multiplied. A frame is called by file and line; its scene is what the line says, else the folder
    of its photo. Lines are read in full when asked for.
    """

    layout = "label files (*.jsonl) and the photos that they name"

    def __init__(
        self,
        root,
        scenes="*",
        frames=(0, None),
        labels: str = "*.jsonl",
        images: str = ".",
        depth: str = "z",
        scale: float = 1.0,
    ):
        if depth not in _DEPTHS or not scale > 0:
            raise ValueError(f"depth is 'z' or 'range' and scale > 0, got {depth!r}, {scale!r}")
        self.labels, self.images, self.depth, self.scale = labels, images, depth, scale
        super().__init__(root, scenes, frames)

    def _frames(self) -> Iterator[_Frame]:
        for path in sorted(self.root.glob(self.labels)):
            start, name = 0, path.relative_to(self.root).as_posix()
            with path.open("rb") as file:
                for n, line in enumerate(file, 1):
                    if line.strip():
                        scene = _scene(_record(line, f"{path}:{n}"))
                        yield _Frame(scene, f"{name}:{n}", path, start, len(line))
                    start += len(line)

    def photo(self, index: int) -> str:
        """The name of a photo, as its line says it."""
        frame = self.frames[index]
        return str(_image(_record(frame.line(), f"{self.root / frame.name}")))

    def _view(self, frame: _Frame) -> View:
        where = f"{self.root / frame.name}"
        record = _record(frame.line(), where)
        path = files.inside(self.root / self.images, _image(record), where)
        image = read_rgb(files.there(path, f"{where} names it: unpack the photos, or give images"))
        camera, raster = _cameras(record, where)
        if image.shape[1::-1] != camera.size:
            raise ValueError(
                f"{path}: photo is {image.shape[1]}x{image.shape[0]}, {where} says "
                f"{camera.width}x{camera.height}; take the photos that the labels were made on"
            )
        pixels, depth_m = labelled(record["pixel_coords"], record["depth"], raster, where)
        uv = (pixels + 0.5) * np.divide(camera.size, raster.size)
        z_m = depth_m * self.scale
        if self.depth == "range" and record.get("depth_type") != "z_depth":
            z_m = depth_from_range(z_m, uv, camera)
        return View(image, camera, points=np.column_stack([uv, z_m]))


def _record(line: bytes, where: str) -> dict:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where}: not whole as json ({error}); download it again") from None
    if not isinstance(record, dict) or not {"pixel_coords", "depth"} <= record.keys():
        raise ValueError(f"{where}: needs image, pixel_coords, depth and intrinsics or original_fx")
    return record


def _image(record: dict) -> object:
    return record["image_path"] if "image_path" in record else record.get("image")


def _scene(record: dict) -> str:
    told = record.get("scene", record.get("scene_id"))
    return str(told) if told else PurePosixPath(str(_image(record))).parent.as_posix()


def _cameras(record: dict, where: str) -> tuple[Camera, Camera]:
    """The camera of the photo, and as it would be in the raster that the labels count."""
    if "intrinsics" in record:
        camera = camera_of(record["intrinsics"], where)
        return camera, camera
    fx, size = record.get("original_fx"), record.get("original_rgb_size")
    raster = record.get("original_depth_size", size)
    if not (numbers([fx], 1) and numbers(size, 2) and numbers(raster, 2)):
        raise ValueError(
            f"{where}: needs intrinsics [fx, fy, cx, cy, W, H], or original_fx, original_rgb_size "
            "and original_depth_size"
        )
    try:
        camera = Camera(fx, fx, size[0] / 2, size[1] / 2, *size)
        return camera, camera.resized(*raster)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
