"""The nouns of the book: Box, View, Pair, QA, Answer, Sample, and an error of tasks."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from vlm3.geometry import Camera, check_pose


class Box(NamedTuple):
    """An axis-aligned box in continuous pixel coordinates, and what it holds.

    centre_m: the middle of the object in camera coordinates; size_m: its width, height and depth as
    it stands, width being the longer horizontal side. None where unknown.
    """

    xmin: float
    ymin: float
    xmax: float
    ymax: float
    name: str = ""
    centre_m: tuple[float, float, float] | None = None
    size_m: tuple[float, float, float] | None = None


@dataclass(frozen=True, eq=False)
class View:
    """What one camera sees of one scene.

    image: HxWx3 uint8; camera: of the same size, None if not known yet (`unify_focal` says what to
    do then); depth_m: HxW float32 z-depth in metres, NaN where unknown; world_from_cam: 4x4 rigid
    transform; boxes: each a Box, or its values; points: (N, 3) sparse labels u, v, z_m, as of a
    laser scanner: continuous pixels inside the image, which move with it exactly, where a depth map
    is resampled; they count before the map. Raises ValueError, with the value, for anything else.
    """

    image: np.ndarray
    camera: Camera | None
    depth_m: np.ndarray | None = None
    points: np.ndarray | None = field(default=None, kw_only=True)
    world_from_cam: np.ndarray | None = field(default=None, kw_only=True)
    boxes: tuple[Box, ...] = field(default=(), kw_only=True)

    def __post_init__(self):
        _check_image(self.image)
        height, width = self.image.shape[:2]
        if not isinstance(self.camera, Camera | None):
            raise ValueError(f"camera must be a Camera, got {self.camera!r}")
        if self.camera is not None and self.camera.size != (width, height):
            raise ValueError(
                f"camera is {self.camera.width}x{self.camera.height}, image is {width}x{height}"
            )
        if self.depth_m is not None:
            object.__setattr__(self, "depth_m", _checked_depth(self.depth_m, (height, width)))
        if self.world_from_cam is not None:
            pose = check_pose(self.world_from_cam, "world_from_cam")
            object.__setattr__(self, "world_from_cam", pose)
        if self.points is not None:
            object.__setattr__(self, "points", _checked_points(self.points, width, height))
        object.__setattr__(self, "boxes", tuple(_checked_box(b, width, height) for b in self.boxes))

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self.image.shape[1], self.image.shape[0]

    def places(
        self, n: int, rng: np.random.Generator, where: np.ndarray | bool = True
    ) -> tuple[np.ndarray, np.ndarray]:
        """Up to n different places of known depth, drawn with rng.

        Returns (k, 2) pixels and (k,) z-depth in metres, of the points where the view has them,
        else of the depth map, at the centres of its pixels. where: HxW bool, or True for the whole
        image. ValueError for a view with neither points nor depth.
        """
        if self.points is not None:
            # truncation names the pixel that holds a point, since (0, 0) is a corner
            columns, rows = self.points[:, :2].astype(int).T
            known = np.flatnonzero(np.broadcast_to(where, self.image.shape[:2])[rows, columns])
            chosen = self.points[rng.choice(known, min(n, len(known)), replace=False)]
            return chosen[:, :2], chosen[:, 2]
        if self.depth_m is None:
            raise ValueError("depth is unknown everywhere: the view needs points or depth_m")
        known = np.flatnonzero(np.isfinite(self.depth_m) & where)
        chosen = rng.choice(known, min(n, len(known)), replace=False)
        rows, columns = np.divmod(chosen, self.size[0])
        return np.stack([columns, rows], -1) + 0.5, self.depth_m[rows, columns].astype(float)


class Pair(NamedTuple):
    """Two views of one scene, and where the same points lie in both.

    uv1, uv2: (N, 2) continuous pixels.
    """

    view1: View
    view2: View
    uv1: np.ndarray
    uv2: np.ndarray


class QA(NamedTuple):
    """A question about views, and the answer that is right.

    kind: what is asked, as the task calls it: "z", "match", "angle", "left_predicate", ...; ""
    where nobody knows. about: its subject, the pixels or boxes that the question names, each its
    numbers in the units of the text. question, answer: the two texts; truth: the exact value behind
    the answer, None where nobody knows it.
    """

    kind: str
    about: tuple[tuple[float, ...], ...]
    question: str
    answer: str = ""
    truth: Any = None


class Answer(NamedTuple):
    """What was said to a question; its value is read by the task, which knows the question.

    logprobs: the logarithm of the probability of each token, the end of the turn included.
    """

    text: str
    logprobs: tuple[float, ...] = (0.0,)

    @property
    def logprob(self) -> float:
        """Of the whole text."""
        return sum(self.logprobs)


@dataclass(frozen=True, eq=False)
class Sample:
    """What one training or evaluation step sees: one or two views and the questions about them."""

    views: tuple[View, ...]
    qas: tuple[QA, ...]
    task: str
    source: str


class NothingToAsk(ValueError):
    """Views that are in order, but give a task no question: no object in sight, nothing twice."""


def points_of(depth_m: np.ndarray) -> np.ndarray:
    """(N, 3) u, v, z_m: the known pixels of an HxW depth map as points, at their centres.

    For maps of which most is NaN, such as projected laser points: resampled, they would lose or
    double what they know.
    """
    rows, columns = np.nonzero(np.isfinite(depth_m))
    return np.column_stack([columns + 0.5, rows + 0.5, depth_m[rows, columns]]).astype(float)


def _check_image(image: np.ndarray) -> None:
    # by attributes, so that a tensor or a Pillow image is refused with words, too
    shape, dtype = getattr(image, "shape", None), getattr(image, "dtype", type(image).__name__)
    if shape is None or len(shape) != 3 or shape[2] != 3 or 0 in shape or dtype != np.uint8:
        raise ValueError(
            f"image must be HxWx3 uint8 with at least one pixel, got shape {shape}, {dtype}"
        )


def _checked_depth(depth_m: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    depth_m = np.asarray(depth_m)
    if depth_m.shape != shape or depth_m.dtype.kind != "f":
        raise ValueError(
            f"depth_m must be floats of shape {shape}, got {depth_m.dtype} of {depth_m.shape}"
        )
    # before the check: 1e39 becomes inf, 1e-60 becomes 0
    with np.errstate(over="ignore", under="ignore"):
        depth_m = depth_m.astype(np.float32, copy=False)
    bad = (depth_m <= 0) | (depth_m == np.inf)
    if bad.any():
        row, column = np.argwhere(bad)[0]
        raise ValueError(
            f"depth_m has {bad.sum()} values that are not positive and finite, the first "
            f"{depth_m[row, column]} at row {row}, column {column}; unknown depth is NaN"
        )
    return depth_m


def _checked_points(points: np.ndarray, width: int, height: int) -> np.ndarray:
    points = np.asarray(points)
    if points.ndim != 2 or points.shape[1] != 3 or points.dtype.kind not in "fiu":
        raise ValueError(
            f"points must be (N, 3) numbers u, v, z_m, got {points.dtype} of {points.shape}"
        )
    points = points.astype(float, copy=False)
    good = ((points[:, :2] >= 0) & (points[:, :2] < [width, height])).all(1) & (points[:, 2] > 0)
    if len(bad := points[~good | ~np.isfinite(points).all(1)]):
        raise ValueError(
            f"{len(bad)} points lie outside the {width}x{height} image or have no positive, finite "
            f"depth, the first u, v, z_m = {bad[0].tolist()}"
        )
    return points


def _checked_box(box: tuple, width: int, height: int) -> Box:
    try:
        box = Box(*box)
        inside = 0 <= box.xmin < box.xmax <= width and 0 <= box.ymin < box.ymax <= height
    except TypeError as error:
        raise ValueError(f"a box is (xmin, ymin, xmax, ymax[, name]), got {box!r}") from error
    if not inside:
        raise ValueError(f"box {tuple(box[:4])} is empty or leaves the {width}x{height} image")
    return box
