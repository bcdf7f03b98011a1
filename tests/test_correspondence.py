"""Correspondence: what is asked is true, what is said is read, what is scored is right."""

import math
from dataclasses import replace

import numpy as np
import pytest

from tests.conftest import says
from vlm3 import Camera, PixelText, View, tasks
from vlm3.geometry import (
    invert,
    pixel_centres,
    project,
    range_from_depth,
    transform,
    unproject,
)
from vlm3.tasks import text as words
from vlm3.tasks.correspondence import covisible
from vlm3.views import QA, Box, NothingToAsk

correspondence = tasks.get("correspondence")


def two_views() -> tuple[View, View]:
    """A wall at 4 m; a post at 2 m in the middle hides part of it from the right camera."""
    camera = Camera(200, 200, 100, 75, 200, 150)
    image = np.zeros((150, 200, 3), np.uint8)
    views = []
    for x in (0.0, 0.4):
        depth_m = np.full((150, 200), 4.0, np.float32)
        post = np.abs(pixel_centres(camera)[..., 0] - (100 + (0.0 - x) / 2 * 200)) < 12
        depth_m[post] = 2.0
        pose_ = np.eye(4)
        pose_[0, 3] = x
        views.append(View(image, camera, depth_m, world_from_cam=pose_))
    return tuple(views)


def test_what_the_post_hides_is_not_covisible():
    view1, view2 = two_views()
    uv1 = np.array([[30.5, 75.5], [100.5, 75.5], [85.5, 75.5], [10.5, 75.5]])
    uv2, seen = covisible(view1, view2, uv1)
    np.testing.assert_allclose(uv2[:, 0], [10.5, 60.5, 65.5, -9.5])
    assert seen.tolist() == [True, True, False, False]  # wall, post, behind the post, outside


def test_the_covisibility_tolerance_is_a_range_and_not_a_depth():
    view1, view2 = two_views()
    uv1 = np.array([[190.5, 10.5]])
    shift = 0.2
    range_m = range_from_depth(4.0, uv1, view1.camera)[0]
    farther = replace(view2, depth_m=view2.depth_m + np.float32(shift))
    limit = 0.1 + 0.005 * range_m + 0.1 * math.log(2)
    assert covisible(view1, farther, uv1)[1][0] == (shift * range_m / 4 < limit)
    assert not covisible(view1, farther, uv1, tolerance_m=0.0)[1][0]


def test_small_things_need_small_tolerances(rng):
    scale = np.ones((4, 4))
    scale[:3, 3] = 0.02
    small = [  # the wall at 8 cm, the post at 4: it hides pixels 68 to 88
        replace(view, depth_m=view.depth_m * 0.02, world_from_cam=view.world_from_cam * scale)
        for view in two_views()
    ]
    ufm = {"tolerance_m": 0.012, "relative_tolerance": 0.01, "temperature_m": 0.012}

    def hidden(**options) -> bool:
        """Whether some of the places asked about are hidden."""
        qas = correspondence.ask(small, 500, rng, **options)
        u = np.array([words.tuples(qa.question)[0][0] for qa in qas]) / 2000 * 200
        return bool(((u > 70) & (u < 86)).any())

    assert hidden()
    assert not hidden(tolerances=ufm)


def test_matches_from_depth_and_pose_are_where_geometry_puts_them(rng):
    view1, view2 = two_views()
    for qa in correspondence.ask((view1, view2), 20, rng):
        x, y = words.tuples(qa.question)[0]
        u, v = PixelText().decode(f"({x:.0f}, {y:.0f})", view1.size)
        point = unproject(np.array([u, v]), view1.depth_m[int(v), int(u)], view1.camera)
        u2, v2 = project(transform(invert(view2.world_from_cam), point), view2.camera)
        np.testing.assert_allclose(qa.truth, PixelText().position((u2, v2), view2.size), atol=1)


def test_points_of_the_first_view_are_matched_to_the_last_digit(rng):
    view1, view2 = two_views()
    points = np.array(
        [[30.25, 75.5, 4.0], [100.125, 75.5, 2.0], [85.5, 75.5, 4.0]]
    )  # the last one hides
    first = replace(view1, depth_m=None, points=points)
    asked = {
        words.tuples(qa.question)[0]: qa.truth for qa in correspondence.ask((first, view2), 9, rng)
    }
    truths = [PixelText().position(place, view2.size) for place in ((10.25, 75.5), (60.125, 75.5))]
    assert list(asked) in ([(302, 1006), (1001, 1006)], [(1001, 1006), (302, 1006)])
    np.testing.assert_allclose(sorted(asked.values()), truths, atol=1e-9)
    with pytest.raises(ValueError, match="or points in the first view"):
        correspondence.ask((replace(first, points=None), view2), 5, rng)


