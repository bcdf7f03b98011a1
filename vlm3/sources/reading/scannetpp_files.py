"""What a scene of ScanNet++ has of each of its two cameras; see `vlm3.sources.scannetpp`."""

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from vlm3.sources.photo import read_rgb
from vlm3.sources.reading import colmap_files, files, transforms, units
from vlm3.sources.reading.extras import need
from vlm3.sources.reading.transforms import GL_FROM_CAM, Shot

PHOTOS = {"dslr": "resized_images", "iphone": "rgb"}
FILMS = "rgb.mkv", "rgb.mp4"
PHONE = 1920, 1440  # pixels of its photographs, which its own table does not tell
DEPTH = 192, 256  # rows and columns of its depth
MM = 1000
# transforms.json has cameras that look along -z with y up, in a world of other axes than the scans'
SCAN_FROM_WORLD = np.array([[0.0, 1, 0, 0], [1, 0, 0, 0], [0, 0, -1, 0], [0, 0, 0, 1]])
_EXTRACT = "extract it with iphone/prepare_iphone_data.py of the publisher's toolkit"


def shots(folder: Path) -> Iterator[Shot]:
    """The photographs of <scene>/dslr or <scene>/iphone that have a pose, by their names.

    Poses are world_from_cam in the world of the scans, with x right, y down, z forward; photo and
    depth are files in the folder: of this frame, or a film or depth.bin of all frames.
    FileNotFoundError for a folder without poses or without photographs.
    """
    photos, depths = _by_stem(folder, PHOTOS[folder.name]), _by_stem(folder, "depth")
    rendered = _by_stem(folder, "render_depth")
    film = next((name for name in FILMS if (folder / name).is_file()), None)
    block = "depth.bin" if (folder / "depth.bin").is_file() else None
    if not (photos or film):
        raise FileNotFoundError(f"{folder / PHOTOS[folder.name]}: no photographs; download them")
    for shot in sorted(_posed(folder), key=lambda shot: Path(shot.photo).stem):
        stem = Path(shot.photo).stem
        if photo := photos.get(stem, film):
            depth = depths.get(stem) or block or rendered.get(stem)
            where = {"scene": folder.parent.name, "folder": folder, "photo": photo, "depth": depth}
            yield replace(shot, name=f"{folder.parent.name}/{folder.name}/{stem}", **where)


def photograph(shot: Shot) -> np.ndarray:
    """(H, W, 3) uint8, of the lens as it is."""
    path = shot.inside(shot.photo)
    return _of_film(path, _number(shot)) if shot.photo in FILMS else read_rgb(path)


def depth(shot: Shot) -> np.ndarray | None:
    """(h, w) float32 z-depth in metres, NaN unknown, in as many pixels as it has."""
    if shot.depth is None:
        return None
    path = shot.inside(shot.depth)
    return _of_block(path, _number(shot)) if path.suffix == ".bin" else files.depth_png(path, MM)


def _by_stem(folder: Path, kind: str) -> dict[str, str]:
    """frame_000010: depth/frame_000010.png, for all files of a folder."""
    if not (folder / kind).is_dir():
        return {}
    return {path.stem: f"{kind}/{path.name}" for path in (folder / kind).iterdir()}


def _number(shot: Shot) -> int:
    return int(shot.name.rsplit("_", 1)[1])


def _posed(folder: Path) -> Iterable[Shot]:
    """With world_from_cam, from the table that the publisher refined last."""
    if (path := folder / "nerfstudio" / "transforms.json").is_file():
        return _exported(path)
    if colmap_files.holds_model(folder / "colmap"):
        return colmap_files.shots(folder / "colmap", folder, folder.parent.name)
    if (path := folder / "pose_intrinsic_imu.json").is_file():
        return _tracked(path)
    raise FileNotFoundError(
        f"{folder}: has neither nerfstudio/transforms.json nor colmap (nor, of a phone, "
        "pose_intrinsic_imu.json), so no poses; download one of them"
    )


def _exported(path: Path) -> Iterator[Shot]:
    told = files.json_of(path)
    if isinstance(told, dict):
        both = (*told.get("frames", ()), *told.get("test_frames", ()))
        told["frames"] = [frame for frame in both if not frame.get("is_bad")]
    for shot in transforms.shots(told, path, "depth_file_path", half=0.0):
        pose = SCAN_FROM_WORLD @ np.reshape(shot.pose, (4, 4)) @ GL_FROM_CAM
        yield replace(shot, pose=tuple(pose.ravel().tolist()))


def _tracked(path: Path) -> Iterator[Shot]:
    """As the phone itself knew, whose principal point counts from pixel centres."""
    for name, told in files.json_of(path).items():
        try:
            fx, _, cx, _, fy, cy, *_ = np.array(told["intrinsic"], float).ravel().tolist()
            pose = np.array(told["aligned_pose"], float).reshape(16).tolist()
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{path}, {name}: needs intrinsic and aligned_pose ({error}); download it again"
            ) from None
        params = fx, fy, cx + 0.5, cy + 0.5
        yield Shot("", name, path.parent, name, None, "PINHOLE", params, PHONE, tuple(pose))


def _of_film(path: Path, number: int) -> np.ndarray:
    film = cv2.VideoCapture(str(path))
    film.set(cv2.CAP_PROP_POS_FRAMES, number)
    there, picture = film.read()
    film.release()
    if not there:
        raise ValueError(f"{path}: frame {number} cannot be read; {_EXTRACT}")
    return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)


def _of_block(path: Path, number: int) -> np.ndarray:
    """A frame of depth.bin."""
    if number >= len(parts := _parts(path)):
        raise ValueError(f"{path}: has {len(parts)} frames, frame {number} is needed; {_EXTRACT}")
    start, size = parts[number]
    with open(path, "rb") as file:
        file.seek(start)
        packed = file.read(size)
    try:
        return units.known(_unpacked(packed).reshape(DEPTH))
    except ValueError as error:
        raise ValueError(f"{path}: frame {number} is broken ({error}); {_EXTRACT}") from None


def _unpacked(packed: bytes) -> np.ndarray:
    """Metres: of older scenes, floats in metres behind zlib; else 16 bits in mm behind lz4."""
    try:
        return np.frombuffer(zlib.decompress(packed, -zlib.MAX_WBITS), np.float32)
    except zlib.error:
        lz4 = need("lz4.block")
    try:
        plain = lz4.decompress(packed, uncompressed_size=2 * DEPTH[0] * DEPTH[1])
    except lz4.LZ4BlockError as error:
        raise ValueError(error) from None
    return np.frombuffer(plain, np.uint16) / np.float32(MM)


@lru_cache(maxsize=64)
def _parts(path: Path) -> list[tuple[int, int]]:
    """First byte and length of each frame, before which its length is told."""
    found, whole = [], path.stat().st_size
    with open(path, "rb") as file:
        while told := file.read(4):
            found.append((file.tell(), int.from_bytes(told, "little")))
            if sum(found[-1]) > whole:
                raise ValueError(f"{path}: not packed frame by frame, or cut short; {_EXTRACT}")
            file.seek(sum(found[-1]))
    return found
