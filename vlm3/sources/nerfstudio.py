"""Captures in nerfstudio's layout: a folder with `transforms.json` and photographs.

Tancik et al. 2023, UC Berkeley; ns-process-data writes it, and so do Polycam, Record3D, ScanNet++
and others. A folder, or each folder in it, holds `transforms.json`: intrinsics for all frames, or
for each; `camera_model` OPENCV or OPENCV_FISHEYE with its k1 ... p2; and for each frame
`file_path`, `transform_matrix` and perhaps `depth_file_path`: 16 bits, z-depth in thousandths of a
unit, of any resolution, 0 unknown.

Traps: transform_matrix is world_from_cam of a camera that looks along -z with y up; views have the
axes of all views. Principal points count from the corner of the picture, as COLMAP's do. What was
done to the world, `applied_transform`, moves all cameras alike and stays; `applied_scale` was done
to positions alone and is undone, so that they fit the depth. Units are metres for phones with a
depth sensor, and anything for photographs that went through COLMAP: the file does not say.
Photographs come through a lens that bends; here they are undistorted, see
`vlm3.sources.reading.lenses`.
"""

from collections.abc import Iterator

from vlm3.sources.reading import Reader, files, units
from vlm3.sources.reading.transforms import GL_FROM_CAM, Shot, shots, tables
from vlm3.views import View

PER_UNIT = 1000  # of depth pictures


class Nerfstudio(Reader):
    """Views with poses, and depth where frames name it.

    A scene is a folder with its transforms.json; frames are in the order of their names. scale_m:
    metres per unit: 1 for captures in metres. None, where nobody knows: then views are not metric.
    """

    layout = "transforms.json, or with folders that hold one each"
    metric = False

    def __init__(self, root, scenes="*", frames=(0, None), scale_m: float | None = None):
        self.scale_m = units.unit(scale_m)
        self.metric = scale_m is not None
        super().__init__(root, scenes, frames)

    def _frames(self) -> Iterator[Shot]:
        for path in tables(self.root, "transforms.json"):
            found = shots(files.json_of(path), path, "depth_file_path", half=0.0)
            yield from sorted(found, key=lambda shot: shot.photo)

    def _view(self, frame: Shot) -> View:
        lens, depth_m = frame.lens(), None
        if frame.depth is not None:
            path = frame.inside(frame.depth)
            depth_m = lens.depth(files.depth_png(path, PER_UNIT / self.scale_m))
        pose = units.scaled(frame.world_from_cam() @ GL_FROM_CAM, self.scale_m)
        return View(lens.image(frame.image()), lens.camera, depth_m, world_from_cam=pose)
