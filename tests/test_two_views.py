"""Poses made of answers, pixels by what the other view shows, second views through other lenses."""

import numpy as np
import pytest

from vlm3.geometry import invert, rotation_from_ypr
from vlm3.qwen import decode
from vlm3.scoring import two_views
from vlm3.sources import photos
from vlm3.sources.rooms import FIXED, Rooms
from vlm3.tasks import correspondence, pose
from vlm3.views import Answer


@pytest.fixture(scope="module")
def rooms() -> Rooms:
    return Rooms("large", "test", views=2, lenses=[FIXED])


@pytest.fixture(scope="module")
def views(rooms):
    return rooms[0]


def test_the_fields_of_a_true_pose_make_that_pose(views):
    found = two_views.cam1_from_cam2(pose.true_pose(*views))
    np.testing.assert_allclose(found, two_views.true_pose(views), atol=1e-9)


def test_an_answer_without_a_distance_is_no_pose(views):
    said = pose.true_pose(*views)
    del said["distance_m"]
    assert two_views.cam1_from_cam2(said) is None


def test_poses_are_apart_by_their_turn_and_by_the_way_between_their_places():
    turned = np.eye(4)
    turned[:3, :3], turned[:3, 3] = rotation_from_ypr(30, 0, 0), (0, 3, 4)
    assert two_views.apart(np.eye(4), turned) == pytest.approx((30, 5))
    assert two_views.apart(turned, turned) == pytest.approx((0, 0))


def test_pairs_that_do_not_fill_a_batch_are_all_answered_in_order(vlm, monkeypatch, views):
    right = [Answer(qa.answer) for qa in vlm.task("pose").ask(views, 4, np.random.default_rng(0))]
    monkeypatch.setattr(decode, "greedy", lambda _, samples: [right] * len(samples))
    found = two_views.poses(vlm, [views] * 3, at_once=2)
    assert len(found) == 3
    np.testing.assert_allclose(found[2], two_views.true_pose(views), atol=0.02)


def test_a_network_that_babbles_says_no_pose(vlm, views):
    assert two_views.poses(vlm, [views]) == [None]


def test_errors_are_those_of_each_pair_by_itself(rooms):
    truths = [pose.true_pose(*rooms[item]) for item in (0, 1)]
    wrong = truths[1] | {"direction": tuple(-np.array(truths[1]["direction"]))}
    errors = two_views.pose_errors([(truths[0], truths[0]), (wrong, truths[1])])
    assert errors["direction_error_signed_deg"] == pytest.approx([0, 180])
    assert two_views.worst(errors) == pytest.approx([0, 0], abs=1e-4)


def test_an_unanswered_part_is_infinitely_wrong(views):
    truth = pose.true_pose(*views)
    assert two_views.worst(two_views.pose_errors([(None, truth)])).tolist() == [np.inf]


def test_the_match_nearest_to_a_known_pixel_is_its_own():
    board = photos.chessboards()[0]
    assert two_views.matches_near(board, board.uv1[[7, 3]]) == [7, 3]


def test_every_pixel_is_seen_hidden_or_outside_and_only_seen_ones_are_covisible(views):
    kinds = two_views.by_sight(views)
    assert sum(map(len, kinds.values())) == np.isfinite(views[0].depth_m).sum()
    assert correspondence.covisible(*views, kinds["seen"])[1].all()
    places, seen = correspondence.covisible(*views, kinds["hidden"])
    assert not seen.any()
    assert ((places >= 0) & (places < views[1].size)).all()


def test_some_pixels_are_different_ones_and_no_more_than_there_are(rng):
    uv = np.arange(8.0).reshape(4, 2)
    assert len(np.unique(two_views.some(uv, 3, rng), axis=0)) == 3
    assert len(two_views.some(uv, 9, rng)) == 4


def test_another_lens_changes_the_focal_length_and_neither_sensor_nor_stand(rooms, views):
    usual = views[0].camera.fx
    first, second = two_views.through(rooms, 0, (usual, 1.4 * usual))
    assert second.camera.fx == second.camera.fy == pytest.approx(1.4 * usual)
    assert second.size == views[1].size
    np.testing.assert_array_equal(first.image, views[0].image)
    np.testing.assert_array_equal(second.world_from_cam, views[1].world_from_cam)


def test_a_claim_changes_the_camera_and_no_pixel(views):
    told = two_views.claimed(views[1], 321.0)
    assert (told.camera.fx, told.camera.fy) == (321, 321)
    assert told.image is views[1].image


def test_the_way_back_of_a_true_pose_is_its_inverse(views):
    there, back = two_views.true_pose(views), two_views.true_pose(views[::-1])
    assert two_views.apart(there, invert(back)) == pytest.approx((0, 0), abs=1e-6)
