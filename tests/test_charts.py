"""Charts of answers show what the answers are."""

import numpy as np
import pytest

from vlm3 import Box
from vlm3.pages import charts


def labelled(ax) -> list[str]:
    return [text.get_text() for text in ax.figure.legends[0].get_texts()]


def test_means_are_those_of_each_bin_and_few_values_have_none():
    x = np.repeat([0.5, 1.0, 2.5], [6, 5, 4])
    values = np.concatenate([[1, 1, 1, 0, 0, 0], [1, 1, 1, 1, 0], [1, 1, 1, 1]])
    found = charts.binned(x, values, [0, 1, 2, 3])
    assert found.middles.tolist() == [0.5, 1.0]  # a value on an edge belongs to the bin above it
    assert found.means.tolist() == [0.5, 0.8]
    assert found.counts.tolist() == [6, 5]
    assert found.errors[0] == pytest.approx(0.5 / np.sqrt(6))


def test_no_answer_is_in_no_mean():
    found = charts.binned(np.ones(7), np.array([1, 1, 1, 1, 1, np.nan, np.nan]), [0, 2])
    assert found.means.tolist() == [1]
    assert found.counts.tolist() == [5]


def test_nothing_in_any_bin_is_an_empty_chart():
    found = charts.binned(np.ones(7), np.full(7, np.nan), [0, 2])
    assert found.means.shape == (0,)


def test_by_distance_has_a_line_for_each_model_and_the_number_of_questions_of_each_range():
    truth = np.repeat([0.5, 1.5], [10, 20])
    ax = charts.by_distance(truth, {"a": np.ones(30), "b": np.zeros(30)}, [0, 1, 2], "share right")
    lines = [container.lines[0] for container in ax.containers]
    assert [line.get_ydata().tolist() for line in lines] == [[1, 1], [0, 0]]
    assert lines[0].get_marker() != lines[1].get_marker()
    assert [text.get_text() for text in ax.texts] == ["10", "20"]
    assert labelled(ax) == ["a", "b"]


def test_by_place_has_a_mean_in_each_cell_and_leaves_out_cells_with_few_answers():
    corner, middle = [[5, 5]] * 6, [[55, 55]] * 2
    ax = charts.by_place(
        np.array(corner + middle), (100, 100), np.array([1, 1, 1, 0, 0, 0, 1, 1]), cells=(2, 2)
    )
    drawn = np.array(ax.images[0].get_array())
    assert drawn[0, 0] == 0.5
    assert np.isnan(drawn[1, 1])
    assert [text.get_text() for text in ax.texts] == ["0.50"]


def test_ratios_share_out_all_answers_and_put_far_ones_at_the_ends():
    ax = charts.ratios({"a": np.array([1.0, 1.0, 100.0, 1e-6]), "b": np.array([1.0, np.nan])})
    first, second = [patch.get_data().values for patch in ax.patches if hasattr(patch, "get_data")]
    assert first.sum() == pytest.approx(100)
    assert (first[0], first[-1]) == (25, 25)
    assert second.sum() == pytest.approx(50)  # of two questions one has no answer


def test_answers_stand_against_their_truth_inside_the_axes():
    truth = np.array([1.0, 2.0, 4.0])
    ax = charts.against(truth, {"a": truth * 2, "b": np.full(3, np.nan)})
    diagonal, points, *_ = ax.lines
    assert np.array_equal(diagonal.get_xdata(), diagonal.get_ydata())
    np.testing.assert_array_equal(points.get_xydata(), np.stack([truth, 2 * truth], -1))
    assert ax.get_xlim()[0] < 1
    assert ax.get_ylim()[1] > 8


def test_a_distribution_marks_its_numbers():
    ax = charts.distribution(
        np.array([1.0, 2.0]), np.array([0.25, 0.75]), {"mean": 1.75, "truth": 2.0}
    )
    assert labelled(ax) == ["mean, 1.75", "truth, 2.00"]
    assert ax.get_ylim()[1] > 75


def test_an_honest_confidence_lies_on_the_diagonal():
    said = np.repeat([0.2, 0.8], 50)
    right = np.tile(np.arange(50) < 10, 2)
    right[50:] = np.arange(50) < 40
    ax = charts.reliability({"a": (said, right)}, bins=2)
    (container,) = ax.containers
    np.testing.assert_allclose(container.lines[0].get_xydata(), [[0.2, 0.2], [0.8, 0.8]], atol=1e-9)


def test_a_constant_confidence_is_one_point():
    ax = charts.reliability({"a": (np.full(40, 0.5), np.arange(40) < 20)})
    np.testing.assert_allclose(ax.containers[0].lines[0].get_xydata(), [[0.5, 0.5]])


def test_bars_have_one_length_for_each_model_and_category_and_errors_only_with_counts():
    found = {"left right": {"a": 1.0, "b": 0.5}, "distance": {"a": 0.25}}
    ax = charts.bars(found, "share right")
    assert [label.get_text() for label in ax.get_yticklabels()] == ["left right", "distance"]
    np.testing.assert_array_equal([bar.get_width() for bar in ax.patches], [1, 0.25, 0.5, np.nan])
    assert not ax.collections
    assert charts.bars(found, "share right", {"left right": 4, "distance": 0}).collections


def test_the_hand_of_the_clock_points_from_one_object_to_the_other():
    boxes = [Box(0, 0, 1, 1, "chest", (1.0, 0.0, 2.0)), Box(0, 0, 1, 1, "lamp", (3.0, 0.5, 2.0))]
    ax = charts.clock(boxes, 0, 1)
    texts = {text.get_text(): text for text in ax.texts}
    assert {"chest", "lamp", "camera", *map(str, range(1, 13))} <= texts.keys()
    np.testing.assert_allclose(
        texts["3"].get_position(), (2.1, 2.0)
    )  # 3 o'clock is to the right, as the lamp is
    np.testing.assert_allclose(texts["12"].get_position(), (1.0, 3.1))  # 12 is away from the camera


def test_hours_are_shares_around_the_clock():
    ax = charts.hours({"a": np.array([0, 0, 1, -1]), "b": np.array([6, np.nan])})
    heights = np.array([bar.get_height() for bar in ax.patches[1:]]).reshape(2, 12)
    assert heights[0, [0, 1, 11]].tolist() == [0.5, 0.25, 0.25]
    assert heights[1].sum() == heights[1, 6] == 0.5  # of two questions one has no answer
    assert [label.get_text() for label in ax.get_xticklabels()][:2] == ["0 h", "+1"]
