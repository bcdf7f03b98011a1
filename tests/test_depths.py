"""What the pages on depth share counts as the task counts."""

import numpy as np

from vlm3 import Camera, View, tasks
from vlm3.pages import depths


def test_answers_are_metres_and_no_length_is_nan():
    np.testing.assert_array_equal(depths.metres([1.5, None]), [1.5, np.nan])


def test_the_truth_is_that_of_the_pixel_that_a_place_lies_in():
    depth_m = np.array([[1.0, 2.0, 3.0], [4.0, np.nan, 6.0]], np.float32)
    view = View(np.zeros((2, 3, 3), np.uint8), Camera(3, 3, 1.5, 1, 3, 2), depth_m)
    found = depths.true_m(view, np.array([[2.9, 0.0], [0.5, 1.5], [1.0, 1.0]]))
    np.testing.assert_array_equal(found, [3, 4, np.nan])


def test_as_many_answers_are_right_as_delta_1_counts():
    metres, truth_m = np.array([1.0, 1.2, 1.25, 0.81, 0.8, np.nan]), np.ones(6)
    right = depths.right(metres, truth_m)
    assert right.tolist() == [True, True, False, True, False, False]
    pairs = list(zip(metres, truth_m, strict=True))
    assert right.mean() == tasks.get("depth").score(pairs)["delta_1"]


def test_a_score_that_is_not_there_is_called_none():
    shown = depths.row("silent", tasks.get("depth").score([(None, 1.0)]))
    assert shown[""] == "silent"
    assert (shown["delta_1"], shown["abs_rel"], shown["parsed"]) == ("0.000", "none", "0.000")
