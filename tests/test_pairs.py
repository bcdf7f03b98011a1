"""What figures and interactives of two views put on a page."""

import json
import re

import matplotlib.pyplot as plt
import numpy as np
import pytest

from vlm3 import Camera, View
from vlm3.geometry import rotation_from_ypr
from vlm3.pages import figures, pair_widgets, pairs
from vlm3.tasks.pose import auc

CAMERA = Camera(100, 100, 64, 48, 128, 96)
VIEWS = tuple(View(np.full((96, 128, 3), grey, np.uint8), CAMERA) for grey in (90, 160))
UV1, TRUTH2 = np.array([[20.0, 30.0], [60.0, 40.0]]), np.array([[25.0, 30.0], [70.0, 44.0]])


def pose(yaw_deg: float = 0, x: float = 0, z: float = 0) -> np.ndarray:
    found = np.eye(4)
    found[:3, :3], found[[0, 2], 3] = rotation_from_ypr(yaw_deg, 0, 0), (x, z)
    return found


def signs(ax, marker: str, color: str) -> list[tuple]:
    """Where an axis has a sign of this colour."""
    lines = [
        line
        for line in ax.lines
        if line.get_marker() == marker and line.get_markeredgecolor() == color
    ]
    return [tuple(np.ravel(line.get_xydata())) for line in lines]


def test_matches_have_a_ring_for_each_truth_and_a_cross_for_each_answer():
    left, right = pairs.matches(VIEWS, UV1, [(30.0, 30.0), None], TRUTH2)
    assert [text.get_text() for text in left.texts] == ["1", "2"]
    assert signs(right, "o", pairs.TRUTH) == [(25, 30), (70, 44)]
    assert signs(right, "x", pairs.ANSWER) == [(30, 30)]


def test_an_answer_outside_the_image_is_drawn_at_its_border():
    right = pairs.matches(VIEWS, UV1[:1], [(500.0, -3.0)], TRUTH2[:1])[1]
    assert signs(right, "x", pairs.ANSWER) == [(128, 0)]


def test_without_truths_the_answers_carry_the_numbers():
    right = pairs.matches(VIEWS, UV1, [(30.0, 30.0), (1.0, 2.0)])[1]
    assert [text.get_text() for text in right.texts] == ["1", "2"]
    assert not signs(right, "o", pairs.TRUTH)


def test_a_belief_has_its_bars_beside_the_places_that_they_are_of():
    across, down = np.array([0.1, 0.9]), np.array([0.7, 0.2, 0.1])
    ax = pairs.belief(VIEWS[1], across, down, (90.0, 10.0), (500.0, 20.0), plt.subplots()[1])
    above, beside = ax.child_axes
    assert above.patches[0].get_data().values.tolist() == across.tolist()
    assert above.patches[0].get_data().edges.tolist() == [0, 64, 128]
    assert beside.patches[0].get_data().edges.tolist() == [0, 32, 64, 96]
    assert beside.get_ylim() == (96, 0)  # the first part is on top, as in the image
    assert signs(ax, "x", pairs.ANSWER) == [(90, 10)]
    assert signs(ax, "o", pairs.TRUTH) == [(128, 20)]


def test_a_histogram_counts_all_questions_and_leaves_out_what_was_not_answered():
    ax = pairs.error_histogram({"a": np.array([0.0, 5.0, 600.0, np.nan])}, width_px=560)
    heights = ax.patches[0].get_data().values
    assert heights.sum() == pytest.approx(3 / 4)
    assert heights[0] == pytest.approx(1 / 4)  # an error of nothing is in the first bin
    assert ax.get_xscale() == "log"
    assert "560" in ax.get_xlabel()


def test_a_recall_curve_steps_up_by_one_answer_and_never_counts_missing_ones():
    ax = pairs.recalls({"a": np.array([3.0, 1.0, np.inf, np.nan])}, 10)
    t, share = ax.lines[0].get_data()
    assert list(t) == [0, 1, 3, 10]
    assert list(share) == [0, 0.25, 0.5, 0.5]


def test_a_recall_curve_without_any_answer_stays_at_zero():
    assert set(pairs.recalls({"a": np.array([np.inf])}, 10).lines[0].get_ydata()) == {0}


def test_the_two_areas_are_those_of_the_score():
    errors = np.array([0.5, 2.2, 4.9, 30.0])
    ax = pairs.areas(errors, 5)
    bars, curve = ax.patches[0].get_data(), ax.lines[0]
    assert bars.values.mean() == pytest.approx(auc(errors, 5))
    t, share = curve.get_data()
    assert (np.diff(t) * share[:-1]).sum() / 5 == pytest.approx(auc(errors, 5, binned=False))
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [
        f"binned: {auc(errors, 5):.3f}",
        f"exact: {auc(errors, 5, False):.3f}",
    ]


