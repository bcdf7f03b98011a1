"""The page on comparing: its commands parse, and what they print is what was recorded."""

import json
import re
import shlex
import sys

import pytest

from tests import conftest
from tests.test_cli import vlm3
from tests.test_tutorial import _only_read
from vlm3.scoring.harness import lmms
from vlm3.terminal import cli, comparing

PAGE = (conftest.ROOT / "book" / "guide" / "comparing.md").read_text()
SHELL = "".join(re.findall(r"^```bash\n(.*?)^```", PAGE, re.M | re.S)).replace("\\\n", " ")
COMMANDS = re.findall(r"^vlm3 (.*)", SHELL, re.M)
PRINTED = re.findall(r"^```text\n(.*?)^```", PAGE, re.M | re.S)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_one(command, monkeypatch, capsys):
    parsed = []
    for name in ("evaluate", "compare", "exchange"):
        monkeypatch.setitem(cli.COMMANDS, name, _only_read(cli.COMMANDS[name], parsed))
    monkeypatch.setattr(sys, "argv", ["vlm3", *shlex.split(command)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 0, capsys.readouterr().err
    assert parsed


def test_the_table_of_the_page_is_that_of_the_recorded_run():
    path = conftest.ROOT / "book" / "recorded" / "comparing.json"
    tables = json.loads(path.read_text())["results"]
    assert PRINTED[0] == comparing.told(tables, "text") + "\n"
    (rows,) = (table["rows"] for table in tables)
    assert [row["model"] for row in rows if row["blind"]]


def test_what_is_printed_of_lmms_eval_is_what_the_command_prints(monkeypatch, capsys):
    counts = {name: int(n) for name, n in re.findall(r"^vlm3_(\w+): (\d+)", PRINTED[1], re.M)}
    assert tuple(counts) == lmms.NAMES
    monkeypatch.setattr(lmms, "sources", lambda config: None)
    monkeypatch.setattr(lmms, "write", lambda found, config, folder: counts)
    (command,) = (line for line in COMMANDS if line.startswith("exchange lmms-eval"))
    assert vlm3(monkeypatch, *shlex.split(command)) == 0
    assert capsys.readouterr().out == PRINTED[1]
