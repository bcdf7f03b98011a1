"""Taskonomy: 4.6 million views of 537 scanned buildings, rendered with depth, camera and pose.

Zamir, Sax, Shen, Guibas, Malik and Savarese 2018, Stanford; for research, under the terms of each
scan. As `omnitools.download rgb depth_zbuffer point_info mask_valid` lays them out:
`rgb/taskonomy/<building>/point_0_view_0_domain_rgb.png`, 512x512, and beside `rgb` the same with
another domain: `depth_zbuffer` or `depth_euclidean` (16 bits, 1/512 m, the largest number where
the scan has a hole), `point_info` (json, called `point_info` or `fixatedpose`) and `mask_valid` (0
where depth is wrong, called `mask_valid` or `depth_zbuffer`). It is read, too, without `taskonomy/`
and as `<building>/rgb` or `<building>_rgb/rgb`; so are Omnidata's HM3D and Replica, named alike.

The json is Blender's: angles x, y, z in radians about fixed axes, world z up, a camera that looks
along its -z with y up, and a square picture whose middle is the optical axis. Zbuffer is z-depth,
euclidean the distance from the camera. Checked on published json files: the point that a view is
fixed on lies in its middle to 1e-4 pixels, and points seen from elsewhere on the pixels that
`nonfixated` notes for them.
"""

import math
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vlm3.geometry import Camera, depth_from_range, pixel_centres
from vlm3.sources.photo import read_rgb
from vlm3.sources.reading import Frame, Reader, files
from vlm3.views import View

PER_M = 512
UNKNOWN = 0, 65535
_NAME = re.compile(r"(point_(\d+)_view_(\d+)_domain_)rgb\.png")
_POSES = (  # folder and domain
    ("point_info", "point_info"),
    ("point_info", "fixatedpose"),
    ("fixatedpose", "fixatedpose"),
    ("points", "fixatedpose"),
)


@dataclass(frozen=True)
class _Frame(Frame):
    photo: Path

    def other(self, task: str, domain: str, ending: str = "png") -> Path:
        """The file of the same view in the folder of a task."""
        folders = [
            task if part == "rgb" else re.sub("_rgb$", f"_{task}", part)
            for part in self.photo.parent.parts
        ]
        return Path(*folders) / _NAME.sub(rf"\g<1>{domain}.{ending}", self.photo.name)


class Taskonomy(Reader):
    """Views with depth and poses. A scene is a building; a point is seen from several of its views,
    which are called "point_0_view_0" and so on."""

    layout = "rgb/taskonomy/<building>/point_0_view_0_domain_rgb.png and so on"

    def _frames(self) -> Iterator[_Frame]:
        for place, below, names in os.walk(self.root):
            below[:] = ["rgb"] if "rgb" in below else sorted(below)
            photos = [found for found in map(_NAME.fullmatch, names) if found]
            building = _building(Path(place), self.root)
            for found in sorted(photos, key=lambda found: (int(found[2]), int(found[3]))):
                view = found[1].removesuffix("_domain_")
                yield _Frame(building, f"{building}/{view}", Path(place, found[0]))

    def _view(self, frame: _Frame) -> View:
        path = _pose_file(frame)
        info = files.json_of(path)
        image = read_rgb(frame.photo)
        height, width = image.shape[:2]
        try:
            focal_px = width / 2 / math.tan(info["field_of_view_rads"] / 2)
            pose = _pose(info["camera_rotation_final"], info["camera_location"], path)
        except (KeyError, TypeError) as error:
            raise ValueError(f"{path}: not a pose of Taskonomy ({error!r})") from None
        camera = Camera(focal_px, focal_px, width / 2, height / 2, width, height)
        return View(image, camera, _depth(frame, camera), world_from_cam=pose)


def _building(folder: Path, root: Path) -> str:
    """The folder's own name, or that of the one above where it is called after what is in it."""
    folder = folder.parent if folder.name == "rgb" else folder
    return (folder if folder != root else root.resolve()).name.removesuffix("_rgb")


def _pose_file(frame: _Frame) -> Path:
    paths = [frame.other(*names, "json") for names in _POSES]
    there = [path for path in paths if path.is_file()]
    return there[0] if there else files.there(paths[0], "download point_info, too")


def _pose(angles: list[float], location_m: list[float], path: Path) -> np.ndarray:
    """4x4 world_from_cam of Blender's angles x, y, z in radians about fixed axes."""
    (sx, sy, sz), (cx, cy, cz) = np.sin(angles), np.cos(angles)
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    # Blender's camera has y up and looks along -z
    rotation = about_z @ about_y @ about_x @ np.diag([1, -1, -1])
    return files.rigid(np.column_stack([rotation, location_m]), path)


def _depth(frame: _Frame, camera: Camera) -> np.ndarray | None:
    zbuffer = frame.other("depth_zbuffer", "depth_zbuffer")
    euclidean = frame.other("depth_euclidean", "depth_euclidean")
    if zbuffer.is_file():
        depth_m = files.depth_png(zbuffer, PER_M, UNKNOWN)
    elif euclidean.is_file():
        range_m = files.depth_png(euclidean, PER_M, UNKNOWN)
        depth_m = depth_from_range(range_m, pixel_centres(camera), camera).astype(np.float32)
    else:
        return None
    for domain in ("mask_valid", "depth_zbuffer"):
        if (mask := frame.other("mask_valid", domain)).is_file():
            depth_m[files.grey(mask) == 0] = np.nan
            break
    return depth_m
