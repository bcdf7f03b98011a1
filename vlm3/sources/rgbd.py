"""Folders of RGB-D frames with poses, as 7-Scenes lays them out.

Shotton et al. 2013, Microsoft Research; research only. A folder, or each folder below it, holds
`frame-000000.color.png` (or .jpg), beside it `.depth.png` (16 bits, millimetres, 0 and 65535
unknown), `.pose.txt` (4x4 world_from_cam, x right, y down, z forward, metres), and, for objects,
`.label.png` (the same number wherever the same object is seen, 0 for none). The camera is that of
`camera-intrinsics.txt` (3x3, principal point counted from pixel centres) in the folder or one above
it, else what a calibrator says of the photograph, where one is named (`vlm3.sources.calibrate`),
else, at 640x480, the nominal one of 7-Scenes. `meta.json` may say `depth_units_per_m` and
`invalid`.

The depth of 7-Scenes is that of the Kinect's own camera, some pixels beside the photograph.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from vlm3.geometry import Camera
from vlm3.sources import calibrate as calibrators
from vlm3.sources.boxed import outlined
from vlm3.sources.photo import Photo, read_photo
from vlm3.sources.reading import Frame, Reader, files
from vlm3.views import View

SIZE = 640, 480
NOMINAL = np.array([[585.0, 0, 320], [0, 585, 240], [0, 0, 1]])  # of 7-Scenes
WRITTEN = "write fx 0 cx, 0 fy cy, 0 0 1 into it"
_SEQUENCE = re.compile(r"seq-\d+")  # as 7-Scenes names those of one place
_NAME = re.compile(r"(frame-\d+)\.color\.(png|jpg)")


@dataclass(frozen=True)
class _Frame(Frame):
    photo: Path

    def beside(self, ending: str) -> Path | None:
        """The file of this frame with another ending, where there is one."""
        path = self.photo.with_name(self.photo.name.split(".")[0] + ending)
        return path if path.is_file() else None


class Rgbd(Reader):
    """Views with depth, poses and boxes where the folder has them; boxes need depth.

    A scene is the first folder below root, or root itself where the frames, or the sequences of one
    place of 7-Scenes, `seq-01` and so on, lie in it: all its poses are of one world. objects:
    (first, last, step): labels from first to last are objects, each of which has `step` numbers;
    without it no label is read. calibrate: the name of a calibrator, for photographs without
    camera-intrinsics.txt.
    """

    layout = "frame-000000.color.png and so on, or with folders of them"

    def __init__(
        self,
        root,
        scenes="*",
        frames=(0, None),
        objects: tuple[int, int, int] | None = None,
        calibrate: str | None = None,
    ):
        if objects is not None and (not isinstance(objects, Sequence) or len(objects) != 3):
            raise ValueError(f"objects is (first, last, step), as of labels, got {objects!r}")
        self.objects, self.calibrate = objects, calibrate
        super().__init__(root, scenes, frames)

    def _frames(self) -> Iterator[_Frame]:
        for path in sorted(self.root.rglob("frame-*.color.*")):
            if found := _NAME.fullmatch(path.name):
                below = path.parent.relative_to(self.root)
                inner = below.parts and not _SEQUENCE.fullmatch(below.parts[0])
                scene = below.parts[0] if inner else self.root.resolve().name
                yield _Frame(scene, (below / found[1]).as_posix(), path)

    def _view(self, frame: _Frame) -> View:
        photo = read_photo(frame.photo, as_stored=True, panoramas=True)
        height, width = photo.image.shape[:2]
        camera = self._camera(photo, width, height)
        depth_m = self._depth(frame)
        if depth_m is not None and depth_m.shape != (height, width):
            raise ValueError(
                f"{frame.beside('.depth.png')}: is {depth_m.shape[1]}x{depth_m.shape[0]}, its "
                f"photograph {width}x{height}: bring both to one camera and one size"
            )
        view = View(photo.image, camera, depth_m, world_from_cam=_pose(frame))
        labels = frame.beside(".label.png") if self.objects else None
        if labels is None or view.depth_m is None:
            return view
        return replace(view, boxes=outlined(view, _objects(labels, view.size, *self.objects)))

    def _camera(self, photo: Photo, width: int, height: int) -> Camera:
        for place in photo.path.parents:
            if (path := place / "camera-intrinsics.txt").is_file():
                return Camera.from_opencv(files.matrix(path, (3, 3), WRITTEN), width, height)
            if place == self.root:
                break
        if self.calibrate:
            return photo.camera(calibrators.get(self.calibrate).focal(photo).focal_px)
        if (width, height) != SIZE:
            raise ValueError(
                f"{photo.path}: is {width}x{height}, so not as 7-Scenes has it, and no "
                f"camera-intrinsics.txt lies beside it or in a folder above: {WRITTEN}, or name a "
                "calibrator, such as calibrate = 'exif'"
            )
        return Camera.from_opencv(NOMINAL, width, height)

    def _depth(self, frame: _Frame) -> np.ndarray | None:
        if (path := frame.beside(".depth.png")) is None:
            return None
        meta = path.with_name("meta.json")
        told = files.json_of(meta) if meta.is_file() else {}
        per_m, unknown = told.get("depth_units_per_m", 1000), told.get("invalid", [0, 65535])
        if not isinstance(per_m, int | float) or not per_m > 0:
            raise ValueError(f"{meta}: depth_units_per_m must be a number above 0, got {per_m!r}")
        return files.depth_png(path, per_m, unknown)


def _pose(frame: _Frame) -> np.ndarray | None:
    if (path := frame.beside(".pose.txt")) is None:
        return None
    pose = files.matrix(path, (4, 4), "take the pose files of the publisher")
    lost = not np.isfinite(pose).all()  # as trackers write where they knew nothing
    return None if lost else files.rigid(pose, path)


def _objects(path: Path, size: tuple[int, int], first: int, last: int, step: int) -> np.ndarray:
    """(H, W) whole numbers: which object each pixel shows, from 1; 0 for none."""
    labels = files.grey(path).astype(int)
    if labels.shape[::-1] != size:
        raise ValueError(f"{path}: is {labels.shape[::-1]}, its photograph {size}: resize it")
    return np.where((labels >= first) & (labels <= last), (labels - first) // step + 1, 0)
