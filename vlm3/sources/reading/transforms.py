"""Scenes as one json file of frames: nerfstudio's transforms.json, and WAI's, made after it.

What is said once at the top holds for every frame that does not say it itself: `fl_x`, `fl_y`,
`cx`, `cy`, `w`, `h`, `camera_model` and its numbers k1 ... p2. Each frame has `file_path` and
`transform_matrix`, world_from_cam in the axes of its format.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vlm3.sources.photo import read_rgb
from vlm3.sources.reading import Frame, files
from vlm3.sources.reading.lenses import Lens, lens

PERSPECTIVE = {"SIMPLE_PINHOLE", "PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV"}
GL_FROM_CAM = np.diag([1.0, -1, -1, 1])  # of cameras that look along -z with y up
BENDS = "k1", "k2", "k3", "k4", "p1", "p2"
_AGAIN = "export it again"


@dataclass(frozen=True)
class Shot(Frame):
    """A frame of such a file. photo, depth: their names, as seen from `folder`; None for no depth;
    model, params: of its lens, as COLMAP has them; size: width and height in pixels; pose: the 16
    numbers of world_from_cam, row by row, in the axes of its format."""

    folder: Path
    photo: str
    depth: str | None
    model: str
    params: tuple[float, ...]
    size: tuple[int, int]
    pose: tuple[float, ...]

    def lens(self) -> Lens:
        return lens(self.model, self.params, *self.size)

    def image(self) -> np.ndarray:
        """(H, W, 3) uint8, as stored."""
        return read_rgb(self.inside(self.photo))

    def inside(self, name: str) -> Path:
        """A file of the scene; ValueError for one outside its folder."""
        return files.inside(self.folder, name, self.name)

    def world_from_cam(self) -> np.ndarray:
        """4x4, in the axes of its format."""
        return files.rigid(np.reshape(self.pose, (4, 4)), f"{self.folder}, {self.photo}")


def tables(root: Path, name: str) -> list[Path]:
    """The json file of root, where it is a scene, and those of the folders in it."""
    return [path for path in (root / name, *sorted(root.glob(f"*/{name}"))) if path.is_file()]


def shots(told: Any, path: Path, depth: str, half: float) -> Iterator[Shot]:
    """All frames of a file.

    told: what it says; depth: by which name frames say where their depth is; half: what principal
    points need to count from the corner of the picture, 0.5 where they count from pixel centres.
    ValueError, naming file and frame, for anything that is not as above.
    """
    if not isinstance(told, dict) or not isinstance(told.get("frames"), list):
        raise ValueError(f"{path}: has no frames; {_AGAIN}")
    shared = {key: value for key, value in told.items() if key != "frames"}
    for number, frame in enumerate(told["frames"]):
        try:
            yield _shot({**shared, **frame}, path.parent, depth, half)
        except KeyError as error:
            raise ValueError(f"{path}, frame {number}: needs {error}; {_AGAIN}") from None
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path}, frame {number}: {error}; {_AGAIN}") from None


def _shot(told: Mapping[str, Any], folder: Path, depth: str, half: float) -> Shot:
    scene, photo = folder.resolve().name, told["file_path"]
    if not isinstance(photo, str):
        raise ValueError(f"file_path must be the name of a photograph, got {photo!r}")
    pose = np.eye(4)
    pose[:3] = np.array(told["transform_matrix"], float).reshape(-1, 4)[:3]
    # positions were multiplied by it, depth was not
    pose[:3, 3] /= told.get("applied_scale", 1)
    size = int(told["w"]), int(told["h"])
    model = _model(told, half)
    where = folder, photo, told.get(depth)
    return Shot(scene, f"{scene}/{photo}", *where, *model, size, tuple(pose.ravel().tolist()))


def _model(told: Mapping[str, Any], half: float) -> tuple[str, tuple[float, ...]]:
    """COLMAP's name of the lens, and its numbers."""
    name = told.get("camera_model", "OPENCV")
    middle = float(told["cx"]) + half, float(told["cy"]) + half
    pinhole = float(told["fl_x"]), float(told["fl_y"]), *middle
    k1, k2, k3, k4, p1, p2 = (float(told.get(name, 0)) for name in BENDS)
    if name == "OPENCV_FISHEYE":
        return name, (*pinhole, k1, k2, k3, k4)
    if name not in PERSPECTIVE:
        raise ValueError(f"camera_model {name!r} is no lens of photographs that is known here")
    if k4:
        raise ValueError(f"k4 = {k4} of {name} means different things to different programs")
    if k3:
        return "FULL_OPENCV", (*pinhole, k1, k2, p1, p2, k3, 0.0, 0.0, 0.0)
    if k1 or k2 or p1 or p2:
        return "OPENCV", (*pinhole, k1, k2, p1, p2)
    return "PINHOLE", pinhole
