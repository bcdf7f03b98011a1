"""The terminal commands: what they print, and how they end on bad input."""

import json
import re
import subprocess
import sys

import pytest
from PIL import Image

from tests.conftest import photo_file, position_image
from tests.training import small
from vlm3 import parallel, tasks
from vlm3.qwen import model
from vlm3.qwen.lessons import Lesson
from vlm3.scoring import evaluate
from vlm3.sources import photos
from vlm3.tasks.english import Hour
from vlm3.terminal import asking, cli, doctor, shown

PHOTO = str(photos.DATA / "motorcycle_left.png")
RIGHT = str(photos.DATA / "motorcycle_right.png")
FOCAL = ("--focal-px", "994.978")
BOXES = ("--box", "100,150,400,450", "--box", "420,100,600,300")
ASKED = {
    "depth": [PHOTO, "--at", "300,200", "--at", "12.5,499"],
    "correspondence": [PHOTO, RIGHT, "--at", "300,200"],
    "pose": [PHOTO, RIGHT],
    "objects": [PHOTO, *BOXES],
}


def vlm3(monkeypatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["vlm3", *words])
    with pytest.raises(SystemExit) as end:
        cli.main()
    return end.value.code


def test_doctor_names_versions_machine_and_every_profile(monkeypatch, capsys):
    vlm3(monkeypatch, "doctor")
    said = capsys.readouterr().out
    for word in ("Python", "torch", "transformers", "cores", "memory", "GPU", *doctor.PROFILES):
        assert word in said


def test_doctor_says_what_is_missing_and_what_to_type(monkeypatch, capsys):
    real = doctor._version
    monkeypatch.setattr(
        doctor, "_version", lambda name: None if name == "papermill" else real(name)
    )
    monkeypatch.setattr(doctor, "_gpus", list)
    assert vlm3(monkeypatch, "doctor") == 1
    said = capsys.readouterr().out
    assert "papermill<3,>=2.6 (pip install -e '.[book]')" in said
    assert "a CUDA GPU with 16 GB" in said


def test_unify_shows_the_camera_before_and_after(monkeypatch, capsys, tmp_path):
    picture = tmp_path / "both.png"
    assert vlm3(monkeypatch, "unify", PHOTO, "--focal-px", "994.978", "--save", str(picture)) == 0
    before, after = capsys.readouterr().out.splitlines()[1:3]
    assert before.split()[:3] == ["before", "741x500", "995.0"]
    assert after.split()[:4] == ["after", "768x512", "1000.0", "1000.0"]
    assert Image.open(picture).size[0] > 1000
    assert list(tmp_path.iterdir()) == [picture]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nothing.jpg"], "nothing.jpg: no such photo"),
        ([__file__, "--focal-px", "900"], "not a picture"),
        ([PHOTO], "Three ways out"),
        ([PHOTO, "--focal-px", "-3"], "-3"),
        ([PHOTO, "--focal-px", "nan"], "nan"),
        ([PHOTO, "--focal-px", "1e-5"], "is its focal length"),
        ([PHOTO, "--focal-px", "900", "--max-pixels", "3"], "3"),
        ([PHOTO, "--focal-px", "900", "--save", PHOTO], "the photo itself"),
        ([PHOTO, "--focal-px", "900", "--save", "picture"], "ends in .png"),
        ([PHOTO, "--focal-px", "900", "--save", "no/such/folder/a.png"], "no folder"),
        ([PHOTO, "--focal-px", "900", "--save", "picture.xyz"], "xyz"),
    ],
)
def test_bad_input_to_unify_ends_in_one_line_that_names_it(
    monkeypatch, capsys, tmp_path, words, message
):
    monkeypatch.chdir(tmp_path)
    assert vlm3(monkeypatch, "unify", *words) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.startswith("vlm3: ")
    assert said.count("\n") == 1
    assert not list(tmp_path.iterdir())


UNREADABLE = {
    "panorama.jpg": (
        dict(f35=26, xmp='<r GPano:ProjectionType="equirectangular"/>'),
        "a panorama (equirectangular)",
    ),
    "action.jpg": (dict(f35=1), "no focal length known for this 36x24 image"),
    "zoomed.jpg": (dict(f35=26, zoom=3), "no focal length known"),
    "raw.nef": (None, "a raw file: develop it"),
    "phone.heic": (None, "HEIC needs pillow-heif: pip install pillow-heif"),
    "text.jpg": (None, "not a picture"),
    "folder.jpg": (None, "no such photo"),
}


