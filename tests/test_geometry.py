"""Cameras and poses: round trips, hand-made cases, and one pose label as released with VLM3."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import cameras
from vlm3 import geometry
from vlm3.geometry import Camera

WIDE = Camera(100.0, 50.0, 20.0, 10.0, 40, 20)

unit = st.floats(0, 1)
angle = st.floats(-180, 180)
pitch = st.one_of(st.floats(-90, 90), st.sampled_from([-90.0, 90.0, -90 + 1e-10, 90 - 1e-7]))


def pose(yaw_deg, pitch_deg, roll_deg, *centre):
    """4x4 world_from_cam."""
    world_from_cam = np.eye(4)
    world_from_cam[:3, :3] = geometry.rotation_from_ypr(yaw_deg, pitch_deg, roll_deg)
    world_from_cam[:3, 3] = centre
    return world_from_cam


def test_a_pixel_projects_where_a_hand_calculation_says():
    assert geometry.project([2.0, -1.0, 4.0], WIDE).tolist() == [70.0, -2.5]
    assert geometry.unproject([70.0, -2.5], 4.0, WIDE).tolist() == [2.0, -1.0, 4.0]


@given(cameras(), unit, unit, st.floats(1e-3, 1e3))
def test_project_undoes_unproject(camera, u, v, depth_m):
    uv = np.array([u * camera.width, v * camera.height])
    np.testing.assert_allclose(
        geometry.project(geometry.unproject(uv, depth_m, camera), camera), uv, atol=1e-9
    )


@given(cameras(), st.tuples(st.floats(-50, 50), st.floats(-50, 50)), st.floats(1e-2, 1e3))
def test_unproject_undoes_project(camera, xy, z):
    point = np.array([*xy, z])
    back = geometry.unproject(geometry.project(point, camera), z, camera)
    np.testing.assert_allclose(back, point, atol=1e-9 * max(1, *np.abs(point)))


def test_points_that_are_not_in_front_of_the_camera_have_no_image():
    uv = geometry.project([[0.0, 0.0, -1.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]], WIDE)
    assert np.isnan(uv[:2]).all()
    assert uv[2].tolist() == [20.0, 10.0]


def test_pixel_centres_lie_half_a_pixel_from_the_corner_of_the_image():
    centres = geometry.pixel_centres(WIDE)
    assert centres.shape == (20, 40, 2)
    assert centres[0, 0].tolist() == [0.5, 0.5]
    assert centres[19, 39].tolist() == [39.5, 19.5]


def test_opencv_principal_points_move_by_half_a_pixel():
    camera = Camera.from_opencv([[7.0, 0, 3.0], [0, 8.0, 2.0], [0, 0, 1]], 6, 5)
    assert camera == Camera(7.0, 8.0, 3.5, 2.5, 6, 5)
    assert camera.K.tolist() == [[7, 0, 3.5], [0, 8, 2.5], [0, 0, 1]]


@given(cameras(), unit, unit, st.integers(1, 300), st.integers(1, 300))
def test_resize_keeps_the_viewing_angle_of_every_pixel(camera, u, v, width, height):
    resized = camera.resized(width, height)
    assert resized.size == (width, height)
    before = geometry.rays([u * camera.width, v * camera.height], camera)
    np.testing.assert_allclose(geometry.rays([u * width, v * height], resized), before, atol=1e-9)


@given(cameras(), unit, unit, st.floats(-5, 5), st.floats(-5, 5))
def test_a_crop_keeps_the_viewing_angle_of_every_pixel(camera, u, v, left, top):
    uv = np.array([u * camera.width, v * camera.height])
    cropped = camera.cropped(left, top, 7, 5)
    assert cropped.size == (7, 5)
    np.testing.assert_allclose(
        geometry.rays(uv - [left, top], cropped), geometry.rays(uv, camera), atol=1e-9
    )


def test_range_is_longer_than_depth_away_from_the_axis():
    camera = Camera(10.0, 10.0, 0.0, 0.0, 20, 20)
    assert geometry.range_from_depth(3.0, [0.0, 0.0], camera) == 3.0
    assert geometry.range_from_depth(3.0, [40 / 3, 0.0], camera) == pytest.approx(
        5.0
    )  # 3-4-5 triangle


@given(cameras(), unit, unit, st.floats(1e-3, 1e3))
def test_depth_from_range_undoes_range_from_depth(camera, u, v, depth_m):
    uv = np.array([u * camera.width, v * camera.height])
    range_m = geometry.range_from_depth(depth_m, uv, camera)
    assert range_m == pytest.approx(
        np.linalg.norm(geometry.unproject(uv, depth_m, camera)), rel=1e-12
    )
    assert geometry.depth_from_range(range_m, uv, camera) == pytest.approx(depth_m, rel=1e-12)


@pytest.mark.parametrize(
    ("ypr", "axis", "goes_to"),
    [
        ((30, 0, 0), (0, 0, 1), (0.5, 0, 0.75**0.5)),  # yaw > 0: forward turns right
        ((0, 30, 0), (0, 0, 1), (0, -0.5, 0.75**0.5)),  # pitch > 0: forward looks up
        ((0, 0, 30), (1, 0, 0), (0.75**0.5, 0.5, 0)),  # roll > 0: the right wing goes down
        ((30, 0, 0), (0, 1, 0), (0, 1, 0)),
        ((0, 30, 0), (1, 0, 0), (1, 0, 0)),
        ((0, 0, 30), (0, 0, 1), (0, 0, 1)),
    ],
)
def test_positive_angles_turn_right_look_up_and_bank_right(ypr, axis, goes_to):
    np.testing.assert_allclose(geometry.rotation_from_ypr(*ypr) @ axis, goes_to, atol=1e-15)


@given(angle, pitch, angle)
def test_rotations_are_yaw_then_pitch_then_roll_about_the_turned_axes(yaw, pitch, roll):
    parts = [(yaw, 0, 0), (0, pitch, 0), (0, 0, roll)]
    Ry, Rx, Rz = (geometry.rotation_from_ypr(*part) for part in parts)
    R = geometry.rotation_from_ypr(yaw, pitch, roll)
    np.testing.assert_allclose(R, Ry @ Rx @ Rz, atol=1e-15)
    np.testing.assert_allclose(R.T @ R, np.eye(3), atol=1e-14)
    assert np.linalg.det(R) == pytest.approx(1)


def test_the_angle_of_a_released_pose_label_is_met():
    label = geometry.rotation_from_ypr(89.60077, 2.59868, 6.07233)
    assert geometry.rotation_angle_deg(label) == pytest.approx(
        89.6547346, abs=5e-6
    )  # its angles have 5 decimals
    other_roll = geometry.rotation_from_ypr(89.60077, 2.59868, -6.07233)
    assert geometry.rotation_angle_deg(other_roll) == pytest.approx(89.929535, abs=1e-5)


@given(angle, pitch, angle)
def test_yaw_pitch_and_roll_give_back_their_rotation_even_in_gimbal_lock(yaw, pitch, roll):
    R = geometry.rotation_from_ypr(yaw, pitch, roll)
    found = geometry.ypr_from_rotation(R)
    assert abs(found[1]) <= 90
    np.testing.assert_allclose(geometry.rotation_from_ypr(*found), R, atol=1e-8)


@given(st.floats(-179, 179), st.floats(-89, 89), st.floats(-179, 179))
def test_a_rotation_gives_back_its_yaw_pitch_and_roll(yaw, pitch, roll):
    found = geometry.ypr_from_rotation(geometry.rotation_from_ypr(yaw, pitch, roll))
    np.testing.assert_allclose(found, (yaw, pitch, roll), atol=1e-9)


@pytest.mark.parametrize("pitch", [90.0, -90.0])
def test_looking_straight_up_or_down_has_no_roll(pitch):
    assert geometry.ypr_from_rotation(geometry.rotation_from_ypr(25, pitch, 0)) == pytest.approx(
        (25, pitch, 0)
    )
    assert geometry.ypr_from_rotation(geometry.rotation_from_ypr(10, pitch, 15))[2] == 0.0


@pytest.mark.parametrize("degrees", [0.0, 1e-9, 1e-4, 90.0, 179.9999, 180.0])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_tiny_and_half_turn_angles_are_exact(degrees, axis):
    R = geometry.rotation_from_ypr(*np.roll([degrees, 0, 0], axis))
    assert geometry.rotation_angle_deg(R) == pytest.approx(degrees, rel=1e-12)
    assert geometry.rotation_angle_deg(R.T) == pytest.approx(degrees, rel=1e-12)


def test_a_relative_pose_places_camera_2_in_the_frame_of_camera_1():
    world_from_cam1 = pose(90, 0, 0, 1.0, 0.0, 0.0)  # stands at x = 1 and looks along the world's x
    world_from_cam2 = pose(0, 0, 0, 4.0, 0.0, 1.0)  # 3 m ahead of camera 1 and 1 m to its left
    cam1_from_cam2 = geometry.relative_pose(world_from_cam1, world_from_cam2)
    np.testing.assert_allclose(cam1_from_cam2[:3, 3], [-1, 0, 3], atol=1e-15)
    assert geometry.ypr_from_rotation(cam1_from_cam2[:3, :3]) == pytest.approx((-90, 0, 0))


@given(st.lists(angle, min_size=6, max_size=6), st.lists(st.floats(-9, 9), min_size=9, max_size=9))
def test_a_relative_pose_moves_points_from_camera_2_to_camera_1(angles, numbers):
    world_from_cam1, world_from_cam2 = (
        pose(*angles[:3], *numbers[:3]),
        pose(*angles[3:], *numbers[3:6]),
    )
    in_cam2 = np.array(numbers[6:])
    in_world = geometry.transform(world_from_cam2, in_cam2)
    in_cam1 = geometry.transform(geometry.relative_pose(world_from_cam1, world_from_cam2), in_cam2)
    np.testing.assert_allclose(geometry.transform(world_from_cam1, in_cam1), in_world, atol=1e-12)
    np.testing.assert_allclose(
        geometry.invert(world_from_cam1) @ world_from_cam1, np.eye(4), atol=1e-12
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *[(f, v) for f in ("width", "height") for v in (0, -3, 2.5, np.nan, "640", None, True)],
        *[(f, v) for f in ("fx", "fy", "cx", "cy") for v in (np.nan, np.inf, "500", None, True)],
        *[(f, v) for f in ("fx", "fy") for v in (0, -500.0)],
    ],
)
def test_bad_cameras_are_refused_with_the_field_and_its_value(field, value):
    with pytest.raises(ValueError, match=field) as error:
        Camera(**{**dict(fx=9.0, fy=9.0, cx=4.0, cy=3.0, width=8, height=6), field: value})
    assert str(value) in str(error.value)


def test_whole_numbers_beyond_floats_are_refused_too():
    with pytest.raises(ValueError, match="camera fx must be a finite number of pixels"):
        Camera(10**400, 9.0, 4.0, 3.0, 8, 6)


@pytest.mark.parametrize("matrix", [np.eye(2), np.eye(4), [1.0, 2.0, 3.0], np.full((3, 3), np.nan)])
def test_a_matrix_that_is_no_camera_is_refused(matrix):
    with pytest.raises(ValueError, match="camera|3x3"):
        Camera.from_opencv(matrix, 8, 6)


@pytest.mark.parametrize(
    "bad",
    [
        np.eye(3),
        np.full((4, 4), np.nan),
        np.diag([1.0, 1.0, 1.0, 2.0]),
        np.diag([2.0, 2.0, 2.0, 1.0]),  # a scale is no rotation
        np.diag([-1.0, 1.0, 1.0, 1.0]),  # nor is a mirror
        np.triu(np.ones((4, 4))),
    ],
)
def test_bad_poses_are_refused_with_their_name_and_values(bad):
    for poses, name in (
        ((bad, np.eye(4)), "world_from_cam1"),
        ((np.eye(4), bad), "world_from_cam2"),
    ):
        with pytest.raises(ValueError, match=name) as error:
            geometry.relative_pose(*poses)
        assert str(bad.tolist()) in str(error.value)
