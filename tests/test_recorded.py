"""Recorded results say how they were made."""

import subprocess
import sys

import pytest

from tests.conftest import ROOT
from vlm3.pages import recorded


def test_the_commit_is_that_of_a_repository_that_holds_the_code(monkeypatch, tmp_path):
    monkeypatch.setattr(recorded, "__file__", str(tmp_path / "homework" / "copy" / "recorded.py"))
    git = ["git", "-C", str(tmp_path / "homework"), "-c", "user.name=a", "-c", "user.email=a@b"]
    (tmp_path / "homework" / "copy").mkdir(parents=True)
    (tmp_path / "homework" / "copy" / "recorded.py").touch()
    assert recorded._commit() == ""
    for words in ("init -q", "commit -q --allow-empty -m homework"):
        subprocess.run([*git, *words.split()], check=True)
    assert recorded._commit() == ""
    for words in ("add copy/recorded.py", "commit -q -m all"):
        subprocess.run([*git, *words.split()], check=True)
    found = subprocess.run(
        [*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True
    ).stdout
    assert len(recorded._commit()) >= 7
    assert found.startswith(recorded._commit())


SCRIPTS = [
    p for p in sorted((ROOT / "book" / "record").glob("*.py")) if "__main__" in p.read_text()
]


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda p: p.stem)
def test_a_script_that_records_results_knows_where_everything_is(path):
    done = subprocess.run(
        [sys.executable, path, "--help"], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    assert "usage" in done.stdout
