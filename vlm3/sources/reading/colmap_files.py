"""Reconstructions as COLMAP writes them, text or binary, of any version: cameras, images, points.

Newer versions add rigs and frames, but still write the pose of every image. Pixels of COLMAP count
from the outer corner of the top-left one, as everywhere in this package; quaternions have w first;
poses are cam_from_world with x right, y down, z forward.
"""

import mmap
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from vlm3.geometry import Camera, invert, project, transform
from vlm3.sources.reading import files
from vlm3.sources.reading.quaternions import poses
from vlm3.sources.reading.transforms import Shot

MODELS = (  # by their numbers: name, count of parameters
    *(("SIMPLE_PINHOLE", 3), ("PINHOLE", 4), ("SIMPLE_RADIAL", 4), ("RADIAL", 5), ("OPENCV", 8)),
    *(("OPENCV_FISHEYE", 8), ("FULL_OPENCV", 12), ("FOV", 5), ("SIMPLE_RADIAL_FISHEYE", 4)),
    *(("RADIAL_FISHEYE", 5), ("THIN_PRISM_FISHEYE", 12), ("RAD_TAN_THIN_PRISM_FISHEYE", 16)),
    *(("SIMPLE_DIVISION", 4), ("DIVISION", 5), ("SIMPLE_FISHEYE", 3), ("FISHEYE", 4)),
    *(("EUCM", 6), ("EQUIRECTANGULAR", 2)),
)
_AGAIN = "export the model again"
_OBSERVED = np.dtype([("xy", "<f8", 2), ("id", "<i8")])


@dataclass(frozen=True)
class Registered(Shot):
    """A photograph of a reconstruction. model_folder: of its files; observed: where images.bin or
    images.txt tells what it sees: the first byte, and how many points or bytes."""

    model_folder: Path
    observed: tuple[int, int]


def holds_model(folder: Path) -> bool:
    return any((folder / f"cameras{ending}").is_file() for ending in (".bin", ".txt"))


def shots(model: Path, photos: Path, scene: str) -> list[Registered]:
    """The photographs of a reconstruction, by their names, in the folder `photos` or not.

    FileNotFoundError where a file of the model is missing; ValueError, naming the file, for one
    that is cut short or holds something else.
    """
    cameras, images = _cameras(_of(model, "cameras")), _images(_of(model, "images"))
    return [_shot(image, cameras, model, photos, scene) for image in sorted(images)]


def registered(model: Path, photos: Path, scene: str) -> list[Registered]:
    """As `shots`, those that are in their folder; FileNotFoundError where none of them is."""
    told = shots(model, photos, scene)
    found = [shot for shot in told if shot.inside(shot.photo).is_file()]
    if told and not found:
        raise FileNotFoundError(
            f"{photos}: has none of the {len(told)} photographs of {model}, such as "
            f"{told[0].photo}; say where they are, as seen from the folder of the scene, such as "
            'images="../images"'
        )
    return found


def points(shot: Registered, camera: Camera) -> np.ndarray | None:
    """(N, 3) u, v, z of the points that were found in a photograph, z in units of the model.

    camera: of the undistorted photograph. None where the model has no points, or none for it.
    """
    path = _of(shot.model_folder, "points3D", needed=False)
    seen = _seen(shot) if path.is_file() else ()
    if not len(seen):
        return None
    known, places = _points(path)
    world = places[np.isin(known, seen)]
    cam = transform(invert(shot.world_from_cam()), world)
    uv = project(cam, camera)  # NaN behind it
    return np.column_stack([uv, cam[:, 2]])[((uv >= 0) & (uv < camera.size)).all(1)]


def _of(folder: Path, name: str, needed: bool = True) -> Path:
    path = folder / f"{name}.bin"  # which COLMAP, too, prefers
    path = path if path.is_file() else path.with_suffix(".txt")
    return files.there(path, _AGAIN) if needed else path


@dataclass(frozen=True, order=True)
class _Image:
    name: str
    pose: tuple[float, ...]  # quaternion and translation of cam_from_world
    camera: int
    observed: tuple[int, int]


