"""Experts in tables: published until they are measured."""

import json

import pytest

from tests.conftest import ROOT
from vlm3.pages import experts

PAPER = json.loads((ROOT / "book" / "recorded" / "paper.json").read_text())["results"]
MODELS = {
    "constant": {"epe_px_all": 150.0},
    "same_place": {"epe_px_all": 60.0},
    "shuffled:roma": {"epe_px_all": 90.0},
    "roma": {
        "epe_px_all": 4.25,
        "questions": 2400,
        "above_guessing": {
            "epe_px_all": {"than": "same_place", "by": 55.75, "low": 50.0, "high": 61.0}
        },
    },
}


def test_every_expert_has_a_row_for_each_of_its_tasks_that_names_the_data_sets_and_a_command():
    rows = {(row["expert"], row["task"]): row for row in experts.published(PAPER, {})}
    known = experts.known()
    assert rows.keys() == {(name, task) for name, each in known.items() for task in each.weights}
    assert "TartanAir 43.79" in rows["roma", "correspondence"]["published"]
    assert "ScanNet++ 95.1" in rows["vggt", "pose"]["published"]
    assert rows["xfeat", "pose"]["published"] == "not in the paper's tables"
    for (name, task), row in rows.items():
        assert f"--model {name} " in row["measured here by"]
        assert task in row["measured here by"]


@pytest.mark.parametrize("task", ["depth", "correspondence", "pose", "objects"])
def test_whom_the_paper_compares_with_stands_in_its_tables(task):
    """A row that an expert names is there."""
    named = [e.published[task] for e in experts.known().values() if task in e.published]
    assert named
    assert set(named) <= PAPER[task]["rows"].keys()


def test_a_measured_record_replaces_what_was_published():
    records = {"roma": {"20": {"correspondence": {}}, "100": {"correspondence": MODELS}}}
    left = {(row["expert"], row["task"]) for row in experts.published(PAPER, records)}
    assert ("roma", "correspondence") not in left
    assert {("roma", "pose"), ("dkm", "correspondence")} <= left
    (row,) = experts.measured(records)
    assert (row["task"], row["expert"], row["measured"]) == ("correspondence", "roma", "4.25")
    assert row["best blind"] == "60 (same_place)"
    assert row["better by"] == "+55.8 (+50 to +61)"
    assert row["with other images"] == "90"
    assert experts.measured({}) == []


@pytest.mark.parametrize("name", experts.known())
def test_the_guide_says_of_each_expert_what_it_needs(name):
    page, expert = (ROOT / "book" / "guide" / "experts.md").read_text(), experts.known()[name]
    assert f"`{name}`" in page
    for weights in expert.weights.values():
        assert weights in page
    if expert.research_only:
        assert expert.licence.partition(",")[0].partition(" (")[0] in page
