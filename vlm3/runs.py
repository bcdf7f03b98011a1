"""What a run leaves on disk, each part whole or not at all.

The folder of a run holds config.json, what the run is, compared when it is resumed; log.jsonl, one line for each step;
checkpoints/step-00000100 and so on, weights and optimiser, the last few; model/, the finished model in hub format.
"""

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_state_dict,
    set_state_dict,
)

from vlm3 import model, parallel
from vlm3.model import VLM


class Run:
    """A folder, and the network and optimiser whose state it keeps. Opening it resumes what is there.

    ValueError where the folder's run is of another identity, naming what differs.
    """

    def __init__(self, out: str | Path, identity: Mapping, net: torch.nn.Module, optimizer, keep: int = 2):
        self.out, self.net, self.optimizer, self.keep = Path(out), net, optimizer, keep
        self.leads = parallel.leads()
        if self.leads:
            self._claim(json.loads(json.dumps(identity, default=str)))
        parallel.wait()
        found = checkpoints(self.out)
        self.step = int(found[-1].name.removeprefix("step-")) if found else 0
        if found:
            self._load(found[-1])
        self._log = self._opened() if self.leads else None

    def _claim(self, identity: dict) -> None:
        self.out.mkdir(parents=True, exist_ok=True)
        path = self.out / "config.json"
        if path.exists() and (changed := _differences(json.loads(path.read_text()), identity)):
            raise ValueError(f"{self.out} holds a run with another configuration: {'; '.join(changed)}. "
                             "Restore it to resume, or choose another folder")  # fmt: skip
        _write(path, json.dumps(identity, indent=1) + "\n")

    def _opened(self):
        """The log, without the lines of steps that no checkpoint holds and that will be made again."""
        path = self.out / "log.jsonl"
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        _write(path, "".join(line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= self.step))
        return path.open("a")

    def log(self, record: dict) -> None:
        if self.leads:
            self._log.write(json.dumps(record) + "\n")
            self._log.flush()

    def _state(self) -> dict:
        options = StateDictOptions(ignore_frozen_params=True)
        weights, optimizer = get_state_dict(self.net, self.optimizer, options=options)
        return {"model": weights, "optimizer": optimizer}

    def _load(self, path: Path) -> None:
        state = self._state()
        dcp.load(state, checkpoint_id=path)
        options = StateDictOptions(ignore_frozen_params=True, strict=False)
        set_state_dict(self.net, self.optimizer, model_state_dict=state["model"],
                       optim_state_dict=state["optimizer"], options=options)  # fmt: skip

    def save(self, step: int) -> None:
        """A checkpoint of the state after so many steps; older ones than the last `keep` are removed."""
        path = self.out / "checkpoints" / f"step-{step:08d}"
        draft = path.with_name(f".{path.name}")
        if self.leads:
            shutil.rmtree(draft, ignore_errors=True)
        parallel.wait()
        try:
            dcp.save(self._state(), checkpoint_id=draft)
        except Exception as error:
            shutil.rmtree(draft, ignore_errors=True)
            raise OSError(f"checkpoint {path} could not be written, those before it are whole: {error}") from error
        parallel.wait()
        if self.leads:
            draft.rename(path)
            for old in checkpoints(self.out)[: -self.keep]:
                shutil.rmtree(old)
        parallel.wait()

    def finish(self, vlm: VLM) -> Path:
        """Write the finished model in bfloat16, adapters merged."""
        folder = self.out / "model"
        net = self.net
        if hasattr(net, "merge_adapter"):
            net.merge_adapter()
        weights = get_model_state_dict(net, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
        if self.leads:
            shutil.rmtree(folder, ignore_errors=True)
            plain = {_plain(name): w.to(torch.bfloat16) for name, w in weights.items() if "lora_" not in name}
            model.save(vlm, folder, plain)
        parallel.wait()
        return folder

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, *_: object) -> None:
        if self._log:
            self._log.close()


def checkpoints(out: str | Path) -> list[Path]:
    """The whole checkpoints of a run, oldest first."""
    return sorted((Path(out) / "checkpoints").glob("step-*"))


def events(out: str | Path) -> Callable[[Mapping], None]:
    """Writes records as TensorBoard's event files, into out/events."""
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(Path(out) / "events")

    def write(record: Mapping) -> None:
        for name, value in flat(record).items():
            writer.add_scalar(name, value, record["step"])

    return write


def flat(record: Mapping, prefix: str = "") -> dict[str, float]:
    """Nested records as one: {"losses": {"depth": 1.2}} becomes {"losses/depth": 1.2}."""
    found = {}
    for name, value in record.items():
        found |= flat(value, f"{prefix}{name}/") if isinstance(value, Mapping) else {prefix + name: value}
    return found


def read(out: str | Path) -> list[dict]:
    """The log of a run, one record for each step."""
    return [json.loads(line) for line in (Path(out) / "log.jsonl").read_text().splitlines()]


def _plain(name: str) -> str:
    """The name that a weight had before adapters were put around it."""
    return name.removeprefix("base_model.model.").replace(".base_layer.", ".")


def _differences(old: Mapping, new: Mapping) -> list[str]:
    a, b = flat(old), flat(new)
    return [f"{k} was {a.get(k)!r}, is {b.get(k)!r}" for k in sorted(a.keys() | b.keys()) if a.get(k) != b.get(k)]


def _write(path: Path, text: str) -> None:
    draft = path.with_name(f".{path.name}.draft")
    draft.write_text(text)
    os.replace(draft, path)
