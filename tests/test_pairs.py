"""What figures of two views and their cameras put on a page."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from vlm3 import Camera, View
from vlm3.geometry import rotation_from_ypr
from vlm3.pages import pairs
from vlm3.pages.palette import BLUE, RED
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


def test_answers_beside_each_other_tell_their_mean_error_and_those_far_off():
    said = {"near": TRUTH2, "far": [None, TRUTH2[1] + [32, 0]]}
    first, near, far = pairs.beside(VIEWS, UV1, said, TRUTH2)
    assert [text.get_text() for text in near.texts] == ["1", "2"]
    assert [text.get_text() for text in far.texts] == ["1", "2: 140 px"]  # of 560, a quarter
    assert far.get_title() == "image 2, far: off by 140 px"
    assert signs(first, "o", BLUE) == [(20, 30), (60, 40)]
    assert signs(far, "x", pairs.ANSWER) == [(102, 44)]


def test_joined_places_are_blue_where_right_and_carry_their_error_where_wrong():
    ax = pairs.joined(VIEWS, UV1, TRUTH2 + [[0, 0], [30, 40]], TRUTH2)
    assert [text.get_text() for text in ax.texts] == ["50 px"]
    right, wrong, off, *_ = ax.lines
    assert (right.get_color(), wrong.get_color()) == (BLUE, RED)
    assert right.get_xydata().tolist() == [[20, 30], [128 + 25, 30]]
    assert off.get_xydata().tolist() == [[128 + 100, 84], [128 + 70, 44]]  # back to the truth


def test_without_truths_all_joined_places_are_blue():
    ax = pairs.joined(VIEWS, UV1, TRUTH2)
    assert {line.get_color() for line in ax.lines} == {BLUE}
    assert not ax.texts


def test_a_sheet_is_clear_where_no_view_is():
    low = View(np.full((48, 64, 3), 7, np.uint8), Camera(50, 50, 32, 24, 64, 48))
    sheet = pairs.sheet((VIEWS[0], low), gap=3)
    assert sheet.shape == (96, 128 + 3 + 64, 4)
    assert (sheet[..., 3] == 255).sum() == 96 * 128 + 48 * 64
    assert (sheet[:48, 131:] == [7, 7, 7, 255]).all()


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


def test_a_frustum_opens_the_way_the_camera_looks():
    ax = pairs.frusta({"forward": pose(), "backward": pose(yaw_deg=180)}, CAMERA, size_m=1.0)
    # z is drawn as the second axis
    forward, backward = (np.array(line.get_data_3d())[1] for line in ax.lines)
    assert forward.max() == pytest.approx(1.0)
    assert backward.min() == pytest.approx(-1.0)


def test_the_roof_of_a_frustum_is_above_its_rim():
    apex, rim, roof = pairs.frustum(pose(x=2), CAMERA, 0.5)
    assert apex.tolist() == [2, 0, 0]
    np.testing.assert_allclose(rim[:, 2], 0.5)
    assert roof[1] < rim[:, 1].min()  # y is down


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
