"""What a run leaves on disk, each part whole or not at all.

The folder of a run holds config.json, what the run is, compared when it is resumed; log.jsonl, one
line for each step; checkpoints/step-00000100 and so on, weights and optimiser, the last few;
model/, the finished model in hub format. While a command fills it, .lock.json says which.
"""

import copy
import json
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import wraps
from pathlib import Path
from statistics import mean

import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_state_dict,
    set_state_dict,
)
from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

from vlm3 import parallel
from vlm3.disk import held, write
from vlm3.qwen import model
from vlm3.qwen.model import VLM


class Run:
    """A folder that keeps what a run is, how it goes, and the state of its network and optimiser.

    Raises ValueError where the folder holds a run of another identity, naming what differs.
    """

    def __init__(self, out: str | Path, identity: Mapping, keep: int = 2):
        self.out, self.keep, self.leads = Path(out), keep, parallel.leads()
        self.model = self.out / "model"
        if self.leads:
            self._claim(identity)
        last = [int(path.name.removeprefix("step-")) for path in checkpoints(self.out)[-1:]]
        seen = (
            [sum(last), self.model.is_dir()] if self.leads else [0, 0]
        )  # shared disks may show others less
        self.step, self.finished = map(int, parallel.total(seen))

    def _claim(self, identity: Mapping) -> None:
        claim(self.out, identity, begun=bool(checkpoints(self.out)) or self.model.exists())
        for draft in (*self._place(0).parent.glob(".step-*"), self.out / ".model"):
            shutil.rmtree(draft, ignore_errors=True)

    def resume(self, net: torch.nn.Module, optimizers: Sequence[torch.optim.Optimizer]) -> None:
        """Give both the state of the last checkpoint, if there is one, and keep theirs from here
        on."""
        self.net, self.optimizers = net, optimizers
        if self.leads:  # the log ends where the checkpoint does; later steps will be made again
            kept = [record for record in read(self.out) if record["step"] <= self.step]
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
        options = StateDictOptions(ignore_frozen_params=True)
        weights, optimizer = get_state_dict(self.net, self.optimizers, options=options)
        return {"model": weights, "optimizer": optimizer}

    def _load(self, path: Path) -> None:
        state = self._state()
        with _failing_with(
            f"checkpoint {path} cannot be read, remove it to resume from the one before"
        ):
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
            with _failing_with(
                f"checkpoint {path} could not be written, those before it are whole"
            ):
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
        """Write the finished model in bfloat16, adapters merged."""
        if hasattr(self.net, "merge_adapter"):
            self.net.merge_adapter()
        options = StateDictOptions(full_state_dict=True, cpu_offload=True)
        weights = get_model_state_dict(self.net, options=options)
        if self.leads:
            plain = {
                _plain(name): w.to(torch.bfloat16)
                for name, w in weights.items()
                if "lora_" not in name
            }
            draft = _hidden(self.model)
            draft.mkdir()
            with model.without_bars():
                model.save(replace(vlm, net=_network(vlm.net.config, plain)), draft / "model")
            (draft / "model").rename(self.model)
            draft.rmdir()
        parallel.wait()


def _network(
    settings: Qwen3VLConfig, weights: dict[str, torch.Tensor]
) -> Qwen3VLForConditionalGeneration:
    with torch.device("meta"):
        net = Qwen3VLForConditionalGeneration(copy.deepcopy(settings))
    model.tied(settings, weights, "what was trained")
    net.load_state_dict(weights, assign=True)
    net.tie_weights()
    return net


def alone(act: Callable) -> Callable:
    """Of a function that fills the folder `config.out`: it holds the folder as long as it works,
    see `vlm3.disk.held`.

    Several processes that work as one count as one: the leading one holds the folder, and what
    refuses it ends all.
    """

    @wraps(act)
    def holding(config: object, *args: object, **kwargs: object) -> object:
        parallel.place()
        with _held_by_the_leading(config.out):
            return act(config, *args, **kwargs)

    return holding


@contextmanager
def _held_by_the_leading(out: Path) -> Iterator[None]:
    with ExitStack() as stack:
        refusal = None
        try:
            if parallel.leads():
                stack.enter_context(held(out))
        except OSError as error:
            refusal = error
        if parallel.total([refusal is not None])[0]:
            raise refusal or BlockingIOError(
                f"{out}: the leading process could not hold it, and says why"
            )
        yield


