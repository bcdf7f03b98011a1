"""The runs that made the packaged model, as `tiny.toml` tells them, for `package.py` and
`learning.py`."""

import json
import math
import tomllib
from pathlib import Path
from typing import NamedTuple

from vlm3 import disk

TOLD = Path(__file__).with_name("tiny.toml")
TASKS = ("depth", "correspondence", "pose", "objects")  # in the order of the chapters


class Run(NamedTuple):
    """told: its table in `tiny.toml`; settings: of `vlm3 train`, none for eyes; records: its log,
    one for each step, up to the one whose model went on."""

    told: dict
    settings: dict
    records: list[dict]

    @property
    def samples(self) -> int:
        """Of words, which they learned from."""
        return len(self.records) * self.settings["batch"]

    @property
    def seconds(self) -> float:
        return round(sum(record["seconds"] for record in self.records), 1)


def runs(folder: Path, kind: str, after: int = 0) -> list[Run]:
    """Those of a kind, "eyes" or "words", in order, each of which began with what the one before
    ended with; after: without the first ones."""
    told = tomllib.loads(TOLD.read_text())[kind][after:]
    return [_run(each, folder / each["folder"]) for each in told]


def _run(told: dict, out: Path) -> Run:
    config = out / "config.json"
    settings = json.loads(config.read_text()) if config.exists() else {}
    # Steps that were made again after an interruption stand there twice.
    made = {record["step"]: record for record in disk.jsonl(out / "log.jsonl", "step")}
    last = told.get("steps", math.inf)
    return Run(told, settings, [made[step] for step in sorted(made) if step <= last])
