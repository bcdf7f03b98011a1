"""Questions about a photo: its own pixels go in, and values in its own pixels come out."""

import re
from types import SimpleNamespace

import numpy as np
import pytest

from tests.training import NETWORK
from vlm3 import tasks
from vlm3.geometry import Camera
from vlm3.qwen import model
from vlm3.qwen.lessons import Lesson
from vlm3.reference import PixelText
from vlm3.tasks import text
from vlm3.tasks.pose_text import PARTS
from vlm3.terminal import ask
from vlm3.views import QA, Answer, View

SCALE = 500
FOCAL_PX = 90.0  # of the lessons: photos are made smaller and larger
TEMPLATES = {"scale": SCALE}
SIZES = [
    (741, 500, 995.0, 995.0),
    (96, 64, 90.0, 90.0),
    (333, 777, 1400.0, 1390.0),
    (50, 40, 30.0, 45.0),
]


@pytest.fixture
def vlm():
    """Not a network, but what is asked of one about its lessons."""

    def lesson(task):
        return Lesson(FOCAL_PX, TEMPLATES if task != "pose" else {})

    return SimpleNamespace(lesson=lesson, task=lambda name: lesson(name).task(name))


@pytest.fixture
def said(monkeypatch):
    """What was asked of the network; it answers with what `said.replies` makes of each question."""
    found = SimpleNamespace(replies=lambda question: "")

    def answers(vlm, views, questions, longest):
        found.views = views if isinstance(views, tuple) else (views,)
        found.qas = list(questions)
        found.questions = [qa.question for qa in questions]
        return [Answer(words, (-0.5,)) for words in map(found.replies, found.questions)]

    monkeypatch.setattr(ask.decode, "answer", answers)
    return found


def photo(width, height, fx, fy, **more):
    return View(
        np.zeros((height, width, 3), np.uint8),
        Camera(fx, fy, width / 2, height / 2, width, height),
        **more,
    )


def place(question):
    """The last "(x, y)" of a question."""
    return re.findall(r"\([\d, ]+\)", question)[-1]


@pytest.mark.parametrize("size", SIZES)
def test_a_pixel_is_asked_about_where_it_is_in_the_unified_photo(vlm, said, size):
    view, rng = photo(*size), np.random.default_rng(0)
    uv = rng.uniform(0, 0.95, (20, 2)) * view.size
    ask.depth(vlm, view, uv)
    (unified,) = said.views
    assert (unified.camera.fx, unified.camera.fy) == pytest.approx((FOCAL_PX, FOCAL_PX))
    back = [PixelText(SCALE).decode(place(question), unified.size) for question in said.questions]
    half_a_bin = np.array(unified.size) / SCALE / 2 * np.divide(size[2:], FOCAL_PX)
    assert (np.abs(np.array(back) * np.divide(size[2:], FOCAL_PX) - uv) <= half_a_bin + 1e-6).all()


