"""All tasks: by name, in words, and on real photographs."""

import math
import random
import string

import pytest

from vlm3 import tasks
from vlm3.focal import unify_pair
from vlm3.sources import photos
from vlm3.tasks import correspondence, depth, pose
from vlm3.tasks import text as words

PARSERS = {"depth": depth.parse, "correspondence": correspondence.parse, "pose": pose.parse}


def test_a_task_is_had_by_its_name_and_no_other():
    assert tasks.get("depth") is depth
    with pytest.raises(ValueError, match="'dept'"):
        tasks.get("dept")


@pytest.mark.parametrize("name", tasks.NAMES)
def test_every_question_has_at_least_five_different_wordings(name):
    tables = {k: v for k, v in words.packaged(name).items() if isinstance(v, dict) and "questions" in v}
    assert tables
    for table in tables.values():
        assert len(set(table["questions"])) >= 5


def test_templates_of_a_reader_are_used_instead(tmp_path, rng, motorcycle):
    path = tmp_path / "mine.toml"
    path.write_text('scale = 100\n[z]\nquestions = ["Depth of {point}, of {scale}?"]\nanswer = "<{value:.1f} m>"\n')
    qa = depth.ask([motorcycle.view1], 1, rng, templates=words.load(path))[0]
    assert qa.question.startswith("Depth of (")
    assert qa.question.endswith("of 100?")
    assert depth.parse(qa.answer) == pytest.approx(qa.truth, abs=0.05)
    path.write_text("scale = [")
    with pytest.raises(ValueError, match=r"mine\.toml"):
        words.load(path)


def asked_and_parsed(task, qas):
    return [(task.parse(qa.answer), qa.truth) for qa in qas]


@pytest.mark.parametrize("name", PARSERS)
def test_an_answer_written_by_ask_is_read_back(name, rng, motorcycle):
    task, views = tasks.get(name), [motorcycle.view1, motorcycle.view2]
    extra = {"matches": (motorcycle.uv1, motorcycle.uv2)} if name == "correspondence" else {}
    found = task.score(asked_and_parsed(task, task.ask(views, 40, rng, **extra)))
    assert found["parsed"] == 1.0
    assert found[{"depth": "delta_1", "correspondence": "pck_1", "pose": "auc_30"}[name]] == 1.0


def adversarial(draw: random.Random) -> str:
    pieces = ["<think>", "</think>", "<answer>", "</answer>", "yaw", "pitch", "roll", "-", "+", ".", ",", "(", ")", "[",
              "]", " ", "m", " metres", "cm", "ft", "\u00b0", "degrees", "1", "2.4", "0", "1e9", "9" * 30, "\u0663",
              "nan", "inf", "\u2212", "1_0", "0x1", "\n", "o'clock"]  # fmt: skip
    if draw.random() < 0.5:
        return "".join(draw.choices(pieces, k=draw.randrange(12)))
    return "".join(draw.choices(string.printable, k=draw.randrange(30)))


def test_no_string_makes_a_parser_fail_or_leave_its_range():
    draw = random.Random(4)
    for _ in range(20_000):
        text = adversarial(draw)
        metres, point, found = depth.parse(text), correspondence.parse(text), pose.parse(text)
        assert metres is None or 0 < metres < math.inf, text
        assert point is None or all(0 <= p < 2000 for p in point), text
        for field, value in (found or {}).items():
            if field == "direction":
                assert math.hypot(*value) == pytest.approx(1), text
            else:
                assert (0 <= value < math.inf) if field == "distance_m" else abs(value) <= 180, text


@pytest.mark.parametrize(
    "text", ["1", "1.", "-", ".1", "1 ", "(1, ", "(1,2,3", "<think>", "yaw", "yaw ", "1 deg", "5 m"]
)
def test_long_repetitions_are_read_without_backtracking(text):
    """A parser that backtracks would hang here for minutes."""
    for parse in PARSERS.values():
        parse(text * 50_000)


def test_perturbed_answers_get_the_score_worked_by_hand(rng, motorcycle):
    qas = depth.ask([motorcycle.view1], 40, rng)
    pairs = [(qa.truth * (1.3 if i < 10 else 1.1), qa.truth) for i, qa in enumerate(qas)]
    found = depth.score(pairs)
    assert found["delta_1"] == 0.75
    assert found["abs_rel"] == pytest.approx((10 * 0.3 + 30 * 0.1) / 40)
    qas = correspondence.ask([motorcycle.view1, motorcycle.view2], 40, rng, (motorcycle.uv1, motorcycle.uv2))
    pairs = [((qa.truth[0] + 10 * (i < 20), qa.truth[1]), qa.truth) for i, qa in enumerate(qas)]
    assert correspondence.score(pairs)["epe_px"] == pytest.approx(10 / 2000 * 560 / 2)
    assert correspondence.score(pairs)["pck_1"] == 0.5


def test_chessboard_poses_and_corners_go_through_both_pair_tasks(rng):
    first, other = (unify_pair(photos.chessboards()[i]) for i in (0, 7))
    views, matches = (first.view1, other.view2), (first.uv1, other.uv2)
    if len(matches[0]) == len(matches[1]) == 54:
        qas = correspondence.ask(views, 54, rng, matches)
        assert correspondence.score(asked_and_parsed(correspondence, qas))["pck_1"] == 1.0
    found = pose.score(asked_and_parsed(pose, pose.ask(views, 4, rng)))
    assert found["auc_5"] == 1.0
    assert found["rotation_error_deg"] < 0.1
