"""Evaluations side by side: only what was asked alike is held against each other."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.test_board import SOURCE
from tests.test_bootstrap import depths, folder
from tests.test_cli import vlm3
from vlm3.mixture import Source
from vlm3.scoring import again, blind, bootstrap, compare, disagree, evaluate
from vlm3.scoring.evaluate import Evaluation
from vlm3.sources.reading import Frame
from vlm3.sources.rooms import Rooms
from vlm3.tasks.english import Hour


def named(out: Path, **told: object) -> Path:
    """A folder of toy predictions whose configuration says more, or something else."""
    config = json.loads((out / "config.json").read_text()) | told
    (out / "config.json").write_text(json.dumps(config))
    return out


def said(out: Path, share: float, model: str, truth: float = 2.0, items: int = 20) -> Path:
    """Depths of which a share is right; their truths differ, so that questions do."""
    truths = [truth + 0.1 * k for k in range(items)]
    texts = [f"{t:.1f}" if k < items * share else "99" for k, t in enumerate(truths)]
    answers = [[("z", text, t)] for text, t in zip(texts, truths, strict=True)]
    return named(folder(out, "depth", answers), model=model)


def in_scenes(out: Path, size: int) -> Path:
    """The same predictions, of scenes of `size` items each."""
    path = out / "predictions-0.jsonl"
    records = [json.loads(line) for line in path.read_text().splitlines()]
    lines = [json.dumps(r | {"scene": f"room {r['item'] // size}"}) for r in records]
    path.write_text("\n".join(lines) + "\n")
    return out


def told(*outs: Path, **how: object) -> list[dict]:
    return [compare.table(group, **how) for group in compare.grouped(compare.opened(outs))]


@pytest.fixture
def rooms(tmp_path, monkeypatch) -> dict[str, Path]:
    """Two evaluations of a few rooms, whose source can be made again."""
    monkeypatch.setattr(blind, "LOOKED_AT", 8)
    (tmp_path / "mixture.toml").write_text(SOURCE)
    config = Evaluation("depth", str(tmp_path / "mixture.toml"), samples=4, progress=False)
    outs = {name: tmp_path / name.replace(":", "-") for name in ("shuffled:place", "place")}
    for name, out in outs.items():
        evaluate.evaluate(replace(config, model=name, out=out))
    return outs


def test_a_difference_is_that_of_a_pair_and_more_than_nothing_is_better(tmp_path):
    a, b = said(tmp_path / "a", 0.8, "tiny"), said(tmp_path / "b", 0.5, "place")
    (table,) = told(a, b)
    first, second = (row["scores"]["delta_1"] for row in table["rows"])
    assert first["above_guessing"]["than"] == "place"
    assert first["better"] is None
    assert second["better"]["than"] == "tiny"
    expected = bootstrap.difference(b, a)
    got = [second["better"][name] for name in ("by", "low", "high")]
    assert got == pytest.approx(list(expected))
    assert expected.value == pytest.approx(-0.3)
    (best,) = told(b, a, to="best")
    assert best["rows"][0]["scores"]["delta_1"]["better"]["than"] == "tiny"
    (errors,) = told(a, b, scores=["abs_rel"])
    assert errors["rows"][1]["scores"]["abs_rel"]["better"]["by"] < 0  # larger errors are worse


def test_the_same_items_asked_about_other_pixels_are_not_held_against_each_other(tmp_path):
    a, other = said(tmp_path / "a", 0.8, "tiny"), said(tmp_path / "b", 0.5, "place", truth=3.0)
    few = said(tmp_path / "c", 0.5, "opencv", items=10)
    (table,) = told(a, other, few)
    for row in table["rows"]:
        assert row["scores"]["delta_1"]["better"] is None
        assert row["scores"]["delta_1"]["above_guessing"] is None
    assert any(note.startswith("place, opencv: asked about other") for note in table["notes"])


def test_machines_may_differ_in_the_last_digits_of_a_truth_and_in_the_name_of_a_pair():
    asked = [0, [["rotation", [], {"yaw_deg": 20.0, "pair": "a1"}]]]
    near = [0, [["rotation", [], {"yaw_deg": 20.00000001, "pair": "b2"}]]]
    other = [0, [["rotation", [], {"yaw_deg": 20.01, "pair": "a1"}]]]
    assert compare.alike(asked, near)
    assert not compare.alike(asked, other)
    assert not compare.alike([0, [["left", [], True]]], [0, [["left", [], False]]])


def test_each_task_and_each_data_set_has_a_table_of_its_own(tmp_path):
    a, b = said(tmp_path / "a", 0.8, "tiny"), said(tmp_path / "b", 0.5, "constant")
    asked = {"other": {"templates": {}, "size": 20}}
    named(b, source="other", asked=asked)
    truth = {"distance_m": 1.0, "pair": "0"}
    answers = [[("distance", "1 m", truth)]] * 3
    c = named(folder(tmp_path / "c", "pose", answers), model="tiny")
    tables = told(a, b, c, scores=["parsed"])
    assert [(t["task"], t["source"]) for t in tables] == [
        *(("depth", "toy"), ("depth", "other"), ("pose", "toy"))
    ]
    assert "add" not in str(tables[1]["notes"])  # who does not look is there
    assert all("nobody here answers without looking" in str(t["notes"]) for t in tables[::2])


def test_scenes_are_drawn_where_lines_say_them_and_not_their_items(tmp_path):
    rng = np.random.default_rng(3)
    rooms = [answer for answer in depths(rng, 12, 0.5) for _ in range(8)]
    apart, together = (folder(tmp_path / name, "depth", rooms) for name in "ab")
    named(apart, model="tiny")
    named(in_scenes(together, 8), model="tiny")
    narrow, wide = (bootstrap.interval(out) for out in (apart, together))
    assert narrow.value == wide.value
    # Eight items that stand or fall together are one.
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)
    (table,) = told(apart, together)
    assert table["drawn"] == {"what": "scenes", "n": 12}
    assert "nothing here says" not in str(table["notes"])
    first, second = (row["scores"]["delta_1"] for row in table["rows"])
    # An older folder that does not say its scenes is drawn as the newer one.
    assert first["low"] == second["low"] == pytest.approx(wide.low)
    assert second["better"]["by"] == second["better"]["high"] == 0


def test_a_table_says_how_many_were_drawn_of_what_the_first_was_asked(tmp_path):
    first = said(tmp_path / "a", 0.5, "tiny")
    (table,) = told(first, said(tmp_path / "b", 0.5, "place", items=5))
    assert (table["samples"], table["drawn"]["n"]) == (20, 20)


def test_items_are_drawn_where_nobody_says_the_scenes_or_there_is_one(tmp_path):
    a, b = said(tmp_path / "a", 0.5, "constant"), said(tmp_path / "b", 0.5, "constant")
    (table,) = told(a)
    assert table["drawn"] == {"what": "items", "n": 20}
    assert any("nothing here says which of them share a scene" in note for note in table["notes"])
    (table,) = told(in_scenes(b, 100))
    assert table["drawn"] == {"what": "items", "n": 20}
    assert any("all of one scene" in note for note in table["notes"])
    (table,) = told(in_scenes(a, 5))
    assert any("only 4 scenes" in note for note in table["notes"])


class Scans(Rooms):
    """Rooms of which two and two are of one scan."""

    @property
    def frames(self) -> list[Frame]:
        return [Frame(f"scan {k // 2}", str(k)) for k in range(len(self))]


def test_an_evaluation_writes_down_the_scenes_that_its_source_knows(tmp_path):
    config = Evaluation("depth", "scans", "constant", tmp_path, samples=4, progress=False)
    evaluate.evaluate(config, Source(Scans("small", views=1, split="test"), "depth", 2, 100))
    assert evaluate.scenes(tmp_path).tolist() == [0, 0, 1, 1]
    assert evaluate.predictions(tmp_path)[3]["scene"] == "scan 1"


def test_answers_that_have_become_one_are_told_of(tmp_path):
    answers = [[("z", "2.5", 2.0 + 0.1 * k)] for k in range(20)]
    out = named(folder(tmp_path / "a", "depth", answers), model="tiny")
    (table,) = told(out)
    assert "tiny says 2.50 m to 100% of z questions" in table["notes"]


def test_folders_that_cannot_be_compared_are_refused_with_the_way_out(tmp_path):
    with pytest.raises(FileNotFoundError, match="no config.json: give a folder of vlm3 evaluate"):
        compare.opened([tmp_path])
    out = named(folder(tmp_path / "a", "depth", [[("z", "2", 2.0)]] * 3), model="tiny")
    with pytest.raises(ValueError, match="is named twice"):
        compare.opened([out, tmp_path / "." / "a"])
    named(out, samples=5, asked={"toy": {"templates": {}, "size": 5}})
    with pytest.raises(ValueError, match="lacks the predictions of 2 of 5 samples"):
        compare.opened([out])
    named(out, samples=3)
    with pytest.raises(ValueError, match="no score 'beauty'"):
        told(out, scores=["beauty"])


def test_those_who_do_not_look_are_asked_the_same_questions(rooms):
    (group,) = compare.grouped(compare.opened([rooms["shuffled:place"]]))
    found = compare.with_blind(group)
    assert [folder.model for folder in found] == ["shuffled:place", "constant", "place"]
    assert all(compare.alike(folder.questions, group[0].questions) for folder in found)
    assert compare.with_blind(found) == found
    # What was asked about is made again, to the last bit.
    source = again.source_of(rooms["place"])
    assert again.sample(rooms["place"], source, 1).views[0].image.shape[2] == 3
    with pytest.raises(ValueError, match="its data have changed: item 1"):
        again.sample(rooms["place"], replace(source, questions=2), 1)


@pytest.mark.parametrize("form", ["text", "markdown", "json"])
def test_the_command_prints_and_saves_its_tables(form, tmp_path, monkeypatch, capsys):
    a, b = said(tmp_path / "a", 0.8, "tiny"), said(tmp_path / "b", 0.5, "place")
    words = [str(a), str(b), "--form", form, "--save", str(tmp_path / "table")]
    assert vlm3(monkeypatch, "compare", *words, "--scores", "delta_1", "rmse_m") == 0
    out, kept = capsys.readouterr().out, (tmp_path / "table").read_text()
    assert out.startswith(kept)
    if form == "json":
        rows = json.loads(out)[0]["rows"]
        assert rows[1]["scores"]["delta_1"]["better"]["by"] == pytest.approx(-0.3)
        return
    assert "place (blind)" in out
    assert "-0.300 [" in out
    if form == "markdown":
        lines = [line for line in kept.splitlines() if line.startswith("|")]
        assert {line.count("|") for line in lines} == {7}
        assert len(lines) == 2 + 4


def test_pictures_show_the_views_or_the_reason_why_they_cannot(
    rooms, tmp_path, monkeypatch, capsys
):
    place, pictures = str(rooms["place"]), tmp_path / "pictures"
    words = [str(rooms["shuffled:place"]), place, "--pictures", str(pictures), "--n", "2"]
    assert vlm3(monkeypatch, "compare", *words) == 0
    assert len(list(pictures.glob("depth-*.png"))) == 2
    python = said(tmp_path / "python", 0.5, "tiny")
    assert vlm3(monkeypatch, "compare", str(python), "--pictures", str(pictures)) == 0
    assert "no pictures:" in (said_of := capsys.readouterr().out)
    assert "was made in Python" in said_of
    assert vlm3(monkeypatch, "compare", str(python), "--blind") == 2
    assert "was made in Python" in capsys.readouterr().err
    assert vlm3(monkeypatch, "compare") == 2
    assert "name at least one folder" in capsys.readouterr().err


def test_the_largest_disagreement_is_that_of_answers_with_each_other_and_with_the_truth(tmp_path):
    truths = [1.0, 2.0, 3.0, 4.0]
    right = [f"{t:.1f}" for t in truths]
    said_by = {"a": right, "b": ["1.0", "2.0", "9.0", "4.0"], "c": ["1.0", "2.5", "3.0", "none"]}
    outs = [
        named(
            folder(tmp_path / n, "depth", [[("z", w, t)] for w, t in zip(ws, truths, strict=True)]),
            model=n,
        )
        for n, ws in said_by.items()
    ]
    voices = disagree.voices(compare.opened(outs))
    found = disagree.largest(voices, 3)
    assert [each.item for each in found] == [2, 3, 1]
    assert found[1].said["c"] == (None, "none")
    assert len(disagree.largest(voices[:1], 9)) == 4


def test_hours_are_apart_on_the_circle(tmp_path):
    answers = [
        [("direction", f"{said} o'clock", ("direction", Hour(true)))] for said, true in PAIRS
    ]
    out = named(folder(tmp_path / "a", "objects", answers), model="a")
    found = disagree.largest(compare.opened([out]), 3)
    assert [each.item for each in found] == [1, 0, 2]


PAIRS = ((12, 1), (6, 1), (3, 3))
