"""How fast questions are answered: three ways that say the same, and what each is said to take."""

import json

import torch

from tests.test_cli import vlm3
from tests.training import small
from vlm3.scoring import speed
from vlm3.training import bench


def test_every_way_to_answer_finds_the_texts_of_the_released_notebooks(
    monkeypatch, capsys, tmp_path
):
    words = [
        "--model",
        small(tmp_path).model,
        "--size",
        "64",
        "40",
        "--questions",
        "3",
        "--steps",
        "1",
    ]
    assert vlm3(monkeypatch, "bench", "answer", *words, "--save", str(tmp_path / "speed.json")) == 0
    recorded = json.loads((tmp_path / "speed.json").read_text())
    assert [r["same_texts"] for r in recorded["results"]] == [1, 1, 1]
    assert {r["image_tokens"] for r in recorded["results"]} == {4}
    assert all(r["questions_per_s"] > 0 for r in recorded["results"])
    assert capsys.readouterr().out.count("\n") == len(recorded["results"])
    assert "3 depth questions about one image, 64x40 px" in recorded["what"]


def test_a_way_to_answer_gives_each_question_its_texts(tmp_path):
    vlm = speed._answering(small(tmp_path).model, "cpu", torch.float32)
    sample = bench._mixture("depth", (64, 32), questions=3)[0]
    texts = {name: way(sample) for name, way in speed._ways(vlm).items()}
    generated, answered, distributions = texts.values()
    assert generated == answered
    assert [len(among) for among in answered] == [1, 1, 1]
    assert all(len(among) > 10 for among in distributions)


def test_no_more_questions_are_asked_one_by_one_than_time_allows_and_their_texts_are_compared(
    tmp_path,
):
    first, *others = speed.measured(small(tmp_path).model, (64, 32), 5, 1, "cpu", limit_s=0)
    assert first["questions"] == 2
    assert [found["questions"] for found in others] == [5, 5]
    assert [found["same_texts"] for found in (first, *others)] == [1, 1, 1]
    assert all(
        found["times_faster"] == found["questions_per_s"] / first["questions_per_s"]
        for found in others
    )
