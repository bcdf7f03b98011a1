"""The packaged photographs: depth, correspondences and poses must agree with each other and with
the pixels."""

from itertools import combinations

import cv2
import numpy as np
import pytest

from vlm3 import geometry
from vlm3.sources import photos


@pytest.fixture(scope="module")
def motorcycle():
    return photos.motorcycle()


@pytest.fixture(scope="module")
def chessboards():
    return photos.chessboards()


@pytest.fixture(scope="module")
def boards(chessboards):
    """The 26 views with their corners."""
    return [(pair.view1, pair.uv1) for pair in chessboards] + [
        (pair.view2, pair.uv2) for pair in chessboards
    ]


@pytest.fixture(scope="module")
def board():
    """(54, 3): the inner corners in the world, in metres."""
    return np.array([[25e-3 * column, 25e-3 * row, 0.0] for row in range(6) for column in range(9)])


def centre_depth(view, uv):
    columns, rows = uv.astype(int).T
    return view.depth_m[rows, columns]


def colour_difference(pair, uv1, uv2):
    """Mean over pixels of how far left and right colours differ."""
    left, right = (
        view.image[tuple(uv.astype(int).T[::-1])]
        for view, uv in ((pair.view1, uv1), (pair.view2, uv2))
    )
    return np.abs(left.astype(float) - right).mean()


def straightness(uv):
    """RMS distance in pixels of the corners (54, 2) from the best line of their row."""
    rows = uv.reshape(6, 9, 2)
    smallest = np.linalg.svd(rows - rows.mean(1, keepdims=True), compute_uv=False)[:, -1]
    return np.sqrt((smallest**2).sum() / 54)


def test_all_packaged_photographs_take_less_than_4_mb():
    assert 1e6 < sum(path.stat().st_size for path in photos.DATA.iterdir()) < 4e6


def test_the_motorcycle_stands_between_2_and_5_metres_away(motorcycle):
    view = motorcycle.view1
    assert view.size == motorcycle.view2.size == (741, 500)
    assert np.nanmin(view.depth_m) == pytest.approx(2.11, abs=0.005)
    assert np.nanmax(view.depth_m) == pytest.approx(5.02, abs=0.005)
    assert np.isfinite(view.depth_m).mean() > 0.9


def test_the_motorcycle_cameras_are_those_of_its_calibration_counted_from_the_corner(motorcycle):
    left, right = motorcycle.view1.camera, motorcycle.view2.camera
    assert left.K.tolist() == [[994.978, 0, 311.693], [0, 994.978, 255.377], [0, 0, 1]]
    np.testing.assert_allclose(right.K - left.K, [[0, 0, 31.086], [0, 0, 0], [0, 0, 0]], atol=1e-9)
    baseline = geometry.relative_pose(
        motorcycle.view1.world_from_cam, motorcycle.view2.world_from_cam
    )
    assert baseline[:3, 3].tolist() == [0.193001, 0, 0]


def test_motorcycle_correspondences_agree_with_depth_and_pose(motorcycle):
    view1, view2, uv1, uv2 = motorcycle
    assert len(uv1) > 250_000
    points = geometry.unproject(uv1, centre_depth(view1, uv1), view1.camera)
    cam2_from_cam1 = geometry.relative_pose(view2.world_from_cam, view1.world_from_cam)
    reprojected = geometry.project(geometry.transform(cam2_from_cam1, points), view2.camera)
    np.testing.assert_allclose(reprojected, uv2, atol=1e-3)
    assert (uv2 >= 0).all()
    assert (uv2 < view2.size).all()


def test_a_near_square_hides_what_is_behind_it_and_the_border_hides_the_rest():
    disparity = np.full((20, 60), 5.0, np.float32)
    disparity[5:15, 30:40] = (
        12.0  # on the right it covers columns 18..27: background of columns 23..32
    )
    disparity[0, 50] = np.inf
    expected = np.ones((20, 60), bool)
    expected[:, :5] = False  # left of the right image
    expected[5:15, 23:30] = False
    expected[0, 50] = False
    assert np.array_equal(photos.seen_by_both(disparity), expected)


def test_a_slanted_surface_does_not_hide_itself():
    disparity = np.tile(np.linspace(10, 16, 60, dtype=np.float32), (4, 1))
    assert photos.seen_by_both(disparity)[:, 12:].all()


