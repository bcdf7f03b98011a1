"""The score table: every row is asked once, and who does not look stands beside who does."""

from dataclasses import replace

import pytest

from tests.test_bootstrap import folder
from vlm3 import mixture
from vlm3.scoring import blind, board, evaluate
from vlm3.scoring.evaluate import Evaluation

SOURCE = """
[sources.rooms]
from = "vlm3.sources.rooms:Rooms"
arguments = { collection = "small", views = 1, split = "test" }
task = "depth"
questions = 3
focal_px = 100
"""


def test_the_rows_are_those_who_answer_what_is_asked():
    sources = mixture.load("rooms-test").sources
    model = ["shuffled:tiny", "tiny"]
    assert board.models("tiny", sources["depth"]) == ["constant", "place", *model]
    pose = ["constant", "mean_motion", "opencv"]
    assert board.models("tiny", sources["pose"], ["random:tiny"]) == [*pose, "random:tiny", *model]
    assert board.models("tiny", sources["objects"]) == ["constant", "boxes", *model]
    match = ["constant", "place", "same_place", "opencv"]
    assert board.models("tiny", sources["correspondence"]) == [*match, *model]


def test_a_table_asks_each_row_once_and_other_weights_elsewhere(tmp_path, monkeypatch):
    monkeypatch.setattr(blind, "LOOKED_AT", 20)
    (tmp_path / "mixture.toml").write_text(SOURCE)
    config = Evaluation(
        "depth", str(tmp_path / "mixture.toml"), out=tmp_path, samples=6, progress=False
    )
    rows = ("constant", "place", "shuffled:place")
    outs = board.ask(config, rows)
    with monkeypatch.context() as patch:
        patch.setattr(evaluate, "_append", None)  # which would raise
        assert board.ask(config, rows) == outs
    monkeypatch.setattr(blind, "LOOKED_AT", 10)
    assert board.ask(config, ("place",))["place"] != outs["place"]
    assert board.ask(replace(config, seed=1), ("constant",))["constant"] != outs["constant"]
    found = board.table(outs)
    assert list(found) == list(rows)
    assert found["constant"]["collapse"]["z"]["collapsed"]
    assert found["place"]["above_guessing"] == {}
    assert found["shuffled:place"]["above_guessing"]["delta_1"]["by"] <= 0


@pytest.mark.parametrize("name", ["depth", "correspondence"])
def test_a_better_model_is_above_the_best_that_is_blind_whichever_way_the_score_counts(
    name, tmp_path
):
    kind, truth = ("z", 2.0) if name == "depth" else ("match", (50.0, 50.0))
    right, wrong = ("2.0", "9.0") if name == "depth" else ("(50, 50)", "(900, 900)")

    def asked(out: str, share: float):
        texts = [right if k < 20 * share else wrong for k in range(20)]
        return folder(tmp_path / out, name, [[(kind, text, truth)] for text in texts])

    outs = {"constant": asked("c", 0.2), "place": asked("p", 0.5), "tiny": asked("t", 0.9)}
    found = board.table(outs)["tiny"]["above_guessing"]
    ((score, above),) = found.items()
    assert score == board.compared(outs["tiny"])[0]
    assert above["than"] == "place"
    assert 0 < above["low"] < above["by"] < above["high"]