@pytest.mark.parametrize(
    "command", [["unify"], ["ask", "depth", "--at", "3,3"], ["questions"]], ids=" ".join
)
@pytest.mark.parametrize(
    ("name", "shot", "message"), [(name, *rest) for name, rest in UNREADABLE.items()]
)
def test_photos_that_cannot_be_used_end_in_one_line_from_every_command(
    monkeypatch, capsys, tmp_path, command, name, shot, message
):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    path = tmp_path / name
    if shot:
        photo_file(path, position_image(36, 24), **shot)
    elif name == "folder.jpg":
        path.mkdir()
    else:
        path.write_bytes(b"\0\0\0\x18ftypheic" + bytes(40) if name == "phone.heic" else b"words")
    assert vlm3(monkeypatch, *command, str(path)) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"vlm3: {path}: {message}")
    assert said.err.count("\n") == 1


def asked(monkeypatch, capsys, task: str, *words: str) -> dict:
    """What `vlm3 ask TASK ... --json` prints about the packaged photos."""
    assert vlm3(monkeypatch, "ask", task, *words, *FOCAL, "--json") == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("task", ASKED)
def test_ask_says_which_photos_it_saw_and_one_line_for_each_answer(monkeypatch, capsys, task):
    words = ASKED[task]
    facts = asked(monkeypatch, capsys, task, *words)
    seen = [word for word in words if word in (PHOTO, RIGHT)]
    assert facts["task"] == task
    known = {"focal_px": 994.978, "focal_relative_std": None, "focal_from": "given"}
    assert facts["photos"] == [
        {"path": path, "width": 741, "height": 500, **known} for path in seen
    ]
    assert all(0 < answer["probability"] <= 1 for answer in facts["answers"])
    assert vlm3(monkeypatch, "ask", task, *words, *FOCAL) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[: len(seen)] == [
        f"{path}: 741x500 px, focal length 995 px (given)" for path in seen
    ]
    told = lines[len(seen) + 1 :][: len(facts["answers"])]
    for line, answer in zip(told, facts["answers"], strict=True):
        assert answer["text"] in line
    assert lines[-1] == asking.TOY


def test_ask_depth_gives_metres_and_how_sure_they_are_for_each_pixel(monkeypatch, capsys):
    facts = asked(monkeypatch, capsys, "depth", *ASKED["depth"])
    assert [answer["pixel"] for answer in facts["answers"]] == [[300, 200], [12.5, 499]]
    for answer in facts["answers"]:
        assert answer["depth_m"] is None or answer["depth_m"] > 0
        assert answer["sure"] is None or 0 <= answer["sure"] <= 1
    vlm3(monkeypatch, "ask", "depth", *ASKED["depth"], *FOCAL)
    said = capsys.readouterr().out
    assert re.search(r"^\(300, 200\) +([0-9.]+ m|-) ", said, re.MULTILINE)
    assert asking.SURE in said


def test_ask_depth_makes_a_map_of_the_whole_photo(monkeypatch, capsys, tmp_path):
    picture = tmp_path / "map.png"
    facts = asked(monkeypatch, capsys, "depth", PHOTO, "--dense", "125", "--save", str(picture))
    assert facts["answers"] == []
    assert facts["map"]["stride"] == 125
    assert [len(row) for row in facts["map"]["metres"]] == [5] * 4
    assert min(Image.open(picture).size) > 300


def test_ask_pose_answers_all_parts_and_puts_them_together(monkeypatch, capsys):
    facts = asked(monkeypatch, capsys, "pose", *ASKED["pose"])
    assert [answer["about"] for answer in facts["answers"]] == [
        "angle",
        "rotation",
        "direction",
        "distance",
    ]
    assert facts["pose"].keys() == {
        name for answer in facts["answers"] for name in answer["value"] or {}
    }


def test_ask_objects_asks_what_is_asked_or_else_what_fits_the_boxes(monkeypatch, capsys):
    own = asked(
        monkeypatch, capsys, "objects", *ASKED["objects"], "--question", "How far is {1} from {2}?"
    )
    assert [answer["question"] for answer in own["answers"]] == ["How far is {1} from {2}?"]
    assert own["boxes"] == [[100, 150, 400, 450], [420, 100, 600, 300]]
    assert len(asked(monkeypatch, capsys, "objects", PHOTO, *BOXES[:2])["answers"]) == 2
    assert len(asked(monkeypatch, capsys, "objects", PHOTO, *BOXES)["answers"]) > 4