def claim(out: Path, identity: Mapping, begun: bool) -> None:
    """Make a folder that says in config.json what fills it, so that nothing else is ever mixed in.

    begun: whether there is something to lose. Then ValueError where another configuration began,
    naming the changes.
    """
    identity = json.loads(json.dumps(identity, default=str))
    out.mkdir(parents=True, exist_ok=True)
    path = out / "config.json"
    if begun and (changed := _differences(_object(_text(path), path), identity)):
        raise ValueError(
            f"{out} was begun with another configuration: {'; '.join(changed)}. "
            "Restore it to resume, or choose another folder"
        )
    write(path, json.dumps(identity, indent=1) + "\n")


def checkpoints(out: str | Path) -> list[Path]:
    """The whole checkpoints of a run, oldest first."""
    return sorted((Path(out) / "checkpoints").glob("step-*"))


def events(out: str | Path) -> Callable[[Mapping], None]:
    """Writes records as TensorBoard's event files, into out/events; what an earlier run wrote of a
    step is hidden."""
    from torch.utils.tensorboard import SummaryWriter

    writers = []

    def tell(record: Mapping) -> None:
        if not writers:
            writers.append(SummaryWriter(Path(out) / "events", purge_step=record["step"]))
        for name, value in flat(record).items():
            writers[0].add_scalar(name, value, record["step"])
        writers[0].flush()

    return tell


def flat(record: Mapping, prefix: str = "") -> dict[str, float]:
    """Nested records as one: {"losses": {"depth": 1.2}} becomes {"losses/depth": 1.2}."""
    found = {}
    for name, value in record.items():
        found |= (
            flat(value, f"{prefix}{name}/")
            if isinstance(value, Mapping)
            else {prefix + name: value}
        )
    return found


def read(out: str | Path) -> list[dict]:
    """The log of a run, one record for each step; a last line that is still being written is left
    out.

    Raises ValueError, naming file and line, for a line that is no record.
    """
    return records(Path(out) / "log.jsonl", "step")


def records(path: Path, *names: str) -> list[dict]:
    """The objects of a JSONL file, each with at least these names; errors and the last line as in
    `read`."""
    lines = _text(path).split("\n")[:-1] if path.exists() else []
    return [_object(line, f"{path}:{n}", *names) for n, line in enumerate(lines, 1)]


def _text(path: Path) -> str:
    """With marks in place of bytes that are no text, so that the line that holds them can be named."""
    return path.read_text(encoding="utf-8-sig", errors="replace")


def means(log: Sequence[Mapping], every: int) -> list[dict]:
    """The mean loss of each task over each so many records, as records; what is left over at the
    end is left out."""
    parts = [log[end - every : end] for end in range(every, len(log) + 1, every)]
    return [
        {"step": part[-1]["step"], "losses": _mean([record["losses"] for record in part])}
        for part in parts
    ]


def _mean(losses: Sequence[Mapping[str, float]]) -> dict[str, float]:
    names = sorted({name for each in losses for name in each})
    return {name: round(mean(each[name] for each in losses if name in each), 4) for name in names}


def _object(text: str, where: object, *names: str) -> dict:
    try:
        found = json.loads(text)
        return {name: found[name] for name in names} | found
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(
            f"{where} is damaged ({error!r}): restore it, or begin again in another folder"
        ) from error


@contextmanager
def _failing_with(complaint: str) -> Iterator[None]:
    """For calls of torch's checkpoints: errors in one line, and no warning that a single process is
    alone."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "torch.distributed is (disabled|unavailable)")
            yield
    except (Exception, CheckpointException) as error:
        cause = (
            next(iter(error.failures.values()))[0]
            if isinstance(error, CheckpointException)
            else error
        )
        while cause.__context__:  # torch reports what followed from a full disk
            cause = cause.__context__
        raise OSError(f"{complaint}: {cause}") from error


def _hidden(path: Path) -> Path:
    """The name of what is not yet whole, or no longer."""
    return path.with_name(f".{path.name}")


def _plain(name: str) -> str:
    """The name that a weight had before adapters were put around it."""
    return name.removeprefix("base_model.model.").replace(".base_layer.", ".")


def _differences(old: Mapping, new: Mapping) -> list[str]:
    a, b = flat(old), flat(new)
    return [
        f"{k} was {a.get(k)!r}, is {b.get(k)!r}"
        for k in sorted(a.keys() | b.keys())
        if a.get(k) != b.get(k)
    ]
