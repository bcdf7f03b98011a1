"""One view carried into another by depth and pose, and how far the pictures then disagree.

Where labels are right, a point has the same look in both pictures, lies where the eye finds it
again, and is as deep as the second view says.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from vlm3.geometry import invert, project, relative_pose, transform, unproject
from vlm3.views import View

POINTS = 800  # of a view, carried into the other
LEAST = 0.3  # of these must fall into it, or the two show different things
WINDOW_PX = 15  # in which a point is looked for
FLAT = 2e-3  # eigenvalue of the gradient below which a place looks like all places beside it


class Carried(NamedTuple):
    """Of those points of view 1 that fall into view 2, which are `kept` of all (M,) bool: uv1, uv2
    (N, 2) pixels, z2_m (N,) depth in view 2."""

    kept: np.ndarray
    uv1: np.ndarray
    uv2: np.ndarray
    z2_m: np.ndarray


def with_points(view: View, rng: np.random.Generator, n: int = POINTS) -> View:
    """The view with up to n places of known depth as its points, and no depth map."""
    uv, z_m = view.places(n, rng)
    return replace(view, depth_m=None, points=np.column_stack([uv, z_m]))


def carried(view1: View, view2: View) -> Carried:
    """The points of view 1 in view 2, hidden there or not."""
    uv2, z2_m = places(view1, view2)
    with np.errstate(invalid="ignore"):
        kept = ((uv2 >= 0) & (uv2 < view2.size)).all(1)
    return Carried(kept, view1.points[kept, :2], uv2[kept], z2_m[kept])


def inside(view1: View, view2: View) -> float:
    """Which share of what view 1 knows falls into view 2."""
    some = with_points(view1, np.random.default_rng(0))
    return float(carried(some, view2).kept.mean()) if len(some.points) else 0.0


def places(view1: View, view2: View) -> tuple[np.ndarray, np.ndarray]:
    """Where all points of view 1 lie in view 2 or beside it: (N, 2) pixels, (N,) depth."""
    cam2_from_cam1 = invert(relative_pose(view1.world_from_cam, view2.world_from_cam))
    seen = unproject(view1.points[:, :2], view1.points[:, 2], view1.camera)
    points = transform(cam2_from_cam1, seen)
    return project(points, view2.camera), points[:, 2]


def likeness(found: Carried, detail1: np.ndarray, detail2: np.ndarray) -> float:
    """Correlation of the details of both pictures where points lie, -1 to 1; 0 where too few fall
    into the second.

    detail1, detail2: (H, W), see `detail`.
    """
    if len(found.uv1) < max(20, LEAST * len(found.kept)):
        return 0.0
    a, b = _at(detail1, found.uv1), _at(detail2, found.uv2)
    return float(np.corrcoef(a, b)[0, 1]) if min(a.std(), b.std()) > FLAT else 0.0


def detail(image: np.ndarray) -> np.ndarray:
    """(H, W) float32: the picture in grey without what changes slowly, which is alike anywhere."""
    import cv2

    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    fine = cv2.GaussianBlur(grey, (0, 0), max(1.0, grey.shape[1] / 300))
    # what changes slowly is known from one pixel in 16: a wide blur of all takes seconds
    small = cv2.resize(fine, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    slow = cv2.GaussianBlur(small, (0, 0), max(1.0, grey.shape[1] / 160))
    return fine - cv2.resize(slow, grey.shape[::-1], interpolation=cv2.INTER_LINEAR)


def _at(values: np.ndarray, uv: np.ndarray) -> np.ndarray:
    columns, rows = uv.astype(int).T
    return values[rows, columns]


def depth_gap(found: Carried, view2: View) -> float:
    """Median of |z / z seen - 1| over points that view 2 knows the depth of; NaN without any.

    What is hidden in view 2 is further off than what it sees, so it counts as well: few are, from
    near by.
    """
    if view2.depth_m is None or not len(found.uv2):
        return np.nan
    ratio = found.z2_m / _at(view2.depth_m, found.uv2)
    ratio = ratio[np.isfinite(ratio)]
    return float(np.median(np.abs(ratio - 1))) if len(ratio) else np.nan


def found_again(found: Carried, image1: np.ndarray, image2: np.ndarray) -> tuple[np.ndarray, ...]:
    """Where points of view 1 are by their look: (M,) which of the points, (M, 2) pixels from where
    they should be to where they are.

    By tracking from the right place (Lucas and Kanade, OpenCV's), there and back; those that do not
    come back, or lie where nothing has an edge, are left out.
    """
    import cv2

    if len(found.uv1) < 2:
        return np.zeros(0, int), np.zeros((0, 2))
    first, second = (cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in (image1, image2))
    turn, shift = _similarity(found.uv1, found.uv2)
    # Turned as view 1 is: windows that are tracked only move. OpenCV counts from pixel centres.
    matrix = np.column_stack([turn, shift + turn @ [0.5, 0.5] - 0.5])
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    second = cv2.warpAffine(
        second, matrix, first.shape[::-1], flags=flags, borderMode=cv2.BORDER_REPLICATE
    )
    start = (found.uv1 - 0.5).astype(np.float32)
    guess = ((found.uv2 - shift) @ np.linalg.inv(turn).T - 0.5).astype(np.float32)
    ahead, good = _followed(first, second, start, guess)
    back, again = _followed(second, first, ahead, start)
    kept = np.flatnonzero(good & again & (np.linalg.norm(back - start, axis=1) < 0.5))
    return kept, (ahead - guess)[kept].astype(float) @ turn.T


def _similarity(uv1: np.ndarray, uv2: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """2x2 turn with scale and (2,) shift that bring uv1 nearest to uv2, (N, 2) each."""
    (x1, y1), (x2, y2) = (uv1 - uv1.mean(0)).T, (uv2 - uv2.mean(0)).T
    a, b = np.sum(x1 * x2 + y1 * y2), np.sum(x1 * y2 - y1 * x2)
    turn = np.array([[a, -b], [b, a]]) / np.sum(x1**2 + y1**2)
    return turn, uv2.mean(0) - turn @ uv1.mean(0)


def _followed(
    first: np.ndarray, second: np.ndarray, start: np.ndarray, guess: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(N, 2) float32 where places of one grey picture are in another, and (N,) where that is
    known."""
    import cv2

    how = {"winSize": (WINDOW_PX, WINDOW_PX), "maxLevel": 1, "minEigThreshold": FLAT}
    flags = cv2.OPTFLOW_USE_INITIAL_FLOW
    places, good, _ = cv2.calcOpticalFlowPyrLK(
        first, second, start, guess.copy(), flags=flags, **how
    )
    return places, good[:, 0] > 0