@pytest.mark.parametrize("size", SIZES)
def test_the_last_pixels_of_a_photo_can_be_asked_about(vlm, said, size):
    view = photo(*size)
    ask.depth(vlm, view, np.nextafter(view.size, 0))
    ask.depth(vlm, view, ask.grid(view.size, 7).reshape(-1, 2))
    assert len(said.questions) == (size[0] // 7) * (size[1] // 7)


@pytest.mark.parametrize("uv", [(-1, 5), (5, -0.001), (96, 5), (5, 64), (np.nan, 5), (1e9, 1e9)])
def test_a_pixel_outside_the_photo_is_refused_in_its_own_coordinates(vlm, said, uv):
    view = photo(96, 64, 90.0, 90.0)
    for question in (
        lambda: ask.depth(vlm, view, [(1, 1), uv]),
        lambda: ask.correspondence(vlm, view, view, [uv]),
        lambda: ask.depth_spreads(vlm, view, [uv]),
    ):
        with pytest.raises(
            ValueError, match=re.escape(f"({uv[0]:g}, {uv[1]:g}) lies outside the 96x64")
        ):
            question()


def test_a_photo_without_a_focal_length_cannot_be_asked_about(vlm, said):
    with pytest.raises(ValueError, match="focal length"):
        ask.depth(vlm, View(np.zeros((64, 96, 3), np.uint8), None), [(1, 1)])


@pytest.mark.parametrize("second", SIZES)
def test_a_match_comes_back_in_pixels_of_the_second_photo(vlm, said, second):
    views = photo(*SIZES[0]), photo(*second)
    uv2 = np.random.default_rng(0).uniform(0, 0.95, (10, 2)) * views[1].size
    asked = iter(
        uv2 * np.divide(FOCAL_PX, second[2:])
    )  # where they are in the unified second photo

    def reply(question):
        x, y = (int(p / s * SCALE) for p, s in zip(next(asked), said.views[1].size, strict=True))
        return f"({x}, {y})"

    said.replies = reply
    found = ask.correspondence(vlm, *views, np.full((10, 2), 20.0))
    half_a_bin = np.array(said.views[1].size) / SCALE / 2 * np.divide(second[2:], FOCAL_PX)
    assert (np.abs(np.array([a.value for a in found]) - uv2) <= half_a_bin + 1e-6).all()
    assert len(said.views) == 2


def test_no_match_said_is_none(vlm, said):
    view = photo(*SIZES[0])
    assert [a.value for a in ask.correspondence(vlm, view, view, [(3, 4), (5, 6)])] == [None, None]


def test_all_that_is_asked_about_a_pose_comes_back_as_one(vlm, said):
    view, texts = photo(*SIZES[0]), iter(["4 degrees", "", "(1.0, 0.0, 0.0)", "Who knows?"])
    said.replies = lambda question: next(texts)
    merged, answers = ask.pose(vlm, view, view)
    assert merged == {"rotation_angle_deg": 4.0, "direction": (1.0, 0.0, 0.0)}
    assert len(answers) == len(PARTS)
    said.replies = lambda question: ""
    assert len(ask.pose(vlm, view, view, metric=False)[1]) == len(PARTS) - 1


def test_a_field_of_a_pose_is_what_was_said_when_it_was_asked_for(vlm, said):
    view = photo(*SIZES[0])
    texts = iter(["4 degrees, 9 m", "30 degrees; yaw 3", "", "2 m; yaw 70"])
    said.replies = lambda question: next(texts)
    assert ask.pose(vlm, view, view)[0] == {
        "rotation_angle_deg": 4.0,
        "yaw_deg": 3.0,
        "distance_m": 2.0,
    }


def test_every_question_says_of_what_kind_and_about_what_it_is(vlm, said):
    view = photo(*SIZES[0], boxes=((40.0, 60.0, 300.0, 444.0), (333.3, 10.0, 700.0, 200.0)))
    ask.depth(vlm, view, [(20, 30), (40, 50)])
    assert [(qa.kind, qa.about) for qa in said.qas] == [
        ("z", tuple(text.tuples(qa.question)[-1:])) for qa in said.qas
    ]
    ask.correspondence(vlm, view, view, [(20, 30)])
    assert [(qa.kind, qa.about) for qa in said.qas] == [
        ("match", tuple(text.tuples(said.questions[0])[-1:]))
    ]
    ask.pose(vlm, view, view)
    assert [(qa.kind, qa.about) for qa in said.qas] == [(part, ()) for part in PARTS]
    ask.objects(
        vlm, view, [QA("distance_data", (), "How far is {2} from {1}?"), "How wide is {1}?"]
    )
    assert [qa.kind for qa in said.qas] == ["distance_data", ""]
    assert [qa.about for qa in said.qas] == [
        tuple(text.tuples(question)) for question in said.questions
    ]


def test_boxes_are_named_where_they_are_in_the_unified_photo_after_one_note(vlm, said):
    boxes = (40.0, 60.0, 300.0, 444.0), (333.3, 10.0, 700.0, 200.0)
    view = photo(*SIZES[0], boxes=boxes)
    ask.objects(
        vlm,
        view,
        ["How far is {2} from {1}?", "Which is bigger, {1} or {2}, or {1}?", "What is this?"],
    )
    (unified,) = said.views
    texts = [re.findall(r"\((?:\d+, ){3}\d+\)", question) for question in said.questions]
    assert [len(found) for found in texts] == [2, 3, 0]
    assert texts[0] == texts[1][1::-1]
    back = np.array([PixelText(SCALE).decode_box(text, unified.size) for text in texts[1][:2]])
    bins = np.tile(np.array(unified.size) / SCALE, 2) * SIZES[0][2] / FOCAL_PX
    assert (np.abs(back * SIZES[0][2] / FOCAL_PX - boxes) <= bins).all()
    note = said.questions[2].removesuffix(" What is this?")
    assert f"from 0 to {SCALE}" in note
    assert [question.count(note) for question in said.questions] == [1, 1, 1]
    ask.objects(vlm, view, said.questions)
    assert [question.count(note) for question in said.questions] == [1, 1, 1]


@pytest.mark.parametrize(
    "question", ["How wide is {3}?", "How wide is {0}?", "How wide is {}?", "And {1.size}?"]
)
def test_a_box_that_is_not_there_is_refused(vlm, said, question):
    view = photo(*SIZES[0], boxes=((40, 60, 300, 444), (333, 10, 700, 200)))
    with pytest.raises(ValueError, match="there are 2 boxes"):
        ask.objects(vlm, view, [question])


def test_a_box_that_unification_leaves_out_is_refused(vlm, said):
    view = photo(*SIZES[2], boxes=((328, 60, 333, 444), (33, 10, 300, 200)))
    with pytest.raises(ValueError, match="draw it larger"):
        ask.objects(vlm, view, ["How wide is {1}?"])


def test_a_map_holds_what_is_said_at_the_middle_of_every_square(vlm, said):
    view = photo(96, 64, 90.0, 90.0)
    uv = ask.grid(view.size, 10)
    assert uv.shape == (6, 9, 2)
    assert uv[0, 0].tolist() == [5, 5]
    assert uv[-1, -1].tolist() == [85, 55]

    def reply(question):
        u, v = PixelText(SCALE).decode(place(question), said.views[0].size)
        return f"{u + 1000 * v:.3f}"

    said.replies = reply
    metres = ask.depth_map(vlm, view, stride=10, progress=False, at_once=13)
    assert metres.shape == (6, 9)
    assert metres.dtype == np.float32
    np.testing.assert_allclose(metres, uv[..., 0] + 1000 * uv[..., 1], atol=1 / SCALE * 64 * 1000)


def test_a_map_knows_nothing_where_no_sensible_length_is_said(vlm, said):
    texts = iter(["2.5", "far", f"{1e30:.0f}", f"{1e-30:.30f}", "3.0", "4.0"])
    said.replies = lambda question: next(texts)
    metres = ask.depth_map(vlm, photo(96, 64, 90.0, 90.0), stride=32, progress=False)
    assert np.isnan(metres).tolist() == [[False, True, True], [True, False, False]]


@pytest.mark.parametrize("stride", [0, -3, 65])
def test_a_map_without_a_square_is_refused(vlm, said, stride):
    with pytest.raises(ValueError, match="from 1 to 64"):
        ask.depth_map(vlm, photo(96, 64, 90.0, 90.0), stride)


def test_what_the_packaged_questions_ask_fits_one_box_and_two(rng):
    objects = tasks.get("objects")
    one, three = ([qa.question for qa in objects.questions(n, rng)] for n in (1, 3))
    assert len(one) == 2
    assert all("{1}" in question and "{2}" not in question for question in one)
    assert len(three) == 3 * 2 + 3 * 4
    assert {re.sub(r"[^1-3]", "", "".join(re.findall(r"{\d}", q))) for q in three} == {
        "1",
        "2",
        "3",
        "12",
        "13",
        "23",
    }
    with pytest.raises(ValueError, match="at least one box"):
        objects.questions(0, rng)


def test_no_pixel_gives_no_answer():
    vlm = model.new(model.config("tiny", **NETWORK), seed=1)
    view = photo(96, 64, 1000.0, 1000.0)
    assert (
        ask.depth(vlm, view, [])
        == ask.depth_spreads(vlm, view, [])
        == ask.correspondence(vlm, view, view, [])
        == []
    )