@pytest.mark.parametrize("wordings", ["one", "several"])
def test_another_seed_asks_in_other_words_where_a_model_was_taught_several(
    monkeypatch, capsys, wordings
):
    if wordings == "several":
        monkeypatch.setattr(model.VLM, "lesson", lambda self, task: Lesson(focal_px=100))

    def questions(*seed) -> list[str]:
        found = asked(monkeypatch, capsys, "objects", PHOTO, *BOXES, *seed)["answers"]
        return [answer["question"] for answer in found]

    assert (questions() == questions("--seed", "1")) == (wordings == "one")


@pytest.mark.parametrize("task", ASKED)
def test_ask_draws_its_answers_on_the_photos(monkeypatch, capsys, tmp_path, task):
    picture = tmp_path / "answers.png"
    assert vlm3(monkeypatch, "ask", task, *ASKED[task], *FOCAL, "--save", str(picture)) == 0
    assert capsys.readouterr().out.endswith(f"saved {picture}\n")
    assert min(Image.open(picture).size) > 200
    assert list(tmp_path.iterdir()) == [picture]


@pytest.mark.parametrize("task", ASKED)
def test_ask_prints_and_draws_what_a_model_says_even_if_it_is_nonsense(
    monkeypatch, capsys, tmp_path, task
):
    words = [
        *ASKED[task],
        *FOCAL,
        "--model",
        small(tmp_path).model,
        "--save",
        str(tmp_path / "answers.png"),
    ]
    words += ["--dense", "200"] if task == "depth" else []
    assert vlm3(monkeypatch, "ask", task, *words) == 0
    said = capsys.readouterr().out
    assert asking.TOY not in said
    assert (tmp_path / "answers.png").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["depth"], "1 photo, got 0"),
        (["depth", PHOTO, PHOTO, "--at", "1,2"], "1 photo, got 2"),
        (["depth", PHOTO], "--at 300,200"),
        (["depth", PHOTO, "--dense", "16"], "--save"),
        (["depth", PHOTO, "--at", "300"], "'300' is not u,v"),
        (["depth", PHOTO, "--at", "a,b"], "'a,b' is not u,v"),
        (["depth", PHOTO, "--at", "nan,3"], "'nan,3' is not u,v"),
        (
            ["depth", PHOTO, "--at", "1,2", "--at", "741,3"],
            "(741, 3) lies outside the 741x500 photo",
        ),
        (["depth", PHOTO, "--dense", "501", "--json"], "from 1 to 500"),
        (["depth", PHOTO, "--dense", "-1", "--json"], "from 1 to 500"),
        (["depth", "nothing.jpg", "--at", "1,2"], "nothing.jpg: no such photo"),
        (
            ["depth", PHOTO, "--at", "1,2", "--model", "no/such/model/here"],
            "no folder 'no/such/model/here'",
        ),
        (["depth", PHOTO, "--at", "1,2", "--save", PHOTO], "the photo itself"),
        (["depth", PHOTO, "--at", "1,2", "--save", "no/such/folder/a.png"], "no folder"),
        (["depth", PHOTO, "--at", "1,2", "--save", "picture.xyz"], "xyz"),
        (["correspondence", PHOTO, "--at", "1,2"], "2 photos, got 1"),
        (["correspondence", PHOTO, RIGHT], "--at 300,200"),
        (["correspondence", PHOTO, RIGHT, "--at=-1,3"], "(-1, 3) lies outside"),
        (["pose", PHOTO], "2 photos, got 1"),
        (["objects", PHOTO], "--box xmin,ymin,xmax,ymax"),
        (["objects", PHOTO, "--box", "1,2,3"], "'1,2,3' is not xmin,ymin,xmax,ymax"),
        (["objects", PHOTO, "--box", "1,2,3000,4"], "3000"),
        (["objects", PHOTO, *BOXES, "--question", "How far is {1} from {3}?"], "{3}"),
    ],
)
def test_bad_input_to_ask_ends_in_one_line_that_names_it(
    monkeypatch, capsys, tmp_path, words, message
):
    monkeypatch.chdir(tmp_path)
    assert vlm3(monkeypatch, "ask", *words, *FOCAL) == 2
    said = capsys.readouterr()
    assert message in said.err
    assert said.err.startswith("vlm3: ")
    assert said.err.count("\n") == 1
    assert not said.out
    assert not list(tmp_path.iterdir())