def test_views_that_share_nothing_are_refused(rng):
    view1, view2 = two_views()
    away = np.diag([-1.0, 1.0, -1.0, 1.0])
    with pytest.raises(ValueError, match="share no point"):
        correspondence.ask((view1, replace(view2, world_from_cam=away)), 5, rng)
    with pytest.raises(ValueError, match="second view"):
        correspondence.ask((view1, replace(view2, depth_m=None)), 5, rng)


def test_points_can_be_those_in_the_middle_of_boxes(rng):
    view1, view2 = two_views()
    boxed = replace(view1, boxes=(Box(88, 20, 112, 120),))
    qas = correspondence.ask((boxed, view2), 50, rng, on="boxes")
    asked = np.array(
        [
            PixelText().decode("({:.0f}, {:.0f})".format(*words.tuples(qa.question)[0]), (200, 150))
            for qa in qas
        ]
    )
    assert len(qas) == 50
    assert np.all((asked > [94, 45]) & (asked < [106, 95]))
    with pytest.raises(NothingToAsk, match="share no point"):
        correspondence.ask((view1, view2), 5, rng, on="boxes")
    with pytest.raises(ValueError, match="'all' or 'boxes', got 'walls'"):
        correspondence.ask((boxed, view2), 5, rng, on="walls")


@pytest.mark.parametrize(
    ("text", "point"),
    [
        ("(812, 1033)", (812, 1033)),
        ("<think>look at (1, 2)</think> It is at (812, 1033).", (812, 1033)),
        ("[812, 1033]", (812, 1033)),
        ("(812,1033)", (812, 1033)),
        ("(2000, 0)", None),
        ("(-1, 5)", None),
        ("(1, 2, 3)", None),
        ("812 1033", None),
        ("", None),
    ],
)
def test_a_match_is_read_from_what_models_print(text, point):
    assert says(correspondence, text) == point


ASKED = QA("match", ((640.0, 81.0),), "Where in image 2 is pixel (640, 81) of image 1?")


@pytest.mark.parametrize("asked", [ASKED, ASKED._replace(question="", kind="")])
@pytest.mark.parametrize(
    ("text", "point"),
    [
        ("(715, 90)", (715, 90)),
        ("(640, 81) -> (715, 90)", (715, 90)),
        ("(715, 90) is where (640.0, 81.0) goes", (715, 90)),
        ("x=640, y=81 moves to x=715, y=90", (715, 90)),
        ('{"x": 715, "y": 90.5}', (715, 90.5)),
        ("<715, 90>", (715, 90)),
        ("$\\left(715, 90\\right)$", (715, 90)),
        ("\uff08715\uff0c90\uff09", (715, 90)),
        ("[THINK](1, 2)[/THINK]**(715, 90)**", (715, 90)),
        ("(715, 90), that is (715, 90)", (715, 90)),
        ("(640, 81)", (640, 81)),  # a camera that stands still
        ("(640, 81).", (640, 81)),
        ("Pixel (640, 81) of image 1", None),
        ("(640, 81) corresponds to (640, 81)", None),
        ("(715, 90) or (720, 91)", None),
        ("(640, 81), (715, 90), (720, 91)", None),
        ("between (700, 80) and (715, 90)", None),
        ("(640, 81) leaves the image at (2100, 90)", None),
        ("(710-720, 90)", None),
        ("not (715, 90)", None),
        ("(715, 90, 3)", None),
        ("(7,150, 90)", None),
        ("(7.15e2, 90)", None),
        ("<thinking>(715, 90)", None),
    ],
)
def test_the_pixel_of_the_question_is_not_its_match(asked, text, point):
    assert correspondence.read(asked, text) == point


def test_without_a_question_several_pixels_are_none():
    assert says(correspondence, "(640, 81) -> (715, 90)") is None
    assert says(correspondence, "(715, 90) = (715, 90)") == (715, 90)
    assert tasks.get("correspondence", {"scale": 700}).read(ASKED, "(715, 90)") is None


def test_correspondence_scores_of_a_case_worked_by_hand():
    pairs = [
        ((100, 100), (100, 100)),
        ((107, 100), (100, 100)),
        ((100, 140), (100, 100)),
        (None, (5, 5)),
    ]
    found = correspondence.score(pairs)
    px = [0, 7 / 2000 * 560, 40 / 2000 * 420]  # 0, 1.96 and 8.4 pixels
    assert found["epe_px"] == pytest.approx(sum(px) / 3)
    assert found["epe_px_all"] == pytest.approx(
        (sum(px) + 700) / 4
    )  # 700 px: the diagonal of 560 x 420
    assert found["epe_1000"] == pytest.approx((0 + 3.5 + 20) / 3)
    assert [found[f"pck_{k}"] for k in (1, 3, 5, 10)] == [0.25, 0.5, 0.5, 0.75]
    assert found["parsed"] == 0.75
