"""Real photographs that travel with the package: two stereo pairs, and a calibrated chessboard.

Sources and terms: `vlm3/sources/data/README.md`.
"""

from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from vlm3.geometry import Camera, invert
from vlm3.views import Pair, View

DATA = Path(__file__).parent / "data"

# Middlebury 2014 "Motorcycle" at this size; principal point counted from pixel centres.
FOCAL_PX, BASELINE_M, DOFFS_PX = 994.978, 0.193001, 31.086
CX, CY = 311.193, 254.877

BOARD = (9, 6)  # inner corners
SQUARE_M = 0.025


@cache
def motorcycle() -> Pair:
    """The Middlebury "Motorcycle" stereo pair, 741x500; the world is the left camera.

    view1 (left) has metric depth; view2 (right) stands 0.193 m to the right and has none of its
    own. uv1, uv2: all left pixel centres (N, 2) seen by both, and where they are on the right, from
    the disparity.
    """
    disparity = np.load(DATA / "motorcycle_disp.npz")["arr_0"].astype(np.float32)
    left, right = (_photo(f"motorcycle_{side}.png") for side in ("left", "right"))
    height, width = disparity.shape
    world_from_right = np.eye(4)
    world_from_right[0, 3] = BASELINE_M
    # the principal points of the two cameras differ: without it all depth would be too large
    depth_m = FOCAL_PX * BASELINE_M / (disparity + DOFFS_PX)
    depth_m = np.where(np.isfinite(disparity), depth_m, np.nan)
    camera1, camera2 = (
        Camera(FOCAL_PX, FOCAL_PX, cx + 0.5, CY + 0.5, width, height) for cx in (CX, CX + DOFFS_PX)
    )
    view1 = View(left, camera1, depth_m.astype(np.float32), world_from_cam=np.eye(4))
    view2 = View(right, camera2, world_from_cam=world_from_right)
    return _kept(Pair(view1, view2, *_matches(disparity)))


@cache
def aloe() -> Pair:
    """The Middlebury "Aloe" stereo pair, 1282x1110, for correspondence: neither view has depth.

    view2 (right) stands 0.16 m to the right. uv1, uv2: all left pixel centres (N, 2) seen by both,
    and where they are on the right. At this crop the disparities have an unstated offset to depth,
    so none is derived.
    """
    left, right = (_photo(f"aloe{side}.jpg") for side in "LR")
    disparity = np.array(Image.open(DATA / "aloeGT.png").convert("L"), np.float32)
    height, width = disparity.shape
    # focal length published, centre assumed
    camera = Camera(3740.0, 3740.0, width / 2, height / 2, width, height)
    world_from_right = np.eye(4)
    world_from_right[0, 3] = 0.16
    poses = np.eye(4), world_from_right
    views = [View(i, camera, world_from_cam=p) for i, p in zip((left, right), poses, strict=True)]
    return _kept(Pair(*views, *_matches(np.where(disparity > 0, disparity, np.inf))))


def _matches(disparity: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """uv1, uv2 (N, 2): left pixel centres that both views show, and their places on the right."""
    rows, columns = np.nonzero(seen_by_both(disparity))
    uv1 = np.stack([columns + 0.5, rows + 0.5], -1)
    return uv1, uv1 - np.stack([disparity[rows, columns], np.zeros(len(rows))], -1)


def seen_by_both(disparity: np.ndarray, tolerance_px: float = 1.0) -> np.ndarray:
    """HxW bool: which pixels of the left image the right image shows too.

    disparity: HxW of the left image in pixels, not finite where unknown. A pixel is hidden when
    another one lands on the same right pixel with a disparity larger by more than the tolerance (it
    is nearer), or when it leaves the image.
    """
    height, width = disparity.shape
    target = np.arange(width) + 0.5 - np.where(np.isfinite(disparity), disparity, np.inf)
    inside = (target >= 0) & (target < width)
    rows, columns = np.nonzero(inside)
    landed = target[rows, columns].astype(int)
    nearest = np.full((height, width), -np.inf)  # the largest disparity is the nearest surface
    np.maximum.at(nearest, (rows, landed), disparity[rows, columns])
    visible = np.zeros((height, width), bool)
    visible[rows, columns] = disparity[rows, columns] >= nearest[rows, landed] - tolerance_px
    return visible


@cache
def chessboards() -> tuple[Pair, ...]:
    """13 stereo pairs of a 9x6 chessboard of 25 mm squares, 640x480, undistorted.

    The world is the board. uv1, uv2: the 54 inner corners in the same order everywhere, so any two
    of the 26 views share 54 correspondences and a metric relative pose of the board. The board was
    carried around before two cameras at rest: the room behind it agrees with these poses only
    within a stereo pair, so take the 13 pairs where a whole picture is judged. Calibrated here with
    OpenCV from the corners themselves.
    """
    lefts, rights = (_calibrated(sorted(DATA.glob(f"{side}*.jpg"))) for side in ("left", "right"))
    return tuple(
        _kept(Pair(left, right, a, b)) for (left, a), (right, b) in zip(lefts, rights, strict=True)
    )


def _calibrated(paths: list[Path]) -> list[tuple[View, np.ndarray]]:
    """Views of one camera with their corners (54, 2), all distortion removed."""
    import cv2  # heavy, and only the chessboards need it

    images = [_photo(path.name) for path in paths]
    corners = [_corners(image, path) for image, path in zip(images, paths, strict=True)]
    board = np.zeros((BOARD[0] * BOARD[1], 3), np.float32)
    board[:, :2] = np.mgrid[: BOARD[0], : BOARD[1]].T.reshape(-1, 2) * SQUARE_M
    height, width = images[0].shape[:2]
    _, K, distortion, rotations, translations = cv2.calibrateCamera(
        [board] * len(corners), corners, (width, height), None, None
    )
    camera = Camera.from_opencv(K, width, height)
    found = []
    for image, uv, turn, shift in zip(images, corners, rotations, translations, strict=True):
        camera_from_board = np.eye(4)
        camera_from_board[:3, :3] = cv2.Rodrigues(turn)[0]
        camera_from_board[:3, 3] = shift.ravel()
        straight = cv2.undistort(image, K, distortion)
        view = View(straight, camera, world_from_cam=invert(camera_from_board))
        # OpenCV counts from pixel centres
        found.append((view, cv2.undistortPoints(uv, K, distortion, P=K).reshape(-1, 2) + 0.5))
    return found


def _corners(image: np.ndarray, path: Path) -> np.ndarray:
    import cv2

    ok, corners = cv2.findChessboardCornersSB(image, BOARD, flags=cv2.CALIB_CB_ACCURACY)
    if not ok:
        raise ValueError(f"{path}: no {BOARD[0]}x{BOARD[1]} chessboard found")
    return corners.reshape(-1, 1, 2).astype(np.float32)


def _photo(name: str) -> np.ndarray:
    return np.array(Image.open(DATA / name).convert("RGB"))


def _kept(pair: Pair) -> Pair:
    """The pair with arrays that nobody can change, since everybody is handed the same one."""
    inner = (a for v in pair[:2] for a in (v.image, v.depth_m, v.world_from_cam))
    for array in (pair.uv1, pair.uv2, *inner):
        if array is not None:
            array.setflags(write=False)
    return pair
