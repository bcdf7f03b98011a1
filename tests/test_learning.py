"""Pictures and numbers of how a model came to look are those of what was recorded."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from vlm3 import Camera, View
from vlm3.pages import learning

HEADLINES = {
    "depth": "delta_1",
    "correspondence": "epe_px_all",
    "pose": "auc_30",
    "objects": "qualitative",
}


def validation(samples: int, owed: float) -> dict:
    same = dict.fromkeys(HEADLINES, 0.5)
    return {"samples": samples, "images": same, "others": {t: 0.5 * (1 + owed) for t in same}}


def stage(samples: int, score: float) -> dict:
    return {
        "samples": samples,
        "watched": validation(samples, 0.0),
        "scores": {task: {name: score} for task, name in HEADLINES.items()},
        "interval": {task: [score - 0.1, score + 0.1] for task in HEADLINES},
        "depth_m": [[1.0, None], [2.0, 3.0]],
    }


RESULTS = {
    "eyes": {
        "began": "",
        "runs": [{"steps": 9, "seconds": 150.2, "device": "one GPU"}],
        "training": [{"step": s, "losses": {"tower": 2 / s}} for s in (1, 2, 4)],
    },
    "runs": [{"from": 0, "seconds": 60, "device": "A"}, {"from": 300, "seconds": 9, "device": "B"}],
    "watched": [validation(n, owed) for n, owed in ((200, 0.2), (300, 0.0), (400, 1), (500, 2))],
    "blind": {task: {"who": "place", "scores": {name: 0.3}} for task, name in HEADLINES.items()},
    "stages": [stage(100, 0.1), stage(250, 0.2), stage(400, 0.6)],
}


def test_validations_of_runs_and_stages_are_one_series_in_which_the_log_counts():
    seen = learning.watched(RESULTS)
    assert [each["samples"] for each in seen] == [100, 200, 250, 300, 400, 500]
    assert learning.owed(seen[4], "pose") == 1


def test_a_task_begins_to_look_where_two_validations_in_a_row_say_so():
    assert learning.begins(learning.watched(RESULTS), "depth") == (300, 400)
    assert learning.begins([validation(5, 1), validation(6, 1)], "depth") == (0, 5)
    assert learning.begins([validation(5, 1), validation(6, 0)], "depth") is None
    assert learning.between([], "depth") == "not at all"


def test_losses_have_a_band_where_looking_begins_and_a_line_where_a_run_does():
    for ax in learning.losses(RESULTS):
        assert len(ax.lines) == 3  # two losses, and the beginning of the second run
        assert ax.patches[-1].get_extents().width > 0


def test_a_stage_without_a_length_is_blank_and_all_maps_have_the_same_colours():
    view = View(
        np.zeros((4, 4, 3), np.uint8), Camera(4, 4, 2, 2, 4, 4), np.arange(1, 17.0).reshape(4, 4)
    )
    drawn = [ax.images[-1] for ax in learning.depth_stages(view, RESULTS["stages"])[1:5]]
    assert drawn[1].get_array().mask.sum() == 1
    assert len({image.get_clim() for image in drawn}) == 1


def test_an_error_goes_on_along_its_last_slope():
    found = learning.course(RESULTS, "depth")
    np.testing.assert_allclose(found.errors, [0.9, 0.8, 0.4])
    assert found.blank == 2  # it begins to look after 300 samples
    assert found.slope == pytest.approx(np.log(0.4 / 0.8) / np.log(400 / 250))
    assert found.after(400 / 250) == pytest.approx(0.4 * 0.4 / 0.8)
    assert found.blind == pytest.approx(0.7)
    np.testing.assert_allclose(found.limits[-1], [0.3, 0.5])
    assert learning.at_stages(found)["250 samples"] == "0.8"


def test_the_slope_spans_the_last_doubling_where_the_task_looked_by_then():
    found = learning.course(RESULTS, "depth")._replace(blank=0)
    assert found.since == 0
    assert found.slope == pytest.approx(np.log(0.4 / 0.9) / np.log(4))


def test_small_errors_of_matches_are_good_as_they_are():
    found = learning.course(RESULTS, "correspondence")
    np.testing.assert_allclose(found.errors, [0.1, 0.2, 0.6])
    assert learning.error_of("correspondence") == "epe_px_all (px)"
    assert learning.error_of("pose") == "1 - auc_30"


def test_courses_show_what_twice_the_samples_would_bring():
    for ax in learning.courses(RESULTS):
        assert {line.get_xdata()[-1] for line in ax.lines} >= {800}


def test_the_eyes_begin_at_one():
    (line,) = learning.tower(RESULTS).lines
    assert list(line.get_ydata()) == [1, 0.5, 0.25]


def test_time_is_told_with_where_it_was_spent():
    assert learning.took(RESULTS, "words") == "60 seconds on A and 9 seconds on B"
    assert learning.took(RESULTS, "eyes") == "150 seconds on one GPU"


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")
