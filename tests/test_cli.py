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
    assert "papermill (pip install -e '.[book]')" in said
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
        ([PHOTO, "--focal-px", "900", "--fit", "squeeze"], "'squeeze'"),
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
