"""ETH3D's high-resolution photographs: places indoors and out, with depth from a laser scanner.

Schöps et al. 2017, ETH Zurich; CC BY-NC-SA 4.0. Archives of one folder per scene, which fit into
each other:

    <scene>/images/dslr_images/DSC_0286.JPG                6048x4032, as taken
    <scene>/dslr_calibration_jpg/                          COLMAP's text, THIN_PRISM_FISHEYE
    <scene>/ground_truth_depth/dslr_images/DSC_0286.JPG    not a picture: float32, row by row
    <scene>/images/dslr_images_undistorted/DSC_0286.JPG    and dslr_calibration_undistorted, PINHOLE

Traps: depth is that of the photographs as taken, lens and all, in metres along the axis, inf where
the scanner saw nothing; here both are undistorted, see `vlm3.sources.reading.lenses`. A scene may
have several cameras, and each photograph says which. Cameras and poses are aligned with the scans,
so the scale is metres; the points of the reconstruction come from photographs alone.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from vlm3.geometry import Camera, pixel_centres, range_from_depth
from vlm3.sources.reading import Reader, colmap_files, files, units
from vlm3.sources.reading.colmap_files import Registered
from vlm3.views import View

_AGAIN = "download the depth of its scene again"


class Eth3d(Reader):
    """Views with poses and depth; photographs without depth have points of the reconstruction.

    shrink: photographs and their cameras are made so many times smaller before all else. As taken,
    they have a focal length of about 3410 px and 24 million pixels; with 2, enough for any task is
    left. Opening one takes long: expect a few views a second.
    undistorted: the photographs that the publisher undistorted, which have no depth of their own.
    depthlm_compat: `depth_m` is the distance from the camera centre, as in the labels published
    with DepthLM. Those also treat every photograph as one of the first camera, and leave out a part
    of its distortion, which is not done here.
    """

    layout = (
        "<scene>/dslr_calibration_jpg and images/dslr_images, or, with undistorted=True, "
        "dslr_calibration_undistorted and images/dslr_images_undistorted"
    )

    def __init__(
        self,
        root,
        scenes="*",
        frames=(0, None),
        shrink: int = 2,
        undistorted: bool = False,
        depthlm_compat: bool = False,
    ):
        if not isinstance(shrink, int) or shrink < 1:
            raise ValueError(f"shrink must be a whole number from 1, got {shrink!r}")
        self.shrink, self.undistorted, self.depthlm_compat = shrink, undistorted, depthlm_compat
        super().__init__(root, scenes, frames)

    def _frames(self) -> Iterator[Registered]:
        model = f"dslr_calibration_{'undistorted' if self.undistorted else 'jpg'}"
        for path in sorted(self.root.glob(f"*/{model}")):
            scene = path.parent
            for shot in colmap_files.registered(path, scene / "images", scene.name):
                depth = scene / "ground_truth_depth" / shot.photo
                yield replace(shot, depth=str(depth) if depth.is_file() else None)

    def _view(self, frame: Registered) -> View:
        lens = _shrunk(frame, self.shrink).lens()
        image = lens.image(_reduced(frame.image(), self.shrink))
        pose = frame.world_from_cam()
        if frame.depth is None:
            points = colmap_files.points(frame, lens.camera)
            return View(image, lens.camera, points=points, world_from_cam=pose)
        stored = _stored(Path(frame.depth), *frame.size)
        depth_m = units.known(lens.depth(_whole_blocks(stored, self.shrink)))
        if self.depthlm_compat:
            depth_m = _range(depth_m, lens.camera)
        return View(image, lens.camera, depth_m, world_from_cam=pose)


def _shrunk(frame: Registered, by: int) -> Registered:
    if frame.model not in ("PINHOLE", "THIN_PRISM_FISHEYE"):
        raise ValueError(f"ETH3D's cameras are PINHOLE or THIN_PRISM_FISHEYE, not {frame.model}")
    pinhole = (number / by for number in frame.params[:4])
    width, height = frame.size
    return replace(frame, params=(*pinhole, *frame.params[4:]), size=(width // by, height // by))


def _whole_blocks(picture: np.ndarray, side: int) -> np.ndarray:
    """Without the last rows and columns that fill no block of side x side pixels."""
    height, width = picture.shape[:2]
    return picture[: height // side * side, : width // side * side]


def _reduced(image: np.ndarray, by: int) -> np.ndarray:
    """The mean of each block."""
    if by == 1:
        return image
    height, width = image.shape[:2]
    size = width // by, height // by
    return cv2.resize(_whole_blocks(image, by), size, interpolation=cv2.INTER_AREA)


def _stored(path: Path, width: int, height: int) -> np.ndarray:
    """(H, W) float32 as the file has it."""
    whole = 4 * width * height
    if (length := files.there(path, _AGAIN).stat().st_size) != whole:
        raise ValueError(
            f"{path}: {width}x{height} pixels are {whole} bytes, has {length}; {_AGAIN}"
        )
    return np.fromfile(path, "<f4").reshape(height, width)


def _range(depth_m: np.ndarray, camera: Camera) -> np.ndarray:
    return range_from_depth(depth_m, pixel_centres(camera), camera).astype(np.float32)
