"""All tasks: by name, in words, and on real photographs."""

import dataclasses
import math
import random
import string

import pytest

from tests.conftest import says
from vlm3 import Box, tasks
from vlm3.focal import unify_focal, unify_pair
from vlm3.geometry import unproject
from vlm3.sources import photos
from vlm3.sources.rooms import Rooms
from vlm3.tasks import text as words
from vlm3.tasks.depth import Depth

correspondence, depth = tasks.get("correspondence"), tasks.get("depth")
objects, pose = tasks.get("objects"), tasks.get("pose")


def test_a_task_is_had_by_its_name_and_no_other():
    assert type(tasks.get("depth")) is Depth
    with pytest.raises(ValueError, match="'dept'"):
        tasks.get("dept")


@pytest.mark.parametrize("name", tasks.NAMES)
def test_every_question_has_at_least_five_different_wordings(name):
    found = tasks.get(name).templates.values()
    tables = [table for table in found if isinstance(table, dict) and "questions" in table]
    assert tables
    for table in tables:
        assert len(set(table["questions"])) >= 5


def test_templates_of_a_reader_are_used_instead(tmp_path, rng, motorcycle):
    path = tmp_path / "mine.toml"
    table = '[z]\nquestions = ["Depth of {point}, of {scale}?"]\nanswer = "<{value:.1f} m>"\n'
    path.write_text(f"scale = 100\n{table}")
    qa = Depth(words.load(path)).ask([motorcycle.view1], 1, rng)[0]
    assert qa.question.startswith("Depth of (")
    assert qa.question.endswith("of 100?")
    assert says(depth, qa.answer) == pytest.approx(qa.truth, abs=0.05)
    path.write_text("scale = [")
    with pytest.raises(ValueError, match=r"mine\.toml"):
        words.load(path)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_templates_of_a_windows_editor_are_read_or_named(tmp_path, encoding):
    path = tmp_path / "mine.toml"
    path.write_bytes('scale = 7\r\nnote = "Stra\u00dfe"\r\n'.encode(encoding))
    if encoding == "utf-8-sig":
        assert words.load(path) == {"scale": 7, "note": "Stra\u00dfe"}
    else:
        with pytest.raises(ValueError, match=r"mine\.toml: not a text file in UTF-8"):
            words.load(path)


def asked_and_parsed(task, qas):
    return [(says(task, qa.answer), qa.truth) for qa in qas]


@pytest.mark.parametrize("name", ["depth", "correspondence", "pose"])
def test_an_answer_written_by_ask_is_read_back(name, rng, motorcycle):
    task, views = tasks.get(name), [motorcycle.view1, motorcycle.view2]
    extra = {"matches": (motorcycle.uv1, motorcycle.uv2)} if name == "correspondence" else {}
    found = task.score(asked_and_parsed(task, task.ask(views, 40, rng, **extra)))
    assert found["parsed"] == 1.0
    assert found[{"depth": "delta_1", "correspondence": "pck_1", "pose": "auc_30"}[name]] == 1.0


@pytest.mark.parametrize("name", tasks.NAMES)
def test_every_task_reads_an_answer_knowing_its_question_with_and_without_a_truth(name, rng):
    views = next(views for views in Rooms("medium", "test") if len(views[0].boxes) > 2)
    task = tasks.get(name)
    for qa in task.ask(views, 30, rng):
        assert qa.kind
        assert not task.subject or set(qa.about) <= set(words.tuples(qa.question)) != set()
        value = task.read(qa, qa.answer)
        assert value is not None
        assert value == task.read(qa._replace(truth=None), qa.answer)
        assert value == task.read(qa._replace(kind="", about=()), qa.answer)


def adversarial(draw: random.Random) -> str:
    pieces = [
        "<think>",
        "</think>",
        "<answer>",
        "</answer>",
        "yaw",
        "pitch",
        "roll",
        "-",
        "+",
        ".",
        ",",
        "(",
        ")",
        "[",
        "]",
        " ",
        "m",
        " metres",
        "cm",
        "ft",
        "\u00b0",
        "degrees",
        "1",
        "2.4",
        "0",
        "1e9",
        "9" * 30,
        "\u0663",
        "nan",
        "inf",
        "\u2212",
        "1_0",
        "0x1",
        "\n",
        "o'clock",
    ]
    if draw.random() < 0.5:
        return "".join(draw.choices(pieces, k=draw.randrange(12)))
    return "".join(draw.choices(string.printable, k=draw.randrange(30)))


def test_no_string_makes_a_parser_fail_or_leave_its_range():
    draw = random.Random(4)
    for _ in range(20_000):
        text = adversarial(draw)
        metres, point, found = says(depth, text), says(correspondence, text), says(pose, text)
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
    for task in (depth, correspondence, pose):
        says(task, text * 50_000)


