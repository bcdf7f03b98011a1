"""ScanNet++: a thousand rooms, each with photographs of a camera and a film of a phone.

Yeshwanth et al. 2023, TU Munich; research only, after registration. As the publisher lays it out,
and its toolkit adds to it:

    data/<scene>/dslr/resized_images/DSC00001.JPG       1752x1168, through a fisheye
    data/<scene>/dslr/nerfstudio/transforms.json        its lens, and poses; or colmap/
    data/<scene>/dslr/render_depth/DSC00001.png         toolkit: of the scan, 16 bits, millimetres
    data/<scene>/iphone/rgb/frame_000000.jpg            toolkit: 1920x1440; else rgb.mkv or .mp4
    data/<scene>/iphone/depth/frame_000000.png          toolkit: 256x192, millimetres; or depth.bin
    data/<scene>/iphone/nerfstudio/transforms.json      or colmap/: frames with refined poses
    data/<scene>/iphone/pose_intrinsic_imu.json         else: what the phone itself knew of all

Traps: transforms.json has other axes than the scans, in camera and world; both are undone, so that
photographs of both cameras stand in one world, that of the scans. Photographs that it calls bad
(blurred) are left out. Principal points of COLMAP count from the corner, those of the phone from
pixel centres. Lenses are undistorted here, see `vlm3.sources.reading.lenses`. Depth of the phone is
filled in where its laser saw nothing, and reaches some 5 m; each of its pixels covers 7.5x7.5 of
the photograph. A film must be decoded up to a frame: extract what you train on. Masks of what was
made unrecognisable are not applied.
"""

from collections.abc import Iterator

import numpy as np

from vlm3.geometry import Camera, pixel_centres, rays
from vlm3.sources.reading import Reader, scannetpp_files
from vlm3.sources.reading.lenses import Lens
from vlm3.sources.reading.transforms import Shot
from vlm3.views import View

DEPTHLM = np.array([[1427.4375, 0, 959.5], [0, 1427.4375, 719.5], [0, 0, 1]])  # of every frame


class Scannetpp(Reader):
    """Views with poses, and depth where it is: the phone's own, else that of the scan.

    part: "dslr" or "iphone". depthlm_compat: views of the phone as in the labels published with
    DepthLM: photographs as they are, one camera for all, and a "distance" of sqrt(x^2 + y^2 + z^2)
    in which x and y are of the ray of depth one, that is, nearly the depth. Those labels also have
    numbers where depth is unknown, which it stays here.
    """

    layout = "data/<scene>/dslr or, with part='iphone', data/<scene>/iphone"

    def __init__(
        self, root, scenes="*", frames=(0, None), part: str = "dslr", depthlm_compat: bool = False
    ):
        if part not in scannetpp_files.PHOTOS:
            raise ValueError(f"part must be 'dslr' or 'iphone', got {part!r}")
        if depthlm_compat and part != "iphone":
            raise ValueError("DepthLM has labels of the phone alone: give part='iphone'")
        self.part, self.depthlm_compat = part, depthlm_compat
        super().__init__(root, scenes, frames)

    def _frames(self) -> Iterator[Shot]:
        data = self.root / "data"
        for folder in sorted((data if data.is_dir() else self.root).glob(f"*/{self.part}")):
            yield from scannetpp_files.shots(folder)

    def _view(self, frame: Shot) -> View:
        image, depth_m = scannetpp_files.photograph(frame), scannetpp_files.depth(frame)
        lens = frame.lens()
        if self.depthlm_compat:
            size = image.shape[1::-1]
            lens = Lens(Camera.from_opencv(DEPTHLM, *scannetpp_files.PHONE).resized(*size), size)
        if depth_m is not None:
            depth_m = lens.depth(depth_m)
            if self.depthlm_compat:
                depth_m = _nearly_depth(depth_m, lens.camera)
        pose = frame.world_from_cam()
        return View(lens.image(image), lens.camera, depth_m, world_from_cam=pose)


def _nearly_depth(depth_m: np.ndarray, camera: Camera) -> np.ndarray:
    x, y, _ = np.moveaxis(rays(pixel_centres(camera), camera), -1, 0)
    return np.sqrt(x**2 + y**2 + depth_m**2).astype(np.float32)