def _shot(image: _Image, cameras: dict, model: Path, photos: Path, scene: str) -> Registered:
    if image.camera not in cameras:
        raise ValueError(f"{model}: {image.name} has camera {image.camera}, which is not there")
    pose = invert(poses(image.pose[:4], image.pose[4:]))
    lens = cameras[image.camera]
    where = f"{scene}/{image.name}", photos, image.name, None
    return Registered(scene, *where, *lens, tuple(pose.ravel().tolist()), model, image.observed)


@contextmanager
def _whole(path: Path) -> Iterator[mmap.mmap]:
    """A file without reading all of it; errors of those who read it name it."""
    try:
        with (
            open(path, "rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as stored,
        ):
            yield stored
    except (ValueError, IndexError, EOFError, struct.error) as error:
        raise ValueError(f"{path}: not whole as COLMAP writes it ({error}); {_AGAIN}") from None


def _cameras(path: Path) -> dict[int, tuple[str, tuple[float, ...], tuple[int, int]]]:
    """Model, parameters and size of each camera."""
    found = {}
    with _whole(path) as stored:
        for number, model, width, height, params in _lenses(stored, path.suffix == ".bin"):
            found[number] = model, tuple(params), (width, height)
    return found


def _lenses(stored: mmap.mmap, binary: bool) -> Iterator[tuple]:
    if not binary:
        for line in _lines(stored):
            number, model, width, height, *params = line.split()
            yield int(number), model.decode(), int(width), int(height), map(float, params)
        return
    at = 8
    for _ in range(*struct.unpack_from("<Q", stored)):
        number, model, width, height = struct.unpack_from("<IiQQ", stored, at)
        name, count = MODELS[model]
        yield number, name, width, height, struct.unpack_from(f"<{count}d", stored, at + 24)
        at += 24 + 8 * count


def _images(path: Path) -> Iterator[_Image]:
    with _whole(path) as stored:
        yield from (_binary if path.suffix == ".bin" else _text)(stored)


def _binary(stored: mmap.mmap) -> Iterator[_Image]:
    at = 8
    for _ in range(*struct.unpack_from("<Q", stored)):
        _, *pose, camera = struct.unpack_from("<I7dI", stored, at)
        if (end := stored.find(b"\0", at := at + 64)) < 0:
            raise EOFError("a name has no end")
        (count,) = struct.unpack_from("<Q", stored, end + 1)
        yield _Image(stored[at:end].decode(), tuple(pose), camera, (end + 9, count))
        at = end + 9 + _OBSERVED.itemsize * count
    if at > len(stored):
        raise EOFError("the last image is cut short")


def _text(stored: mmap.mmap) -> Iterator[_Image]:
    for line in _lines(stored):
        _, *pose, camera, name = line.split(maxsplit=9)
        start = stored.tell()  # of the line of what it sees, which may be empty
        length = len(stored.readline())
        pose = tuple(map(float, pose))
        yield _Image(name.strip().decode(), pose, int(camera), (start, length))


def _seen(shot: Registered) -> np.ndarray:
    """Numbers of the points that a photograph sees."""
    path, (start, count) = _of(shot.model_folder, "images"), shot.observed
    if path.suffix == ".bin":
        found = np.fromfile(path, _OBSERVED, count, offset=start)["id"]
    else:
        with open(path, "rb") as file:
            file.seek(start)
            found = np.array(file.read(count).split()[2::3], np.int64)
    return found[found >= 0]


@lru_cache(maxsize=16)
def _points(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """(N,) numbers and (N, 3) places in the world."""
    with _whole(path) as stored:
        found = list((_solid if path.suffix == ".bin" else _told)(stored))
    table = np.array(found, dtype=np.dtype([("id", "i8"), ("xyz", "f8", 3)]))
    return table["id"], table["xyz"]


def _solid(stored: mmap.mmap) -> Iterator[tuple]:
    at = 8
    for _ in range(*struct.unpack_from("<Q", stored)):
        number, x, y, z, _, _, _, _, track = struct.unpack_from("<Q3d3BdQ", stored, at)
        yield number, (x, y, z)
        at += 51 + 8 * track


def _told(stored: mmap.mmap) -> Iterator[tuple]:
    for line in _lines(stored):
        number, x, y, z, _ = line.split(maxsplit=4)
        yield int(number), (float(x), float(y), float(z))


def _lines(stored: mmap.mmap) -> Iterator[bytes]:
    """Those that say something; what is read in between is left out."""
    while line := stored.readline():
        if line.strip() and not line.startswith(b"#"):
            yield line
