"""TartanAir and TartanAir V2: flights through synthetic worlds, with their weather and their dark.

Wang et al. 2020 and 2023, Carnegie Mellon University; CC BY 4.0. As they lie after unpacking:

    <world>/<Easy|Hard>/P000/image_left/000000_left.png            640x480
                             depth_left/000000_left_depth.npy      float, metres
                             pose_left.txt                         a line for each photograph
    <world>/<Data_easy|Data_hard>/P000/image_lcam_front/000000_lcam_front.png         640x640 (V2)
                                       depth_lcam_front/000000_lcam_front_depth.png
                                       pose_lcam_front.txt

Every camera sees 90 degrees from side to side around its exact middle. Depth is z-depth; V2 packs
the four bytes of each float32 into a colour picture, blue, green, red and alpha. Skies have
thousands of metres, here NaN. A pose is tx ty tz qx qy qz qw, world_from_cam in metres, of a camera
whose axes are x forward, y right, z down, in a world with z down. Views have the axes of all views,
x right, y down, z forward; the world stays as it is.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from vlm3 import disk
from vlm3.geometry import Camera
from vlm3.sources.photo import read_rgb
from vlm3.sources.reading import Frame, Reader, files, listed, quaternions, units
from vlm3.views import View

FAR_M = 1000.0  # from here on it is the sky
AHEAD = np.array([[0.0, 0, 1, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]])  # ned_from_cam
CAMERAS = re.compile("left|right|[lr]cam_(front|back|left|right|top|bottom)")
_AGAIN = "unpack it again"


@dataclass(frozen=True)
class _Frame(Frame):
    flight: Path
    camera: str
    number: str

    def file(self, kind: str, ending: str) -> Path:
        """Of this frame, such as depth_left/000000_left_depth.npy."""
        return self.flight / f"{kind}_{self.camera}" / f"{self.number}_{self.camera}{ending}"


class Tartanair(Reader):
    """Views with poses, and depth where the folder has it.

    A scene is a world: its flights cross each other. cameras: which of each flight, by the names of
    their folders, left or right, in V2 lcam_front, rcam_front, lcam_back and so on; those that a
    flight lacks are passed over.
    """

    layout = "<world>/<Easy or Data_easy, ...>/P000/image_left or image_lcam_front"

    def __init__(
        self, root, scenes="*", frames=(0, None), cameras: Sequence[str] = ("left", "lcam_front")
    ):
        self.cameras = listed(cameras)
        if strange := [name for name in self.cameras if not CAMERAS.fullmatch(name)]:
            raise ValueError(
                f"{strange[0]!r} is no pinhole camera of TartanAir: left, right, lcam_front, "
                "rcam_front, lcam_back, ..."
            )
        super().__init__(root, scenes, frames)

    def _frames(self) -> Iterator[_Frame]:
        # some downloads put every world into a folder of its own name
        flights = (p for up in ("*/*", "*/*/*") for p in self.root.glob(f"{up}/P[0-9]*"))
        for flight in sorted(flights):
            below = flight.relative_to(self.root)
            for camera in self.cameras:
                ending = f"_{camera}.png"
                for path in sorted((flight / f"image_{camera}").glob(f"*{ending}")):
                    number = path.name.removesuffix(ending)
                    name = f"{below.as_posix()}/{number}_{camera}"
                    yield _Frame(below.parts[0], name, flight, camera, number)

    def _view(self, frame: _Frame) -> View:
        image = read_rgb(frame.file("image", ".png"))
        height, width = image.shape[:2]
        camera = Camera(width / 2, width / 2, width / 2, height / 2, width, height)
        path = frame.flight / f"pose_{frame.camera}.txt"
        poses, line = _poses(path), int(frame.number)
        if line >= len(poses):
            raise ValueError(
                f"{path}: has {len(poses)} poses, none for photograph {line}; {_AGAIN}"
            )
        return View(image, camera, _depth(frame), world_from_cam=poses[line] @ AHEAD)


@lru_cache(maxsize=64)
def _poses(path: Path) -> np.ndarray:
    """(N, 4, 4) world_from_cam, of a camera that looks along its x."""
    try:
        found = np.array(disk.text(files.there(path, _AGAIN)).split(), float).reshape(-1, 7)
        return quaternions.poses(found[:, [6, 3, 4, 5]], found[:, :3])
    except ValueError as error:
        raise ValueError(f"{path}: needs lines of tx ty tz qx qy qz qw ({error})") from None


def _depth(frame: _Frame) -> np.ndarray | None:
    packed, plain = frame.file("depth", "_depth.png"), frame.file("depth", "_depth.npy")
    if not packed.parent.is_dir():
        return None
    stored = _unpacked(packed) if packed.is_file() else _array(files.there(plain, _AGAIN))
    return units.known(stored, far_m=FAR_M)


def _array(path: Path) -> np.ndarray:
    try:
        return np.load(path)
    except Exception as error:  # on broken files numpy raises nearly anything
        raise ValueError(
            f"{path}: not an array that can be read whole ({error}); {_AGAIN}"
        ) from None


def _unpacked(path: Path) -> np.ndarray:
    """(H, W) float32 of a picture whose bytes are blue, green, red, alpha."""
    rgba = files.raster(path, _AGAIN)
    if rgba.shape[2:] != (4,):
        raise ValueError(f"{path}: has shape {rgba.shape}, not the four bytes of floats; {_AGAIN}")
    return np.ascontiguousarray(rgba[..., [2, 1, 0, 3]]).view("<f4")[..., 0]