def test_a_trend_is_the_median_of_groups_of_equal_size():
    x = np.arange(10.0)
    ax = pairs.trend(x, {"double": 2 * x, "gaps": np.where(x < 9, x, np.nan)}, bins=2)
    double, gaps = ax.lines
    assert double.get_xydata().tolist() == [[2, 4], [7, 14]]
    assert gaps.get_xydata().tolist() == [[2, 2], [6.5, 6.5]]
    assert double.get_linestyle() != gaps.get_linestyle()


def test_on_a_floor_plan_forward_is_up_and_right_is_right():
    ax = pairs.floor_plan(pose(yaw_deg=90, x=1), pose(z=2), CAMERA)
    wedges = {
        line.get_label(): line.get_xydata()
        for line in ax.lines
        if not line.get_label().startswith("_")
    }
    assert wedges["truth"][0].tolist() == [1, 0]
    assert (wedges["truth"][1:3, 0] > 1).all()  # it looks to the right
    assert wedges["answer"][0].tolist() == [0, 2]
    assert (wedges["answer"][1:3, 1] > 2).all()  # it looks up the page


@pytest.mark.parametrize("missing", ["truth", "answer"])
def test_a_floor_plan_draws_what_is_known(missing):
    known = {"truth": pose(x=1), "answer": pose(z=1)} | {missing: None}
    drawn = {line.get_label() for line in pairs.floor_plan(**known, camera=CAMERA).lines}
    assert drawn >= {"camera 1"} | known.keys() - {missing}
    assert missing not in drawn


def spec(page: str, name: str) -> list:
    """What the script of a page is given."""
    return json.JSONDecoder().raw_decode(page, page.index(f"{name} = [") + len(f"{name} = "))[0]


def test_a_match_to_follow_moves_to_the_second_picture_and_is_clipped_to_it():
    page = pair_widgets.follow(
        VIEWS, UV1, [(500.0, 30.0), None], TRUTH2, ["<b>off</b>", "no answer"], "two rooms"
    ).data
    first, second = spec(page, "matches")
    gap = 4  # 3 % of the width
    assert first["a"] == [20, 30]
    assert first["t"] == [25 + 128 + gap, 30]
    assert first["b"] == [128 + 128 + gap, 30]
    assert first["words"] == "&lt;b&gt;off&lt;/b&gt;"
    assert second["b"] is None
    assert 'alt="two rooms"' in page


def test_words_cannot_end_the_script_they_stand_in():
    page = pair_widgets.turn_cameras(
        {"a": (pose(x=1), None)}, ["</script><i>"], CAMERA, "cameras"
    ).data
    assert page.count("</script>") == 1
    assert "<i>" not in page.replace("<\\/script><i>", "")


def test_cameras_to_turn_show_truth_and_answer_in_metres():
    page = pair_widgets.turn_cameras(
        {"near": (pose(x=1), pose(z=2)), "far": (pose(x=3), None)},
        ["one", "two"],
        CAMERA,
        "two cameras",
    ).data
    near, far = spec(page, "pairs")
    assert [0.0, 0.0, 2.0] in near["lines"][1]["points"]
    assert (
        len(near["lines"]) - len(far["lines"]) == 7
    )  # the way to a camera, its rim, four edges and its roof
    assert page.count("<option>") == 2
    assert 'aria-label="two cameras"' in page


def test_the_still_is_there_before_the_browser_draws():
    page = pair_widgets.turn_cameras(
        {"a": (pose(x=1), pose(x=1))}, ["words"], CAMERA, "cameras"
    ).data
    still = re.search(r"<svg[^>]*>(.*?)</svg>", page, re.S)[1]
    assert still.count("<path") == len(spec(page, "pairs")[0]["lines"])
    numbers = np.array(re.findall(r"(-?\d+\.\d\d),(-?\d+\.\d\d)", still), float)
    assert np.abs(numbers).max() < 50  # of a drawing 100 wide


def test_two_interactives_on_a_page_do_not_share_an_id():
    ids = set()
    for _ in range(2):
        page = pair_widgets.follow(VIEWS, UV1, [None, None], TRUTH2, ["", ""], "x").data
        ids.add(re.search(r'id="([^"]+)"', page)[1])
        page = pair_widgets.turn_cameras({"a": (pose(x=1), None)}, [""], CAMERA, "x").data
        ids.add(re.search(r'id="([^"]+)"', page)[1])
    assert len(ids) == 4


def test_truth_and_answer_have_colours_for_all_kinds_of_colour_vision():
    assert {pairs.TRUTH, pairs.ANSWER} == {figures.GREEN, figures.RED}
