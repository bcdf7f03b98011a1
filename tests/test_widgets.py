"""What readers pick from is in the page."""

import json
import re

import numpy as np
import pytest

from vlm3 import Camera, View
from vlm3.pages import widgets

VIEW = View(np.zeros((20, 30, 3), np.uint8), Camera(9, 9, 15, 10, 30, 20))
TOLD = [[{"question": f"at {r}, {c}?", "answer": "<b>"} for c in range(3)] for r in range(2)]


def spec(page) -> dict:
    return json.loads(re.search(r"spec = (\{.*?\}), caption", page.data)[1])


def test_a_picked_square_has_its_question_and_its_answer_escaped():
    found = spec(widgets.answer_picker(VIEW, TOLD, "a room", step=10))
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


def test_both_pickers_have_alt_texts_and_keys():
    for page in (
        widgets.pixel_picker(VIEW, "a <room>"),
        widgets.answer_picker(VIEW, TOLD, "a <room>", 10),
    ):
        assert 'alt="a &lt;room&gt;"' in page.data
        assert "ArrowLeft" in page.data
        assert 'tabindex="0"' in page.data
        assert "$" not in re.sub(r"\$\{", "", page.data)