def test_matches_have_the_same_colour_and_hidden_pixels_do_not(motorcycle):
    view1, view2, uv1, uv2 = motorcycle
    seen = np.zeros(view1.depth_m.shape, bool)
    seen[tuple(uv1.astype(int).T[::-1])] = True
    rows, columns = np.nonzero(np.isfinite(view1.depth_m) & ~seen)
    hidden1 = np.stack([columns + 0.5, rows + 0.5], -1)
    points = geometry.unproject(hidden1, centre_depth(view1, hidden1), view1.camera)
    cam2_from_world = geometry.invert(view2.world_from_cam)
    hidden2 = geometry.project(geometry.transform(cam2_from_world, points), view2.camera)
    inside = (hidden2[:, 0] >= 0) & (hidden2[:, 0] < 741)
    hidden2[:, 1] = hidden1[:, 1]
    assert inside.sum() > 10_000
    visible = colour_difference(motorcycle, uv1, uv2)
    assert visible < 15
    assert visible < 0.5 * colour_difference(motorcycle, hidden1[inside], hidden2[inside])


def test_there_are_13_chessboard_pairs_of_54_corners(chessboards):
    assert len(chessboards) == 13
    for pair in chessboards:
        assert pair.uv1.shape == pair.uv2.shape == (54, 2)
        assert pair.view1.size == pair.view2.size == (640, 480)
        for uv in (pair.uv1, pair.uv2):
            assert (uv > 0).all()
            assert (uv < (640, 480)).all()


def test_the_chessboard_cameras_stand_on_one_rigid_bar_of_83_mm(chessboards):
    poses = np.array(
        [
            geometry.relative_pose(p.view1.world_from_cam, p.view2.world_from_cam)
            for p in chessboards
        ]
    )
    centres = poses[:, :3, 3]
    assert np.linalg.norm(centres, axis=1).mean() == pytest.approx(0.083, abs=5e-4)
    assert centres.std(0).max() < 1e-3
    assert centres.mean(0)[0] > 0.08  # the second camera is the right one
    assert np.std([geometry.rotation_angle_deg(pose[:3, :3]) for pose in poses]) < 0.2


def test_board_points_land_on_their_corners_in_all_26_views(boards, board):
    errors = []
    for view, uv in boards:
        reprojected = geometry.project(
            geometry.transform(geometry.invert(view.world_from_cam), board), view.camera
        )
        errors.append(((reprojected - uv) ** 2).sum(-1))
    for camera in (errors[:13], errors[13:]):
        assert np.sqrt(np.mean(camera)) < 0.35
    assert np.sqrt(np.mean(errors, axis=1)).max() < 0.5


def test_neighbouring_corners_are_25_mm_apart(boards, board):
    for view, uv in boards:
        depth_m = geometry.transform(geometry.invert(view.world_from_cam), board)[:, 2]
        grid = geometry.unproject(uv, depth_m, view.camera).reshape(6, 9, 3)
        for axis in (0, 1):
            apart_m = np.linalg.norm(np.diff(grid, axis=axis), axis=-1)
            assert apart_m.mean() == pytest.approx(0.025, abs=1e-4)
            assert np.abs(apart_m - 0.025).max() < 1e-3  # a few corners were found half a pixel off


def test_rows_of_corners_are_straight_and_were_bent_in_the_file(boards):
    bent = []
    for path in sorted(photos.DATA.glob("left*.jpg")):
        _, raw = cv2.findChessboardCornersSB(
            cv2.imread(str(path)), photos.BOARD, flags=cv2.CALIB_CB_ACCURACY
        )
        bent.append(straightness(raw.reshape(54, 2)))
    straight = [straightness(uv) for _, uv in boards]
    assert max(straight) < 0.2
    assert np.mean(bent) > 3 * np.mean(straight)


def test_the_undistorted_pictures_show_the_corners_where_they_are_said_to_be(boards):
    for view, uv in boards[:13:4]:
        _, seen = cv2.findChessboardCornersSB(view.image, photos.BOARD, flags=cv2.CALIB_CB_ACCURACY)
        apart_px = np.linalg.norm(seen.reshape(1, 54, 2) + 0.5 - uv[:, None], axis=-1).min(1)
        assert np.median(apart_px) < 0.1


def test_any_two_of_the_26_views_agree_about_the_board(boards):
    for (view1, uv1), (view2, uv2) in combinations(boards, 2):
        centre, rays = (
            view1.world_from_cam[:3, 3],
            geometry.rays(uv1, view1.camera) @ view1.world_from_cam[:3, :3].T,
        )
        points = centre - rays * (centre[2] / rays[:, 2:])  # where the rays meet the board, z = 0
        carried = geometry.project(
            geometry.transform(geometry.invert(view2.world_from_cam), points), view2.camera
        )
        assert np.sqrt(((carried - uv2) ** 2).sum(-1).mean()) < 0.7


def test_aloe_matches_have_the_same_colour_and_those_a_pixel_beside_have_not():
    pair = photos.aloe()
    right = colour_difference(pair, pair.uv1, pair.uv2)
    inside = (pair.uv2[:, 0] > 1) & (pair.uv2[:, 0] < 1281)
    for shift in (-1, 1):
        assert right < 0.9 * colour_difference(
            pair, pair.uv1[inside], pair.uv2[inside] + [shift, 0]
        )
