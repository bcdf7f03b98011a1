"""SUN RGB-D: 10,335 indoor photos of four depth cameras, with boxes of objects in metres.

Song, Lichtenberg and Xiao 2015, Princeton; research only. Two layouts are read, by what is there:

`SUNRGBD/<sensor>/<set>/<frame>/` with `image`, `depth`, `depth_bfx` (one file each),
`intrinsics.txt` (3x3), `extrinsics` (3x4, upright_from_cam: x right, y down, z forward, but level;
of several files the last) and `annotation3Dfinal/index.json`: objects with `name`, null where one
was deleted, and a `polygon` of X and Z of the corners on the floor, Ymin and Ymax, in level axes.

`sunrgbd_trainval/`, what VoteNet (Qi et al. 2019) exports: `image/000001.jpg`, `calib` (Rtilt and
K, by columns), `label` (name, box in pixels from 1, centre, half of width, depth and height, and
the direction that it faces; x right, y forward, z up, level) and `depth/000001.mat` (a point for
each pixel of `depth`, counted from 1, level, cut at 8 m).

A depth png holds millimetres, rotated left by three bits; read as they are and divided by 10000,
as in the labels published with DepthLM, depths are 0.8 of the true ones. `depth` is what was
measured, `depth_bfx` has all gaps filled in. Principal points are taken to count from pixel
centres, from 0: the files leave that open, to a pixel. No frame has a pose that another shares.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from vlm3 import disk
from vlm3.geometry import Camera, pixel_centres, range_from_depth
from vlm3.sources.photo import read_rgb
from vlm3.sources.reading import Frame, Reader, files, matlab, solids
from vlm3.views import Box, View

BACKGROUND = {"wall", "floor", "ceiling"}
FARTHEST_M = 7.999  # of exported points: what is further away was set to 8
NYU_FOCAL_PX = 518.857901  # NYU's photos are the only ones of this camera
_SESSION = re.compile(r"\d+_(.+)_rgbf\d+.*")
_AGAIN = "download SUNRGBD.zip again"
_EXPORT = "take calib, image, label and depth of one export"


@dataclass(frozen=True)
class _Frame(Frame):
    folder: Path  # of the frame, or of the export
    exported: bool


class Sunrgbd(Reader):
    """Views with depth and boxes.

    A scene is a frame, but for videos, of which it is the place. filled: depth_bfx, not only what
    was measured; an export has none. nyu: also the frames of NYU Depth V2, which the benchmark
    leaves out. depthlm_compat: depth as in the labels published with DepthLM, the distance from the
    camera at 0.8 of its length, where z is 0.005 to 25; they took depth_bfx for this data set
    (filled=True), and depth for the NYU frames, `scenes="kv1/NYUdata/*"` with nyu=True.
    """

    layout = "SUNRGBD/<sensor>/<set>/<frame>/intrinsics.txt, or with sunrgbd_trainval"

    def __init__(
        self,
        root: str | Path,
        scenes="*",
        frames=(0, None),
        filled: bool = False,
        nyu: bool = False,
        depthlm_compat: bool = False,
    ):
        self.filled, self.nyu, self.depthlm_compat = filled, nyu, depthlm_compat
        super().__init__(root, scenes, frames)

    def _frames(self) -> Iterator[_Frame]:
        exports = [self.root, self.root / "sunrgbd_trainval"]
        export = next((folder for folder in exports if (folder / "calib").is_dir()), None)
        if export and self.filled:
            raise ValueError(f"{export}: has measured depth only: take SUNRGBD, or filled=False")
        found = list(_exported(export) if export else _folders(self.root))
        kept = [frame for frame, of_nyu in found if self.nyu or not of_nyu]
        if found and not kept:
            raise ValueError(f"{self.root}: all frames are those of NYU: read them with nyu=True")
        return iter(kept)

    def _view(self, frame: _Frame) -> View:
        compat = self.depthlm_compat
        if frame.exported:
            image, camera, depth_m, boxes = _export(frame, 0.8 if compat else 1)
        else:
            image, camera, stored, boxes = _folder(frame, "depth_bfx" if self.filled else "depth")
            depth_m = stored / np.float32(10000) if compat else _decoded(stored)
        if depth_m is not None and compat:
            known = (depth_m > 0.005) & (depth_m < 25)
            depth_m = np.where(known, depth_m * _slant(camera), np.float32(np.nan))
        return View(image, camera, depth_m, boxes=boxes)


@lru_cache(maxsize=16)
def _slant(camera: Camera) -> np.ndarray:
    """(H, W) distance from the camera of what has depth 1."""
    ones = np.ones((camera.height, camera.width))
    return range_from_depth(ones, pixel_centres(camera), camera).astype(np.float32)


def _exported(folder: Path) -> Iterator[tuple[_Frame, bool]]:
    """Frames, and whether each is one of NYU, whose camera took no others."""
    for path in sorted((folder / "calib").glob("*.txt")):
        focal_px = _calibration(path)[1][0, 0]
        yield _Frame(path.stem, path.stem, folder, True), abs(focal_px - NYU_FOCAL_PX) < 0.01


def _folders(root: Path) -> Iterator[tuple[_Frame, bool]]:
    for place, below, names in os.walk(root):
        below.sort()
        if "intrinsics.txt" in names:
            below.clear()
            name = Path(place).relative_to(root)
            frame = _Frame(_scene(name), name.as_posix(), Path(place), False)
            yield frame, "NYU" in frame.name


def _scene(name: Path) -> str:
    """Videos of SUN3D are in folders of their place, frames of Kinect 2 name their recording."""
    if "sun3ddata" in name.parts:
        return "/".join(name.parts[: name.parts.index("sun3ddata") + 2])
    session = _SESSION.fullmatch(name.name)
    return (name.parent / session[1]).as_posix() if session else name.as_posix()


def _folder(frame: _Frame, depths: str) -> tuple[np.ndarray, Camera, np.ndarray, tuple[Box, ...]]:
    """The photo, its camera, (H, W) uint16 depth as it is stored, and the boxes of a folder."""
    folder = frame.folder
    image = read_rgb(_only(folder / "image"))
    intrinsics = files.matrix(folder / "intrinsics.txt", (3, 3), _AGAIN)
    camera = Camera.from_opencv(intrinsics, *image.shape[1::-1])
    stored = files.grey(path := _only(folder / depths), _AGAIN)
    if stored.dtype.itemsize < 2:
        raise ValueError(f"{path}: has 8 bits per pixel: a picture of depth, not depth; {_AGAIN}")
    return image, camera, stored.astype(np.uint16), _annotated(folder, camera)


def _decoded(stored: np.ndarray) -> np.ndarray:
    depth_m = ((stored >> 3) | (stored << 13)).astype(np.float32) / 1000
    return np.where(stored > 0, depth_m, np.float32(np.nan))


def _only(folder: Path) -> Path:
    """The file in a folder, the last of several."""
    found = sorted(folder.glob("[!.]*")) if folder.is_dir() else []
    return found[-1] if found else files.there(folder / "*", _AGAIN)


def _annotated(folder: Path, camera: Camera) -> tuple[Box, ...]:
    path = folder / "annotation3Dfinal" / "index.json"
    if not path.is_file():
        return ()
    level = files.matrix(_only(folder / "extrinsics"), (3, 4), _AGAIN)
    cam_from_upright = files.rigid(level, folder / "extrinsics")[:3, :3].T
    try:
        objects = [entry for entry in files.json_of(path)["objects"] if entry]
        solid = [(_called(entry["name"]), entry["polygon"][0]) for entry in objects]
        found = [
            _solid(name, corners, cam_from_upright, camera)
            for name, corners in solid
            if name not in BACKGROUND
        ]
    except (KeyError, TypeError, IndexError) as error:
        raise ValueError(f"{path}: not annotations of SUN RGB-D ({error!r}); {_AGAIN}") from None
    return tuple(box for box in found if box)


def _called(name: str) -> str:
    # "night_stand:truncated" notes something beside the name
    return name.split(":")[0].strip(" _").replace("_", " ")


def _solid(name: str, corners: dict, cam_from_upright: np.ndarray, camera: Camera) -> Box | None:
    x, z = (np.array(corners[axis], float) for axis in "XZ")
    sides = np.hypot(np.diff(x), np.diff(z))[:2]
    height = abs(corners["Ymax"] - corners["Ymin"])
    if len(x) < 4 or not min(*sides, height) > 0:
        return None
    ahead = np.array([x[1] - x[0], 0, z[1] - z[0]]) / sides[0]
    axes = np.column_stack([ahead, [0, 1, 0], np.cross(ahead, [0, 1, 0])])
    middle = [(x[0] + x[2]) / 2, (corners["Ymin"] + corners["Ymax"]) / 2, (z[0] + z[2]) / 2]
    cam_from_box = np.eye(4)
    cam_from_box[:3, :3] = cam_from_upright @ axes
    cam_from_box[:3, 3] = cam_from_upright @ middle
    return solids.on_image(cam_from_box, (sides[0], height, sides[1]), 1, name, camera)


def _calibration(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """(3, 3) Rtilt, level from tilted, with z up, and (3, 3) K."""
    numbers = files.matrix(path, (2, 9), _EXPORT)
    return numbers[0].reshape(3, 3).T, numbers[1].reshape(3, 3).T


def _export(
    frame: _Frame, scale: float
) -> tuple[np.ndarray, Camera, np.ndarray | None, tuple[Box, ...]]:
    """The photo, its camera, (H, W) depth, scaled, where there is any, and the boxes."""
    folder, name = frame.folder, frame.name
    tilt, intrinsics = _calibration(folder / "calib" / f"{name}.txt")
    image = read_rgb(folder / "image" / f"{name}.jpg")
    camera = Camera.from_opencv(intrinsics, *image.shape[1::-1])
    labels, points = folder / "label" / f"{name}.txt", folder / "depth" / f"{name}.mat"
    depth_m = _gridded(points, tilt, camera) * scale if points.is_file() else None
    return image, camera, depth_m, _labelled(labels, tilt, camera) if labels.is_file() else ()


def _tilted(points_m: np.ndarray, tilt: np.ndarray) -> np.ndarray:
    """(N, 3) level points, x right, y forward, z up, in camera coordinates."""
    x, forward, up = (np.asarray(points_m, float) @ tilt).T
    return np.column_stack([x, -up, forward])


def _gridded(path: Path, tilt: np.ndarray, camera: Camera) -> np.ndarray:
    """(H, W) depth of exported points, each of which was one pixel."""
    points = matlab.variable(path, "instance", _EXPORT)
    if points.ndim != 2 or points.shape[1] < 3:
        raise ValueError(f"{path}: needs rows of x, y, z, has shape {points.shape}; {_EXPORT}")
    points = _tilted(points[:, :3], tilt)
    points = points[(points[:, 2] > 0) & (points[:, 2] < FARTHEST_M)]
    # the toolbox counted the first pixel as 1, and let the principal point be as it is
    uv = points[:, :2] / points[:, 2:] * [camera.fx, camera.fy]
    pixels = np.rint(uv + [camera.cx - 1.5, camera.cy - 1.5]).astype(int)
    if not ((pixels >= 0) & (pixels < camera.size)).all():
        raise ValueError(f"{path}: has points outside the photograph, as of another; {_EXPORT}")
    columns, rows = pixels.T
    depth_m = np.full((camera.height, camera.width), np.nan, np.float32)
    depth_m[rows, columns] = points[:, 2]
    return depth_m


def _labelled(path: Path, tilt: np.ndarray, camera: Camera) -> tuple[Box, ...]:
    found = []
    for number, line in enumerate(disk.text(path).splitlines(), 1):
        name, *values = line.split()
        try:
            left, top, width, height, *where = map(float, values)
            centre, half, _ = np.array(where[:3]), np.array(where[3:6]), where[7]
        except (ValueError, IndexError) as error:
            raise ValueError(f"{path}:{number}: not a label ({error}); {_EXPORT}") from None
        low = np.clip([left - 1, top - 1], 0, camera.size)
        high = np.clip([left - 1 + width, top - 1 + height], 0, camera.size)
        if (high > low).all():
            across, along, tall = (2 * np.abs(half)).tolist()
            size = max(across, along), tall, min(across, along)
            middle = tuple(_tilted(centre[None], tilt)[0].tolist())
            found.append(Box(*low.tolist(), *high.tolist(), _called(name), middle, size))
    return tuple(found)
