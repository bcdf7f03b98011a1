"""What readers touch is in the page."""

import base64
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.test_pairs import CAMERA, TRUTH2, UV1, VIEWS, pose
from vlm3 import Camera, View, unify_focal
from vlm3.pages import widgets
from vlm3.sources import photos

VIEW = View(np.zeros((20, 30, 3), np.uint8), Camera(9, 9, 15, 10, 30, 20))
KNOWN = View(VIEW.image, VIEW.camera, np.ones((20, 30), np.float32))
BROWSER = Path(widgets.__file__).parent / "browser"
TOLD = [[{"question": f"at {r}, {c}?", "answer": "<b>"} for c in range(3)] for r in range(2)]


def given(page: str, name: str) -> list | dict:
    """What the script of a page is given under this name."""
    start = f"{name} = "
    return json.JSONDecoder().raw_decode(page, page.index(start) + len(start))[0]


EVERY = {
    "pixel_picker": lambda: widgets.pixel_picker(VIEW, "<room>"),
    "answer_picker": lambda: widgets.answer_picker(VIEW, TOLD, "<room>", 10),
    "point_cloud": lambda: widgets.point_cloud(KNOWN, "<room>"),
    "follow": lambda: widgets.follow(VIEWS, UV1, [None, None], TRUTH2, ["", ""], "<room>"),
    "turn_cameras": lambda: widgets.turn_cameras({"a": (pose(x=1), None)}, [""], CAMERA, "<room>"),
}


@pytest.mark.parametrize("name", EVERY)
def test_every_widget_has_an_alt_text_and_keys_and_nothing_left_to_fill_in(name):
    page = EVERY[name]().data
    assert re.search('(alt|aria-label)="&lt;room&gt;"', page)
    assert "ArrowLeft" in page
    assert 'tabindex="0"' in page
    assert not re.search(r"\$[a-z]", page)
    assert not re.search(r"^ *//", page, re.MULTILINE)


@pytest.mark.parametrize("name", EVERY)
def test_two_widgets_on_a_page_do_not_share_an_id(name):
    ids = [re.search('id="([^"]+)"', EVERY[name]().data)[1] for _ in range(2)]
    assert ids[0] != ids[1]


@pytest.mark.skipif(not shutil.which("node"), reason="no node on the PATH")
@pytest.mark.parametrize("path", sorted(BROWSER.glob("*.js")), ids=lambda path: path.name)
def test_what_the_browser_runs_can_be_read_as_javascript_before_it_is_filled_in(path):
    done = subprocess.run(["node", "--check", path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_slider_starts_at_the_frame_it_shows():
    box = widgets.slider({"a": "<i>1</i>", "b": "<i>2</i>"}, "letter", start=1)
    knob, stack = box.children
    assert (knob.index, stack.selected_index) == (1, 1)
    assert [child.value for child in stack.children] == ["<i>1</i>", "<i>2</i>"]


def test_unknown_depth_is_json_too():
    nowhere = View(VIEW.image, VIEW.camera, np.full((20, 30), np.nan, np.float32))
    depth = given(widgets.pixel_picker(nowhere, "a room").data, "spec")["depth"]
    assert depth == {"step": 8, "rows": [[0] * 4] * 3}


def test_a_picked_square_has_its_question_and_its_answer_escaped():
    found = given(widgets.answer_picker(VIEW, TOLD, "a room", step=10).data, "spec")
    assert found["cells"] == [3, 2]
    assert found["labels"] == ["question", "answer"]
    assert found["rows"][1][2] == ["at 1, 2?", "&lt;b&gt;"]


def test_right_answers_are_dots_and_wrong_ones_crosses_and_unknown_ones_neither():
    page = widgets.answer_picker(
        VIEW, TOLD, "a room", 10, [[True, True, False], [None, None, None]]
    ).data
    dots, _, crosses, _ = re.findall(r'<path d="([^"]*)"', page)
    assert dots.count("M") == 2
    assert crosses.count("M") == 1
    assert crosses.startswith("M23.75 3.75")


def test_squares_that_do_not_fit_the_view_are_refused():
    with pytest.raises(ValueError, match="2 rows of 3 squares of 10"):
        widgets.answer_picker(VIEW, TOLD[:1], "a room", 10)
    with pytest.raises(ValueError, match="30x20"):
        widgets.answer_picker(VIEW, [row[:2] for row in TOLD], "a room", 10)


def test_a_point_cloud_holds_a_point_for_every_known_pixel_it_takes():
    view = unify_focal(photos.motorcycle().view1, focal_px=200)
    page = widgets.point_cloud(view, "a cloud", step=5).data
    rgb = base64.b64decode(re.search(r'read\("([^"]*)", Uint8Array', page)[1])
    assert len(rgb) == 3 * np.isfinite(view.depth_m[2::5, 2::5]).sum()
    assert 'aria-label="a cloud"' in page


def test_a_match_to_follow_moves_to_the_second_picture_and_is_clipped_to_it():
    page = widgets.follow(
        VIEWS, UV1, [(500.0, 30.0), None], TRUTH2, ["<b>off</b>", "no answer"], "two rooms"
    ).data
    first, second = given(page, "matches")
    gap = 4  # 3 % of the width
    assert first["a"] == [20, 30]
    assert first["t"] == [25 + 128 + gap, 30]
    assert first["b"] == [128 + 128 + gap, 30]
    assert first["words"] == "&lt;b&gt;off&lt;/b&gt;"
    assert second["b"] is None
    assert 'alt="two rooms"' in page


def test_words_cannot_end_the_script_they_stand_in():
    page = widgets.turn_cameras({"a": (pose(x=1), None)}, ["</script><i>"], CAMERA, "cameras").data
    assert page.count("</script>") == 1
    assert "<i>" not in page.replace("<\\/script><i>", "")


def test_cameras_to_turn_show_truth_and_answer_in_metres():
    page = widgets.turn_cameras(
        {"near": (pose(x=1), pose(z=2)), "far": (pose(x=3), None)},
        ["one", "two"],
        CAMERA,
        "two cameras",
    ).data
    near, far = given(page, "pairs")
    assert [0.0, 0.0, 2.0] in near["lines"][1]["points"]
    # The way to a camera, its rim, four edges and its roof.
    assert len(near["lines"]) - len(far["lines"]) == 7
    assert page.count("<option>") == 2
    assert 'aria-label="two cameras"' in page


def test_the_still_is_there_before_the_browser_draws():
    page = widgets.turn_cameras({"a": (pose(x=1), pose(x=1))}, ["words"], CAMERA, "cameras").data
    still = re.search(r"<svg[^>]*>(.*?)</svg>", page, re.S)[1]
    assert still.count("<path") == len(given(page, "pairs")[0]["lines"])
    numbers = np.array(re.findall(r"(-?\d+\.\d\d),(-?\d+\.\d\d)", still), float)
    assert np.abs(numbers).max() < 50  # of a drawing 100 wide
