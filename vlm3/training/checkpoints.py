"""What a run leaves on disk, each part whole or not at all.

The folder of a run holds config.json, what the run is, compared when it is resumed; log.jsonl, one
line for each step; checkpoints/step-00000100 and so on, weights and optimiser, the last few;
model/, the finished model in hub format; and where adapters were trained, adapter/, those alone.
While a command fills it, .lock.json says which.
"""

import json
import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_state_dict,
    set_state_dict,
)

from vlm3 import parallel
from vlm3.disk import claim, write
from vlm3.qwen import adapters, model, network
from vlm3.qwen.model import VLM
from vlm3.training import log


class Run:
    """A folder that keeps what a run is, how it goes, and the state of its network and optimiser.

    Raises ValueError where the folder holds a run of another identity, naming what differs.
    """

    def __init__(self, out: str | Path, identity: Mapping, keep: int = 2):
        self.out, self.keep, self.leads = Path(out), keep, parallel.leads()
        self.model, self.adapter = self.out / "model", self.out / "adapter"
        if self.leads:
            self._claim(identity)
        last = [int(path.name.removeprefix("step-")) for path in checkpoints(self.out)[-1:]]
        # Only the leading process counts: shared disks may show others less.
        seen = [sum(last), self.model.is_dir()] if self.leads else [0, 0]
        self.step, self.finished = map(int, parallel.total(seen))

    def _claim(self, identity: Mapping) -> None:
        claim(self.out, identity, begun=bool(checkpoints(self.out)) or self.model.exists())
        for draft in (*self._place(0).parent.glob(".step-*"), self.out / ".model.draft"):
            shutil.rmtree(draft, ignore_errors=True)

    def resume(self, net: torch.nn.Module, optimizers: Sequence[torch.optim.Optimizer]) -> None:
        """Give both the state of the last checkpoint, if there is one, and keep theirs from here
        on."""
        self.net, self.optimizers = net, optimizers
        if self.leads:  # the log ends where the checkpoint does; later steps will be made again
            kept = [record for record in log.records(self.out) if record["step"] <= self.step]
            write(self.out / "log.jsonl", "".join(json.dumps(record) + "\n" for record in kept))
        if self.step:
            self._load(self._place(self.step))

    def log(self, record: Mapping) -> None:
        if not self.leads:
            return
        path = self.out / "log.jsonl"
        try:
            with path.open("a") as file:
                file.write(json.dumps(record) + "\n")
        except OSError as error:
            raise OSError(
                f"{path}: step {record['step']} could not be written, checkpoints stay: {error}"
            ) from error

    def _place(self, step: int) -> Path:
        return self.out / "checkpoints" / f"step-{step:08d}"

    def _state(self) -> dict:
        # Frozen weights are in the model that the run began with, and stay there.
        options = StateDictOptions(ignore_frozen_params=True)
        weights, optimizer = get_state_dict(self.net, self.optimizers, options=options)
        # Left there is the second name of tied weights, which would be the largest of all.
        named = self.net.named_parameters(remove_duplicate=False)
        frozen = {name for name, weight in named if not weight.requires_grad}
        own = {name: weight for name, weight in weights.items() if name not in frozen}
        return {"model": own, "optimizer": optimizer}

    def _load(self, path: Path) -> None:
        state = self._state()
        way_out = "remove it to resume from the one before"
        with _failing_with(f"checkpoint {path} cannot be read, {way_out}"):
            dcp.load(state, checkpoint_id=path)
        options = StateDictOptions(ignore_frozen_params=True, strict=False)
        set_state_dict(
            self.net,
            self.optimizers,
            model_state_dict=state["model"],
            optim_state_dict=state["optimizer"],
            options=options,
        )

    def save(self, step: int) -> None:
        """A checkpoint of the state after so many steps; older ones than the last `keep` are
        removed."""
        path = self._place(step)
        draft = _hidden(path)
        try:
            with _failing_with(f"checkpoint {path} could not be written, those before are whole"):
                dcp.save(self._state(), checkpoint_id=draft)
        except OSError:
            shutil.rmtree(draft, ignore_errors=True)
            raise
        if self.leads:
            draft.rename(path)
            for old in checkpoints(self.out)[: -self.keep]:
                shutil.rmtree(old.rename(_hidden(old)))
        parallel.wait()

    def finish(self, vlm: VLM) -> None:
        """Write the finished model in bfloat16."""
        weights = self._whole()
        if self.leads:
            half = {name: weight.to(torch.bfloat16) for name, weight in weights.items()}
            model.save(replace(vlm, net=network.of_weights(vlm.net.config, half)), self.model)
        parallel.wait()

    def finish_adapter(self, vlm: VLM, name: str, base: VLM) -> None:
        """Write the adapters, and the model that they make of their base in all of its bits, in
        bfloat16; name: of the base."""
        weights = self._whole(ignore_frozen_params=True)
        if self.leads:
            shutil.rmtree(self.adapter, ignore_errors=True)
            adapters.save(self.net, weights, name, vlm.taught, self.adapter)
            adapters.merge(base.net, adapters.read(self.adapter), self.adapter)
            network.cast(base.net, torch.bfloat16)
            model.save(replace(base, taught=vlm.taught), self.model)
        parallel.wait()

    def _whole(self, **which: bool) -> dict[str, torch.Tensor]:
        """Weights of all processes put together, in the leading one."""
        options = StateDictOptions(full_state_dict=True, cpu_offload=True, **which)
        return get_model_state_dict(self.net, options=options)


def checkpoints(out: str | Path) -> list[Path]:
    """The whole checkpoints of a run, oldest first."""
    return sorted((Path(out) / "checkpoints").glob("step-*"))


@contextmanager
def _failing_with(complaint: str) -> Iterator[None]:
    """For calls of torch's checkpoints: errors in one line, and no warning that a single process is
    alone."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "torch.distributed is (disabled|unavailable)")
            yield
    except (Exception, CheckpointException) as error:
        several = isinstance(error, CheckpointException)
        cause = next(iter(error.failures.values()))[0] if several else error
        while cause.__context__:  # torch reports what followed from a full disk
            cause = cause.__context__
        raise OSError(f"{complaint}: {cause}") from error


def _hidden(path: Path) -> Path:
    """The name of what is not yet whole, or no longer."""
    return path.with_name(f".{path.name}")
