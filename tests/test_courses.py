"""The record of the packaged model counts each step once, up to the one whose model went on."""

import json
import sys
from pathlib import Path

import pytest

RECORD = Path(__file__).parents[1] / "book" / "record"
LOSSES = {"depth": 1.0}


@pytest.fixture(scope="module")
def record():
    sys.path.insert(0, str(RECORD))
    import courses
    import learning
    import package

    sys.path.remove(str(RECORD))
    return courses, learning, package


def step(n: int, **more) -> dict:
    return {"step": n, "losses": LOSSES, "seconds": 2.0} | more


def written(folder: Path, name: str, steps: list[dict], batch: int, mixture: str) -> None:
    (folder / name).mkdir()
    lines = "".join(json.dumps(each) + "\n" for each in steps)
    (folder / name / "log.jsonl").write_text(lines)
    known = {"batch": batch, "mixture": mixture, "model": "/far/away/model", "lr": 1e-3}
    known |= {"validation": "homes-validation", "optimizer": "muon", "warmup": 0.1}
    known |= {"weighting": "answer", "precision": "bf16", "sources": {"depth": {"share": 1}}}
    (folder / name / "config.json").write_text(json.dumps(known))


@pytest.fixture
def taught(tmp_path, record, monkeypatch):
    """A run that was interrupted after step 3, went on from step 2, and of which the model of step
    4 went on; and the run after it."""
    seen = {"validation": {"losses": LOSSES}, "shuffled": {"losses": {"depth": 1.5}}}
    first = [step(1), step(2), step(3), step(3), step(4, **seen), step(5), step(6, **seen)]
    written(tmp_path, "first", first, 8, "homes")
    written(tmp_path, "second", [step(n) for n in (1, 2)] + [step(3, **seen)], 4, "/a/late.toml")
    told = "".join(
        f'[[words]]\nfolder = "{name}"\ncommand = "train {name}"\ndevice = "{name} one"\n{more}'
        for name, more in (("first", "steps = 4\n"), ("second", ""))
    )
    (tmp_path / "tiny.toml").write_text(told)
    courses, *_ = record
    monkeypatch.setattr(courses, "TOLD", tmp_path / "tiny.toml")
    return courses.runs(tmp_path, "words")


def test_a_step_made_twice_counts_once_and_none_counts_after_the_last(taught):
    assert [[r["step"] for r in run.records] for run in taught] == [[1, 2, 3, 4], [1, 2, 3]]
    assert [run.samples for run in taught] == [32, 12]
    assert [run.seconds for run in taught] == [8, 6]


def test_both_records_count_samples_over_all_runs(taught, record):
    _, learning, package = record
    found, course = package.words(taught, package.NOTHING), learning.course(taught)
    assert found["samples"] == course["runs"][-1]["to"] == 44
    assert [(run["from"], run["to"]) for run in course["runs"]] == [(0, 32), (32, 44)]
    assert [at["samples"] for at in found["validation"]] == [32, 44]
    assert [at["samples"] for at in course["watched"]] == [32, 44]
    assert found["validation"][-1]["shuffled"] == course["watched"][-1]["others"] == {"depth": 1.5}
    assert [run["mixture"] for run in course["runs"]] == ["homes", "late"]


def test_runs_that_are_recorded_already_are_not_read_again(taught, record, tmp_path):
    courses, _, package = record
    first = package.words(taught[:1], package.NOTHING)
    (later,) = courses.runs(tmp_path, "words", after=1)
    assert package.words([later], first) == package.words(taught, package.NOTHING)
    assert package.NOTHING["training"] == []


def test_losses_on_homes_are_those_of_tasks_where_photographs_stand_beside_them(record):
    *_, package = record
    losses = {"rooms_depth": 0.5, "rooms_pose": 0.4, "walk_depth": 2.0}
    assert package.of_tasks(losses) == {"depth": 0.5, "pose": 0.4}
    assert package.of_tasks({"depth": 0.6}) == {"depth": 0.6}


def test_a_stage_names_no_folder_of_the_machine(taught, record):
    *_, package = record
    second = package.stage(taught[1])
    assert (second["settings"]["mixture"], second["settings"]["model"]) == ("late", "model")
    assert (second["steps"], second["samples"], second["device"]) == (3, 12, "second one")
