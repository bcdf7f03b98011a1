"""General skills: exact questions about what makers of pictures know, and labels that can be
read."""

import math

import numpy as np
import pytest

from vlm3 import mixture, tasks
from vlm3.sources.printed import Printed, labelled
from vlm3.views import QA, Box, NothingToAsk, View

skills = tasks.get("skills")
GREY = np.full((60, 80, 3), 128, np.uint8)
BOXES = [
    Box(0, 40, 10, 50, "red ball"),
    Box(20, 40, 30, 50, "blue ball"),
    Box(40, 40, 50, 50, "grey shelf"),
    Box(0, 0, 30, 10, '"KLM47"'),
]


@pytest.fixture
def asked(rng):
    """All questions about two balls, a shelf and a label."""
    return {qa.kind: qa for qa in skills.ask([View(GREY, None, boxes=tuple(BOXES))], 1000, rng)}


def test_each_kind_is_asked_with_what_is_true_of_the_boxes(rng):
    found = skills.ask([View(GREY, None, boxes=tuple(BOXES))], 1000, rng)
    truths = {(qa.truth[0], qa.truth[1]) for qa in found}
    assert truths == {
        ("count", 0),
        ("count", 2),
        ("count", 1),
        ("colour", "grey"),  # balls are two, so no ball has the colour
        ("reading", "KLM47"),
        ("caption", ("ball", "shelf")),
    }
    assert any("shelves" in qa.question for qa in found if qa.kind == "count")


def test_right_answers_score_one_and_every_kind_is_asked_before_one_comes_again(rng):
    found = skills.ask([View(GREY, None, boxes=tuple(BOXES))], 4, rng)
    assert [qa.kind for qa in found] == ["count", "colour", "reading", "caption"]
    pairs = [(skills.read(qa, qa.answer), qa.truth) for qa in found]
    scores = skills.score(pairs)
    assert set(scores.values()) == {1.0}


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("count", "There are two balls.", 2),
        ("count", "<think>3 or 4</think>2", 2),
        ("count", "2 or 3", None),
        ("colour", "It is Gray.", "grey"),
        ("colour", "red and blue", None),
        ("reading", "KLM 47", "KLM47"),
        ("reading", "", None),
        ("caption", "Two balls, one red.", "two balls one red"),
    ],
)
def test_answers_in_words_are_read(kind, text, value):
    assert skills.read(QA(kind, (), "?"), text) == value


def test_a_caption_counts_by_what_it_names_and_a_wrong_answer_not_at_all(asked):
    pairs = [
        (skills.read(asked["caption"], "Some balls."), asked["caption"].truth),
        (skills.read(asked["reading"], 'The label says "klm-47".'), asked["reading"].truth),
        (skills.read(asked["colour"], "red"), asked["colour"].truth),
        (None, ["count", 2]),  # as a file has it
    ]
    scores = skills.score(pairs)
    assert (scores["caption"], scores["reading"], scores["colour"]) == (0.5, 1, 0)
    assert scores["count"] == 0
    assert scores["skills"] == pytest.approx(1.5 / 4)
    assert scores["parsed"] == 0.75
    assert math.isnan(skills.score(pairs[:1])["count"])


def test_nothing_is_asked_of_boxes_without_names(rng):
    with pytest.raises(NothingToAsk, match="named objects"):
        skills.ask([View(GREY, None, boxes=(Box(0, 0, 9, 9),))], 4, rng)


def test_a_label_hides_no_object_that_is_asked_about_and_is_black_on_white(rng):
    view = labelled(View(GREY, None, boxes=tuple(BOXES[:3])), "ABC23", rng)
    *objects, label = view.boxes
    assert label.name == '"ABC23"'
    assert objects == BOXES[:3]
    inside = view.image[int(label[1]) : int(label[3]), int(label[0]) : int(label[2])]
    assert inside.min() < 64 < 255 == inside.max()
    over = Box(0, 0, 80, 20, "red ball")
    assert len(labelled(View(GREY, None, boxes=(over,)), "ABC23", rng).boxes) == 1


def test_the_packaged_probe_asks_all_kinds_of_rooms_and_reading_of_photos(rng):
    source = mixture.load("skills").sources["skills"]
    room, photo = (source.sample(item, "", rng) for item in (0, 9))
    assert {qa.kind for qa in room.qas} == {"count", "colour", "reading", "caption"}
    assert {qa.kind for qa in photo.qas} == {"reading"}
    assert Printed(20)[3].boxes == Printed(20)[3].boxes