def test_perturbed_answers_get_the_score_worked_by_hand(rng, motorcycle):
    qas = depth.ask([motorcycle.view1], 40, rng)
    pairs = [(qa.truth * (1.3 if i < 10 else 1.1), qa.truth) for i, qa in enumerate(qas)]
    found = depth.score(pairs)
    assert found["delta_1"] == 0.75
    assert found["abs_rel"] == pytest.approx((10 * 0.3 + 30 * 0.1) / 40)
    qas = correspondence.ask(
        [motorcycle.view1, motorcycle.view2], 40, rng, (motorcycle.uv1, motorcycle.uv2)
    )
    pairs = [((qa.truth[0] + 10 * (i < 20), qa.truth[1]), qa.truth) for i, qa in enumerate(qas)]
    assert correspondence.score(pairs)["epe_px"] == pytest.approx(10 / 2000 * 560 / 2)
    assert correspondence.score(pairs)["pck_1"] == 0.5


def test_chessboard_poses_and_corners_go_through_both_pair_tasks(rng):
    for pair in map(unify_pair, photos.chessboards()[:3]):
        views, corners = (pair.view1, pair.view2), (pair.uv1, pair.uv2)
        assert len(corners[0]) == 54
        qas = correspondence.ask(views, 54, rng, corners)
        assert correspondence.score(asked_and_parsed(correspondence, qas))["pck_1"] == 1.0
        found = pose.score(asked_and_parsed(pose, pose.ask(views, 4, rng)))
        assert found["auc_5"] > 0.79  # angles are written with one decimal, directions with two
        assert found["rotation_error_deg"] < 0.1


@pytest.fixture(scope="module")
def labelled(ibims_views):
    """iBims-1 photos with two boxes each, drawn here around labelled pixels far apart, and their
    places in space."""
    found = []
    for view in ibims_views[:10]:
        unified = unify_focal(view)
        uv, z_m = unified.points[:, :2], unified.points[:, 2]
        ends = [uv[:, 0].argmin(), uv[:, 0].argmax()]
        places = unproject(uv[ends], z_m[ends], unified.camera)
        boxes = []
        for name, (u, v), place in zip(
            ("left thing", "right thing"), uv[ends], places, strict=True
        ):
            xmin, ymin = max(u - 15, 0), max(v - 15, 0)
            boxes.append(Box(xmin, ymin, xmin + 20, ymin + 20, name, tuple(place.tolist())))
        found.append(dataclasses.replace(unified, boxes=tuple(boxes)))
    return found


def test_ibims_photos_go_through_depth_and_objects(labelled, rng):
    pairs = [
        pair for view in labelled for pair in asked_and_parsed(depth, depth.ask([view], 100, rng))
    ]
    assert len(pairs) == 1000
    assert depth.score(pairs)["delta_1"] == 1.0
    assert depth.score([(answer * 1.3, truth) for answer, truth in pairs])["delta_1"] == 0.0
    asked = [qa for view in labelled for qa in objects.ask([view], 6, rng)]
    found = objects.score(asked_and_parsed(objects, asked))
    assert found["qualitative"] == found["quantitative"] == found["parsed"] == 1.0
    assert all(objects.judge(qa, qa.answer) for qa in asked)


def test_rooms_go_through_all_four_tasks(rng):
    for views in Rooms("medium", "test").batch(range(5)):
        assert depth.score(asked_and_parsed(depth, depth.ask(views, 20, rng)))["delta_1"] == 1.0
        matches = asked_and_parsed(correspondence, correspondence.ask(views, 20, rng))
        assert correspondence.score(matches)["pck_1"] == 1.0
        assert pose.score(asked_and_parsed(pose, pose.ask(views, 4, rng)))["auc_10"] > 0.8
    boxed = next(views for views in Rooms("medium", "test") if len(views[0].boxes) > 2)
    found = objects.score(asked_and_parsed(objects, objects.ask(boxed, 20, rng)))
    assert found["parsed"] == found["qualitative"] == 1.0


def test_the_aloe_goes_through_correspondence_and_pose(rng):
    pair = unify_pair(photos.aloe())
    qas = correspondence.ask(pair[:2], 100, rng, matches=pair[2:])
    assert correspondence.score(asked_and_parsed(correspondence, qas))["pck_1"] == 1.0
    found = pose.score(asked_and_parsed(pose, pose.ask(pair[:2], 4, rng)))
    assert found["auc_5"] == 1.0
    assert found["distance_abs_rel"] == 0.0


def test_templates_can_be_adapted_value_by_value_and_the_packaged_ones_stay():
    changed = tasks.get("depth", {"scale": 100, "z": {"answer": "{value:.1f}"}}).templates
    assert (changed["scale"], changed["z"]["answer"], changed["range"]["answer"]) == (
        100,
        "{value:.1f}",
        "{value:.2f}",
    )
    assert changed["z"]["questions"] == tasks.get("depth").templates["z"]["questions"]
    assert tasks.get("depth").templates["scale"] == 2000
    with pytest.raises(ValueError, match=r"depth\.z have no questoins, only"):
        tasks.get("depth", {"z": {"questoins": []}})
