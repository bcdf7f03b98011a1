"""Data sets in the format of MapAnything, WAI: ETH3D, ScanNet++, TartanAir V2 and a dozen others.

Keetha et al. 2025, Meta; the format is Apache-2.0, each data set keeps its own terms. A folder of
scenes, or one scene:

    <scene>/scene_meta.json      or scene_meta_distorted.json: intrinsics, poses, names of files
    <scene>/images/<frame>.png   or .jpg
    <scene>/depth/<frame>.exr    one channel, z-depth, 0 unknown

`scene_meta.json` is nerfstudio's transforms.json but for this: transform_matrix is world_from_cam
of a camera with x right, y down, z forward (`camera_convention` is "opencv"), and depth is named by
`frame_modalities`. `scale_type` says whether lengths are metres. Principal points are taken to
count from pixel centres, as MapAnything's code does; its converters keep what the source had, so
those of sets that come from COLMAP may be half a pixel off.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from vlm3.sources.reading import Reader, files, units
from vlm3.sources.reading.extras import need
from vlm3.sources.reading.transforms import Shot, shots, tables
from vlm3.views import View

_AGAIN = "download it again"


class Wai(Reader):
    """Views with poses, and depth where frames have it.

    depth: which depth of several, by its name in `frame_modalities`, such as pred_depth. Views are
    metric where `scale_type` of every chosen scene is "metric".
    """

    layout = "scene_meta.json, or with folders that hold one each"

    def __init__(self, root, scenes="*", frames=(0, None), depth: str = "depth"):
        self.depth = depth
        self._scales: dict[str, Any] = {}
        super().__init__(root, scenes, frames)
        self.metric = all(self._scales[scene] == "metric" for scene in self.scenes)

    def _frames(self) -> Iterator[Shot]:
        found = {}
        for name in ("scene_meta_distorted.json", "scene_meta.json"):  # where both are, the second
            found |= {path.parent: path for path in tables(self.root, name)}
        for path in sorted(found.values()):
            told = files.json_of(path)
            key = self._key(told, path)
            for shot in shots(told, path, key, half=0.5):
                self._scales[shot.scene] = told.get("scale_type")
                yield shot

    def _key(self, told: Any, path: Path) -> str:
        """By which name frames say where their depth is."""
        if not isinstance(told, dict) or told.get("camera_convention", "opencv") != "opencv":
            raise ValueError(
                f"{path}: its camera_convention is not opencv, which is all that WAI has; {_AGAIN}"
            )
        modality = told.get("frame_modalities", {}).get(self.depth, {})
        return modality.get("frame_key", self.depth)

    def _view(self, frame: Shot) -> View:
        lens, depth_m = frame.lens(), None
        if frame.depth is not None:
            depth_m = lens.depth(units.known(_exr(frame.inside(frame.depth))))
        image, pose = lens.image(frame.image()), frame.world_from_cam()
        return View(image, lens.camera, depth_m, world_from_cam=pose)


def _exr(path: Path) -> np.ndarray:
    """(H, W) of a picture of one channel, whatever its name."""
    openexr = need("OpenEXR")
    try:
        with openexr.File(str(files.there(path, _AGAIN)), separate_channels=True) as file:
            (channel,) = file.channels().values()
            return np.array(channel.pixels)
    except FileNotFoundError:
        raise
    except Exception as error:  # on broken files OpenEXR raises what it likes
        raise ValueError(f"{path}: not an EXR file of one channel ({error}); {_AGAIN}") from None