def test_ask_wants_a_focal_length_that_nobody_knows_and_says_so_before_torch_is_loaded():
    code = f"""
import sys
from vlm3.terminal import cli, doctor
sys.argv = ["vlm3", "ask", "depth", {PHOTO!r}, "--at", "1,2"]
try:
    cli.main()
except SystemExit as end:
    print(end.code, "torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["2", "False"]
    assert "Three ways out" in done.stderr


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "-"),
        (True, "yes"),
        (False, "no"),
        (1.234, "1.23 m"),
        (Hour(3), "3 o'clock"),
        ("first", "first"),
    ],
)
def test_an_answer_about_objects_is_said_with_its_unit(value, words):
    assert shown.value(tasks.get("objects"), value) == words


def test_columns_stand_below_each_other_whatever_is_said():
    lines = shown.aligned([("a", "said"), ("longer", "two\nlines"), ("b", "word " * 100)])
    assert {
        line.index(word) for line, word in zip(lines, ("said", "two lines", "word"), strict=True)
    } == {8}
    assert max(map(len, lines)) <= 8 + 160


def evaluated(tmp_path, *words: str) -> list[str]:
    network, out = small(tmp_path).model, str(tmp_path / "found")
    return [
        "evaluate",
        "--model",
        network,
        "--samples",
        "2",
        "--questions",
        "2",
        "--out",
        out,
        *words,
    ]


def test_evaluate_prints_the_scores_of_what_lies_in_its_folder(monkeypatch, capsys, tmp_path):
    assert vlm3(monkeypatch, *evaluated(tmp_path, "--task", "depth")) == 0
    lines = capsys.readouterr().out.splitlines()
    printed = dict(line.split() for line in lines[:-1])
    scores = json.loads((tmp_path / "found" / "scores.json").read_text())
    assert printed == {name: f"{value:.4g}" for name, value in scores.items()}
    assert printed["questions"] == "4"
    assert lines[-1] == f"saved {tmp_path / 'found'}"
    files = sorted((tmp_path / "found").glob("*.jsonl"))
    before = [path.read_bytes() for path in files]
    assert vlm3(monkeypatch, *evaluated(tmp_path, "--task", "depth")) == 0
    assert capsys.readouterr().out.splitlines() == lines
    assert [path.read_bytes() for path in files] == before


def test_evaluate_prints_in_the_leading_process_only(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(evaluate, "evaluate", lambda config: {"delta_1": 0.5})
    monkeypatch.setattr(parallel, "leads", lambda: False)
    assert vlm3(monkeypatch, *evaluated(tmp_path)) == 0
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--task", "cooking"], "no task 'cooking'"),
        (["--samples", "0"], "samples must be 1 or more, got 0"),
        (["--source", "nowhere"], "nowhere"),
        (["--task", "pose"], "another"),
    ],
)
def test_bad_input_to_evaluate_names_it_and_leaves_what_is_there(
    monkeypatch, capsys, tmp_path, words, message
):
    assert vlm3(monkeypatch, *evaluated(tmp_path)) == 0
    before = (tmp_path / "found" / "scores.json").read_bytes()
    assert vlm3(monkeypatch, *evaluated(tmp_path, *words)) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert (tmp_path / "found" / "scores.json").read_bytes() == before


@pytest.mark.parametrize(
    ("task", "words"),
    [
        ("depth", [PHOTO]),
        ("correspondence", [PHOTO, PHOTO]),
        ("pose", [PHOTO, PHOTO]),
        ("objects", [PHOTO, "--box", "10,20,300,300", "--box", "350,100,700,400"]),
    ],
)
def test_questions_are_printed_for_a_photo_without_labels(monkeypatch, capsys, task, words):
    assert vlm3(monkeypatch, "questions", *words, "--task", task, "--focal-px", "900") == 0
    asked = capsys.readouterr().out.splitlines()
    assert len(asked) == 4
    assert all("{" not in question for question in asked)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([PHOTO, "--task", "pose"], "2 photos"),
        ([PHOTO, PHOTO], "1 photo"),
        ([PHOTO, "--task", "objects", "--box", "a,b"], "xmin,ymin,xmax,ymax"),
        ([PHOTO, "--task", "objects", "--box", "1,2,3000,4"], "3000"),
    ],
)
def test_bad_input_to_questions_ends_in_one_line(monkeypatch, capsys, words, message):
    assert vlm3(monkeypatch, "questions", *words, "--focal-px", "900") == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


def test_rooms_writes_a_contact_sheet(monkeypatch, tmp_path):
    sheet = tmp_path / "sheet.png"
    assert vlm3(monkeypatch, "rooms", str(sheet), "--collection", "small", "--n", "2") == 0
    assert min(Image.open(sheet).size) > 90
    assert vlm3(monkeypatch, "rooms", str(sheet), "--collection", "castles") == 2
