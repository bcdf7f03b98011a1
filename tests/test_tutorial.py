"""The tutorial: its mixtures load, its commands parse, and its table is what was recorded."""

import functools
import json
import os
import re
import shlex
import sys
from collections.abc import Callable

import numpy as np
import pytest

from tests import conftest
from tests.test_nyu import labelled, scipy_io
from vlm3 import mixture
from vlm3.terminal import cli

PAGE = (conftest.ROOT / "book" / "guide" / "tutorial.md").read_text()
WRITTEN = {  # by the name that its first line gives it
    re.match(r"# ([\w-]+\.toml)", text)[1]: text
    for text in re.findall(r"^```toml\n(.*?)^```", PAGE, re.M | re.S)
}
SHELL = "".join(re.findall(r"^```bash\n(.*?)^```", PAGE, re.M | re.S)).replace("\\\n", " ")
COMMANDS = re.findall(r"^vlm3 (.*)", SHELL, re.M)


@pytest.fixture
def reader(tmp_path, monkeypatch):
    """Where somebody stands who has followed the page: data, variables, and the files written."""
    nyu, ibims = tmp_path / "nyu", tmp_path / "ibims1"
    nyu.mkdir()
    ibims.mkdir()
    shape = 3, 480, 640
    images = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    labels, depth_m = np.ones(shape, np.uint16), np.full(shape, 2, np.float32)
    labels[:, 100:200, 100:200], labels[:, 100:200, 400:500] = 2, 3
    things = np.ones(shape, np.uint8)
    labelled(nyu, images, depth_m, depth_m, labels, things, ["den_1", "den_2", "den_3"])
    splits = {"trainNdxs": [[1], [2]], "testNdxs": [[3]]}
    scipy_io.savemat(nyu / "splits.mat", splits)
    conftest.ibims(ibims)
    for name, text in WRITTEN.items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NYU", str(nyu))
    monkeypatch.setenv("IBIMS", str(ibims))
    return tmp_path


def test_every_mixture_loads_and_asks_what_the_page_says(reader):
    found = {name: mixture.load(name).sources for name in WRITTEN}
    for model, focal_px in (("", 100), ("-4b", 1000)):
        learn, test = found[f"nyu{model}.toml"], found[f"nyu-test{model}.toml"]
        other = found[f"ibims-test{model}.toml"]
        assert learn.keys() == test.keys() == {"depth", "objects"}
        assert other.keys() == {"depth"}
        assert [len(s["depth"].items) for s in (learn, test, other)] == [2, 1, 1]
        for sources in (learn, test, other):
            for name, source in sources.items():
                assert (source.task, source.focal_px) == (name, focal_px)
        assert learn["depth"].wordings == test["depth"].wordings == other["depth"].wordings
        assert other["depth"].questions == 100
        for sources in (learn, test):
            for source in sources.values():
                assert source.sample(0, "", np.random.default_rng(0)).qas
    assert len(found) == 6


def test_every_mixture_that_a_command_names_is_written_on_the_page():
    assert set(re.findall(r"[\w-]+\.toml", " ".join(COMMANDS))) <= WRITTEN.keys()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_one(command, reader, monkeypatch, capsys):
    """Data are checked and counted, without a picture; of the rest, only the words are read."""
    parsed = []
    for name in ("train", "evaluate", "ask"):
        monkeypatch.setitem(cli.COMMANDS, name, _only_read(cli.COMMANDS[name], parsed))
    monkeypatch.setattr("vlm3.terminal.checked.sheet", lambda *_: None)
    monkeypatch.setattr("vlm3.terminal.data.write_picture", lambda *_: None)
    words = map(os.path.expandvars, shlex.split(command))
    monkeypatch.setattr(sys, "argv", ["vlm3", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    said = capsys.readouterr()
    assert ended.value.code == 0, said.err
    assert parsed or "nothing seems wrong" in said.out or "passes" in said.out


def _only_read(command: Callable, parsed: list) -> Callable:
    """A command that takes the same words and does nothing."""

    @functools.wraps(command)
    def read(*arguments, **named) -> int:
        parsed.append((arguments, named))
        return 0

    return read


def test_the_variables_of_mixtures_and_commands_are_those_that_the_page_exports():
    exported = set(re.findall(r"export (\w+)=", SHELL))
    assert exported == set(re.findall(r"\$(\w+)", SHELL))
    assert exported == set(re.findall(r"\$(\w+)", "".join(WRITTEN.values())))


def test_python_of_the_page_compiles():
    for code in re.findall(r"^```python\n(.*?)^```", PAGE, re.M | re.S):
        compile(code, "tutorial.md", "exec")


def test_the_numbers_of_the_page_are_those_recorded():
    path = conftest.ROOT / "book" / "recorded" / "ibims.json"
    found = json.loads(path.read_text())["results"]
    others, learned = found["scores"], found["scores_on_what_was_learned_from"]
    names = "constant", "place", "tiny", "tiny, fine-tuned", "shuffled:tiny, fine-tuned"
    rows = [[f"{of[name]['delta_1']:.2f}" for of in (others, learned)] for name in names]
    assert rows == [
        list(row) for row in re.findall(r"^\| .+ \| (0\.\d+) \| (0\.\d+) \|$", PAGE, re.M)
    ]
    above = others["tiny, fine-tuned"]["above_guessing"]["delta_1"]
    told = "{by:.2f} below `{than}`, with an interval from {low:.2f} below to {high:.2f} above"
    signed = {"by": -above["by"], "low": -above["low"], "high": above["high"]}
    assert told.format(than=above["than"], **signed) in PAGE
