"""The terminal commands: what they print, and how they end on bad input."""

import sys

import pytest
from PIL import Image

from vlm3 import cli
from vlm3.sources import photos

PHOTO = str(photos.DATA / "motorcycle_left.png")


def vlm3(monkeypatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["vlm3", *words])
    with pytest.raises(SystemExit) as end:
        cli.main()
    return end.value.code


def test_doctor_names_versions_machine_and_every_profile(monkeypatch, capsys):
    vlm3(monkeypatch, "doctor")
    said = capsys.readouterr().out
    for word in ("Python", "torch", "transformers", "cores", "memory", "GPU", *cli.PROFILES):
        assert word in said


def test_doctor_says_what_is_missing_and_what_to_type(monkeypatch, capsys):
    real = cli._version
    monkeypatch.setattr(cli, "_version", lambda name: None if name == "papermill" else real(name))
    monkeypatch.setattr(cli, "_gpus", list)
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
def test_bad_input_to_unify_ends_in_one_line_that_names_it(monkeypatch, capsys, tmp_path, words, message):
    monkeypatch.chdir(tmp_path)
    assert vlm3(monkeypatch, "unify", *words) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.startswith("vlm3: ")
    assert said.count("\n") == 1
    assert not list(tmp_path.iterdir())


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
