"""One rigid motion through pixels that match, whoever solves it."""

import numpy as np
import pytest

from vlm3.geometry import (
    Camera,
    invert,
    project,
    rotation_angle_deg,
    rotation_from_ypr,
    transform,
)
from vlm3.scoring import motion
from vlm3.views import View

LENS = Camera(300.0, 300.0, 160.0, 120.0, 320, 240)
BARE = View(np.zeros((240, 320, 3), np.uint8), LENS)


@pytest.fixture(params=["PoseLib", "OpenCV"])
def solver(request, monkeypatch):
    """Each of those who solve it; PoseLib where it is installed."""
    if request.param == "OpenCV":
        monkeypatch.setattr(motion, "_poselib", lambda: None)
    else:
        pytest.importorskip("poselib")
    assert motion.solver().startswith(request.param)
    return request.param


def pose() -> np.ndarray:
    found = np.eye(4)
    found[:3, :3], found[:3, 3] = rotation_from_ypr(8, -3, 2).T, [0.3, 0.05, -0.1]
    return found


def matches(rng: np.random.Generator, wrong: int = 0, count: int = 80) -> tuple:
    """Pixels of points at 2 to 5 m in two views, the first ones wrong."""
    points = np.column_stack([rng.uniform(-0.8, 0.8, (count, 2)), rng.uniform(2, 5, count)])
    uv1, uv2 = project(points, LENS), project(transform(pose(), points), LENS)
    uv2[:wrong] = rng.uniform(0, 240, (wrong, 2))
    return uv1, uv2


def test_the_motion_is_found_although_a_third_of_the_matches_are_wrong(solver, rng):
    found = motion.solved(*matches(rng, wrong=27), BARE, BARE)
    assert rotation_angle_deg(found.cam2_from_cam1[:3, :3].T @ pose()[:3, :3]) < 0.5
    way, true = found.cam2_from_cam1[:3, 3], pose()[:3, 3]
    assert way @ true / np.linalg.norm(way) / np.linalg.norm(true) > 0.999
    assert 50 <= len(found.uv1) <= 56  # those that agree


def test_too_few_matches_make_no_motion_and_are_kept(solver, rng):
    uv1, uv2 = matches(rng, count=motion.LEAST[0] - 1)
    found = motion.solved(uv1, uv2, BARE, BARE)
    assert found.cam2_from_cam1 is None
    assert np.array_equal(found.uv1, uv1)


def test_the_same_matches_make_the_same_motion(solver, rng):
    seen = matches(rng, wrong=27)
    first, second = (motion.solved(*seen, BARE, BARE).cam2_from_cam1 for _ in range(2))
    assert np.array_equal(first, second)


def test_a_pixel_goes_where_its_depth_and_the_motion_take_it(solver, rng):
    uv1, uv2 = matches(rng)
    found = motion.solved(uv1, uv2, BARE, BARE)
    follow = motion.follower(found, BARE, BARE)
    off = np.linalg.norm(follow(uv1) - uv2, axis=1)  # each is its own neighbour, among others
    assert np.median(off) < 15
    flat = motion.Motion(uv1, uv1 + [5.0, -2.0], None)
    assert motion.follower(flat, BARE, BARE)(uv1) == pytest.approx(uv1 + [5.0, -2.0])
    assert motion.follower(motion.Motion(uv1[:0], uv2[:0], None), BARE, BARE) is None


def test_a_motion_that_leads_away_from_the_matches_is_not_followed(rng):
    uv1, uv2 = matches(rng)
    wrong = np.eye(4)
    wrong[:3, 3] = [0, 5.0, 0]  # on which no match agrees
    found = motion.Motion(uv1, uv2, wrong)
    for pixel in uv1[:10]:
        near = np.linalg.norm(uv1 - pixel, axis=1).argsort()[: motion.NEIGHBOURS]
        simply = pixel + np.median(uv2[near] - uv1[near], axis=0)
        reach = motion.STRAYS * np.linalg.norm(uv1[near] - pixel, axis=1).max()
        went = motion.moved(pixel, found, BARE, BARE)
        assert np.linalg.norm(went - simply) <= reach


def test_without_a_solver_of_its_own_opencv_says_so(monkeypatch):
    monkeypatch.setattr(motion, "_poselib", lambda: None)
    assert motion.solver().startswith("OpenCV")


def test_the_pose_of_camera_one_is_the_inverse(rng):
    """As `opencv` and the others hand it on."""
    found = motion.solved(*matches(rng), BARE, BARE).cam2_from_cam1
    assert invert(found)[:3, :3] == pytest.approx(found[:3, :3].T)
