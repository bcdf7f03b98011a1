"""NYU Depth V2, the labelled part: 1449 photos of 464 rooms with depth and named objects.

Silberman, Hoiem, Kohli and Fergus 2012, New York University; research only. One file,
`nyu_depth_v2_labeled.mat`: HDF5, as MATLAB 7.3 writes it, so that axes come in reverse and text as
references to rows of characters. It is opened anew for each view. `splits.mat` beside it numbers
the 795 photos to learn from and the 654 of the test, counting from 1.

The depth of the Kinect is published twice: `rawDepths`, what was measured, moved to the photo, 0
where nothing was; and `depths`, the same with the gaps filled in by colour, which measured nothing.
All photos are of one camera, that of the toolbox, whose principal point counts from pixel centres,
from 0. Undistorting left a white border around each photo, where depth is unknown here; boxes are
around what the mask of an object shows, however much of it, with sizes as `outlined` has them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from vlm3.geometry import Camera
from vlm3.sources.boxed import outlined
from vlm3.sources.reading import Frame, Reader, matlab
from vlm3.sources.reading.extras import need
from vlm3.views import Box, View

FILE = "nyu_depth_v2_labeled.mat"
RGB = np.array(  # camera_params.m of the toolbox
    [
        [518.85790117450188, 0, 325.58244941119034],
        [0, 519.46961112127485, 253.73616633400465],
        [0, 0, 1],
    ]
)
INNER = np.s_[7:474, 7:632]  # rows and columns inside the white border
EIGEN = np.s_[45:471, 41:601]  # where Eigen et al. 2014 and others after them evaluate
BACKGROUND = {"wall", "floor", "ceiling"}
_AGAIN = f"download {FILE} again"


@dataclass(frozen=True)
class _Frame(Frame):
    index: int  # in the file


class Nyu(Reader):
    """Views with depth and boxes.

    A scene is a room, such as "kitchen_0004"; frames are called as in SUN RGB-D, "NYU0001". split:
    "train" or "test" of splits.mat, or "all". filled: depth with its gaps filled in, not only what
    was measured. eigen: depth only where Eigen et al. evaluate. objects: boxes, which take a third
    of the time. Labels published with DepthLM are of SUN RGB-D's copy of these photos, see
    `vlm3.sources.sunrgbd`.
    """

    layout = FILE

    def __init__(
        self,
        root: str | Path,
        scenes="*",
        frames=(0, None),
        split: str = "all",
        filled: bool = False,
        eigen: bool = False,
        objects: bool = True,
    ):
        if split not in ("all", "train", "test"):
            raise ValueError(f'split must be "all", "train" or "test", got {split!r}')
        self.split, self.filled, self.eigen, self.objects = split, filled, eigen, objects
        super().__init__(root, scenes, frames)

    def _frames(self) -> Iterator[_Frame]:
        if not (self.root / FILE).is_file():
            return
        with self._opened() as file:
            rooms, self.names = _texts(file, "scenes"), _texts(file, "names")
        for index in self._indices(len(rooms)):
            yield _Frame(rooms[index], f"NYU{index + 1:04d}", int(index))

    def _view(self, frame: _Frame) -> View:
        read = ["images", "depths" if self.filled else "rawDepths"]
        read += ["labels", "instances"] if self.objects else []
        with self._opened() as file:
            # in the file axes are reversed
            arrays = [np.ascontiguousarray(_variable(file, k)[frame.index].T) for k in read]
        image, depth_m, *masks = arrays
        height, width = image.shape[:2]
        view = View(image, Camera.from_opencv(RGB, width, height), self._known(depth_m))
        return replace(view, boxes=self._boxes(view, *masks)) if masks else view

    @contextmanager
    def _opened(self) -> Iterator[Any]:
        path = self.root / FILE
        try:
            with need("h5py").File(path) as file:
                yield file
        except FileNotFoundError:
            raise
        except OSError as error:
            raise ValueError(f"{path}: not whole as HDF5 ({error}); {_AGAIN}") from None

    def _indices(self, count: int) -> np.ndarray:
        if self.split == "all":
            return np.arange(count)
        path, way_out = self.root / "splits.mat", 'put it beside, or take split="all"'
        numbers = matlab.variable(path, f"{self.split}Ndxs", way_out).astype(int).ravel()
        return np.sort(numbers[numbers <= count]) - 1

    def _known(self, depth_m: np.ndarray) -> np.ndarray:
        known = np.full(depth_m.shape, np.nan, np.float32)
        part = EIGEN if self.eigen else INNER
        known[part] = np.where(depth_m[part] > 0, depth_m[part], np.nan)
        return known

    def _boxes(self, view: View, labels: np.ndarray, instances: np.ndarray) -> tuple[Box, ...]:
        things = np.array([False, *(name not in BACKGROUND for name in self.names)])
        # instances count within a label, and 0 may be one of them
        objects = np.where(things[labels], labels * np.int32(256) + instances, 0)
        return outlined(view, objects, name=lambda number: self.names[number // 256 - 1])


def _variable(file: Any, name: str) -> Any:
    if name not in file:
        raise ValueError(f"{file.filename}: no {name} in it; take the labelled dataset, {FILE}")
    return file[name]


def _texts(file: Any, name: str) -> list[str]:
    """A cell array of strings: references to whole numbers that are characters."""
    cells = _variable(file, name)[()].ravel()
    return ["".join(map(chr, file[cell][()].ravel())) for cell in cells]
