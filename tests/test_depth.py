"""Metric depth: what is asked is true, what is said is read, what is scored is right."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import says
from vlm3 import Camera, PixelText, View, tasks
from vlm3.sources import photos
from vlm3.tasks import text as words
from vlm3.views import QA, NothingToAsk

depth = tasks.get("depth")


def test_depth_asks_about_different_pixels_and_their_true_depth(rng, motorcycle):
    view = motorcycle.view1
    qas = depth.ask([view], 50, rng)
    points = [words.tuples(qa.question)[0] for qa in qas]
    assert len(set(points)) == 50
    for point, qa in zip(points, qas, strict=True):
        u, v = PixelText().decode(f"({point[0]:.0f}, {point[1]:.0f})", view.size)
        near = view.depth_m[int(v) - 1 : int(v) + 2, int(u) - 1 : int(u) + 2]
        assert np.nanmin(np.abs(near - qa.truth)) < 1e-6


def test_range_questions_ask_for_the_distance_from_the_camera_centre(rng):
    camera = Camera(100, 100, 50, 50, 100, 100)
    depth_m = np.full((100, 100), np.nan, np.float32)
    depth_m[50, 99] = 2.0  # its ray is (0.495, 0.005, 1)
    view = View(np.zeros((100, 100, 3), np.uint8), camera, depth_m)
    assert depth.ask([view], 5, rng, kind="range")[0].truth == pytest.approx(
        2 * math.sqrt(1 + 0.495**2 + 0.005**2)
    )
    assert depth.ask([view], 5, rng)[0].truth == 2.0
    with pytest.raises(ValueError, match="'disparity'"):
        depth.ask([view], 1, rng, kind="disparity")


def test_depth_asks_about_points_where_they_are_to_the_last_digit(rng):
    camera = Camera(100, 100, 50, 50, 100, 100)
    points = np.array([[10.04, 20.06, 1.2345678], [99.99, 0.01, 7.5], [33.31, 66.61, 22.125]])
    view = View(np.zeros((100, 100, 3), np.uint8), camera, points=points)
    asked = {words.tuples(qa.question)[0]: qa.truth for qa in depth.ask([view], 50, rng)}
    assert asked == {(200, 401): 1.2345678, (1999, 0): 7.5, (666, 1332): 22.125}
    u, v, z_m = points[0]
    ranges = [qa.truth for qa in depth.ask([view], 3, rng, kind="range")]
    assert min(abs(r - z_m * math.hypot(1, (u - 50) / 100, (v - 50) / 100)) for r in ranges) < 1e-12


def test_a_view_whose_labels_are_all_out_of_sight_has_nothing_to_ask(rng):
    view = View(
        np.zeros((100, 100, 3), np.uint8),
        Camera(100, 100, 50, 50, 100, 100),
        points=np.empty((0, 3)),
    )
    with pytest.raises(NothingToAsk, match="no depth is known"):
        depth.ask([view], 5, rng)


def test_a_view_without_depth_cannot_be_asked_for_depth(rng):
    view = photos.motorcycle().view2
    with pytest.raises(ValueError, match="depth_m"):
        depth.ask([view], 1, rng)


@pytest.mark.parametrize(
    ("text", "metres"),
    [
        ("2.41", 2.41),
        ("2.41 m", 2.41),
        ("<think>It seems 3.00 meters away.</think><answer>2.41</answer>", 2.41),
        ("The depth at (812, 1033) is about 2.4 metres.", 2.4),
        ("240 cm", 2.4),
        ("7.9 feet", 7.9 * 0.3048),
        ("2.4 metres (7.9 feet)", 2.4),
        ("+2.5", 2.5),
        ("2.41 in metres", 2.41),
        ("The surface is 2.41 in front of the camera.", 2.41),
        ("95 in", 95 * 0.0254),
        ("between 2 m and 3 m", None),
        ("between 2 and 3 m", None),
        ("2-3 m", None),
        ("2,5 m", None),
        ("1,234.5 m", None),
        ("-2.4", None),
        ("0.00 m", None),
        ("3 \u0130n", None),
        ("1e5", None),
        ("2.4.1", None),
        ("9" * 400, None),
        ("<think>2.4", None),
        ("far away", None),
        ("", None),
    ],
)
def test_depth_is_read_from_what_models_print(text, metres):
    assert says(depth, text) == (metres if metres is None else pytest.approx(metres))


@pytest.mark.parametrize(
    "asked", [QA("", ((31.0, 402.0),), ""), QA("z", ((31.0, 402.0),), "?", "", 2.4)]
)
@pytest.mark.parametrize(
    "text", ["2.4", "The depth at (31, 402) is 2.4 m.", "pixel 31, 402: 2.4", "x=31, y=402, z=2.4"]
)
def test_the_pixel_of_the_question_is_no_length(asked, text):
    assert depth.read(asked, text) == 2.4
    assert depth.read(asked, text.replace("2.4", "")) is None


def test_depth_scores_of_a_case_worked_by_hand():
    pairs = [(2.0, 2.0), (2.0, 2.4), (1.0, 1.5), (3.0, 1.0), (None, 4.0), (-2.0, 2.0)]
    found = depth.score(pairs)
    assert found["delta_1"] == pytest.approx(2 / 6)  # ratios 1, 1.2, 1.5, 3, none, negative
    assert found["delta_2"] == pytest.approx(3 / 6)
    assert found["delta_3"] == pytest.approx(3 / 6)
    assert found["abs_rel"] == pytest.approx((0 + 0.4 / 2.4 + 0.5 / 1.5 + 2) / 4)
    assert found["rmse_m"] == pytest.approx(math.sqrt((0 + 0.16 + 0.25 + 4) / 4))
    assert found["parsed"] == pytest.approx(4 / 6)
    assert found["delta_1_answered"] == pytest.approx(2 / 4)
    assert found["delta_1_depthlm"] == pytest.approx(3 / 6)  # the negative answer passes there


def test_depth_scores_equal_those_written_the_long_way():
    draw = np.random.default_rng(1)
    truth = draw.uniform(0.5, 20, 500)
    guess = truth * np.exp(draw.normal(0, 0.3, 500))
    found = depth.score(list(zip(guess.tolist(), truth.tolist(), strict=True)))
    inside, relative, squared = 0, 0.0, 0.0
    for p, g in zip(guess, truth, strict=True):
        inside += p / g < 1.25 and g / p < 1.25
        relative += abs(p - g) / g
        squared += (p - g) ** 2
    assert found["delta_1"] == pytest.approx(inside / 500)
    assert found["abs_rel"] == pytest.approx(relative / 500)
    assert found["rmse_m"] == pytest.approx(math.sqrt(squared / 500))


@settings(deadline=None, max_examples=50, derandomize=True)
@given(
    st.floats(0.01, 999),
    st.sampled_from(["{} m", "it is {} metres", "<answer>{}</answer>", "({}, 4) then {} m"]),
)
def test_depth_survives_any_wrapping(metres, wrapping):
    assert says(depth, wrapping.replace("{}", f"{metres:.2f}")) == pytest.approx(
        round(metres, 2) or None
    )
