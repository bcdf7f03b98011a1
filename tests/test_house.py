"""The promises of the house: a task, a data set, a baseline are one file each, imports run one
way, and what needs no torch does not wait for it."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import ROOT
from tests.training import small
from vlm3.sources.rooms import Rooms

OURS = Path(__file__).parent / "house"
ADDED = (
    *("tasks/normal.py", "tasks/normal.toml"),
    *("data/depth_folder.py", "baselines/two_metres.py"),
)
MIXTURE = """
weights = "uniform"
[sources.facing]
from = "vlm3.sources.rooms:Rooms"
arguments = {{ collection = "small", views = 1 }}
task = "normal"
questions = 3
focal_px = 100
[sources.photographed]
from = "depth_folder:DepthFolder"
arguments = {{ root = {root!r}, focal_px = 100.0 }}
task = "depth"
questions = 3
focal_px = 100
"""
EVALUATED = """
import json, sys
from pathlib import Path
from vlm3.scoring.evaluate import Evaluation, evaluate
model, mixture, out = sys.argv[1:]
asked = [(task, name) for task in ("normal", "depth") for name in (model, "constant")]
asked.append(("depth", "two_metres"))
found = [
    evaluate(Evaluation(task, mixture, name, Path(out, str(k)), samples=2, progress=False))
    for k, (task, name) in enumerate(asked)
]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def added(tmp_path_factory) -> Path:
    """A folder with a fifth task, a data set, and a mixture of both; and a small network."""
    folder = tmp_path_factory.mktemp("added")
    for name in ADDED:
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(OURS / Path(name).name, folder / name)
    (folder / "photos").mkdir()
    for k, (view,) in enumerate(Rooms("small", "test", views=1).batch(range(5))):
        Image.fromarray(view.image).save(folder / "photos" / f"{k}.jpg")
        millimetres = np.nan_to_num(1000 * view.depth_m).astype(np.uint16)
        Image.fromarray(millimetres).save(folder / "photos" / f"{k}.png")
    (folder / "added.toml").write_text(MIXTURE.format(root=str(folder / "photos")))
    small(folder)
    return folder


@pytest.fixture(scope="module")
def run(added):
    """Starts Python with the task and the data set in sight; gives what it prints."""
    paths = os.pathsep.join([str(ROOT), str(added / "data")])
    around = os.environ | {"VLM3_TASKS": str(added / "tasks"), "PYTHONPATH": paths}
    around["VLM3_BASELINES"] = str(added / "baselines")

    def start(*words: str) -> str:
        command = [sys.executable, *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, env=around, cwd=added)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return start


@pytest.fixture(scope="module")
def trained(added, run) -> Path:
    """The model after two steps of both."""
    words = ["--model", "network", "--mixture", "added.toml", "--steps", "2", "--batch", "4"]
    words += ["--out", "run", "--workers", "0", "--peak-tflops", "1", "--no-progress"]
    run("-m", "vlm3", "train", "tiny", *words, "--validate-every", "0")
    records = map(json.loads, (added / "run" / "log.jsonl").read_text().splitlines())
    assert [record["losses"].keys() for record in records] == [{"depth", "normal"}] * 2
    return added / "run" / "model"


def test_a_task_a_data_set_and_a_baseline_are_one_file_each_in_training_and_evaluation(
    trained, run, added
):
    found = run("-c", EVALUATED, trained, added / "added.toml", added / "scored")
    normal, constant, depth, middle, two_metres = json.loads(found)
    assert normal.keys() == constant.keys() == {"right", "parsed", "questions"}
    assert constant["questions"] == 6
    assert constant["parsed"] == 1  # the most frequent word
    assert depth["questions"] == middle["questions"] == 6
    assert middle["parsed"] == two_metres["parsed"] == 1


def test_a_task_of_one_file_is_asked_from_the_command_line(trained, run, added):
    words = ["ask", "normal", "photos/0.jpg", "--focal-px", "100", "--at", "20,30", "--json"]
    told = json.loads(run("-m", "vlm3", *words, "--model", trained))
    (answer,) = told["answers"]
    assert told["task"] == "normal"
    assert answer.keys() >= {"pixel", "value", "text", "probability"}
    help_ = run("-m", "vlm3", "ask", "normal", "--help")
    assert "Which way a surface faces at a pixel" in help_
    assert "--at" in help_
    words = ["questions", "photos/0.jpg", "--task", "normal", "--focal-px", "100", "--n", "2"]
    asked = run("-m", "vlm3", *words)
    assert asked.count("(x, y)") == 2


BROKEN = """
from vlm3 import tasks
for name in ("castle", "other", "unfinished", "text", "alone"):
    try:
        tasks.get(name)
    except ValueError as error:
        print(error)
"""


def test_a_broken_task_file_is_named_with_what_it_lacks_and_stops_nothing_else(tmp_path):
    bodies = {
        "other": "class Another: pass",
        "unfinished": "from vlm3.tasks.task import Task\nclass Unfinished(Task): pass",
        "text": "",
        "raising": "1 / 0",
    }
    for name, body in bodies.items():
        (tmp_path / f"{name}.py").write_text(body)
        (tmp_path / f"{name}.toml").write_text("scale = 7")
    (tmp_path / "alone.toml").write_text("[sources.mine]")  # a mixture, say
    around = os.environ | {"VLM3_TASKS": str(tmp_path), "PYTHONPATH": str(ROOT)}

    def printed(*words: str) -> str:
        command = [sys.executable, *words]
        return subprocess.run(command, capture_output=True, text=True, env=around).stdout

    castle, other, unfinished, text, alone = printed("-c", BROKEN).splitlines()
    assert all(
        line.startswith("no task") and str(tmp_path) in line for line in (castle, text, alone)
    )
    assert "other.py has no class Other" in other
    assert unfinished.endswith("Unfinished lacks ask, read, score, unanswered")
    assert "raising" in printed("-m", "vlm3", "ask", "--help")
    assert "doctor" in printed("-m", "vlm3", "--help")


@pytest.mark.parametrize(
    ("words", "without"),
    [
        (["--help"], ("torch", "transformers", "matplotlib", "cv2", "IPython")),
        (["ask", "--help"], ("torch", "transformers", "matplotlib", "cv2", "IPython")),
        (["ask", "depth", "gone.jpg"], ("torch", "transformers", "matplotlib")),
    ],
)
def test_help_and_early_errors_come_without_what_takes_seconds_to_import(words, without):
    code = (
        "import sys; from vlm3.terminal import cli\n"
        f"sys.argv = ['vlm3', *{words!r}]\n"
        "try: cli.main()\n"
        f"except SystemExit: print('imported', [m for m in {without!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.splitlines()[-1] == "imported []", done.stdout + done.stderr


def test_nothing_outside_qwen_names_its_modules():
    named = re.compile(r"Qwen3VL|language_model|\.visual\b|lm_head|deepstack_merger|patch_embed")
    others = [p for p in (ROOT / "vlm3").rglob("*.py") if "qwen" not in p.parts]
    assert [path for path in others if named.search(path.read_text())] == []


def test_no_file_is_longer_than_a_sitting_and_no_line_escapes_the_formatter():
    files = list((ROOT / "vlm3").rglob("*.py"))
    assert {p.name: n for p in files if (n := len(p.read_text().splitlines())) > 320} == {}
    ours = [*files, *(ROOT / "tests").rglob("*.py"), *(ROOT / "book").rglob("*.py")]
    marks = "fmt: " + "skip", "fmt: " + "off"
    assert [p for p in ours if any(mark in p.read_text() for mark in marks)] == []
