"""The log of a run: one record for each step, as lines of JSON and as TensorBoard's events."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import mean

from vlm3.disk import flat, jsonl


def records(out: str | Path) -> list[dict]:
    """The log of a run, one record for each step; a last line that is still being written is left
    out.

    Raises ValueError, naming file and line, for a line that is no record.
    """
    return jsonl(Path(out) / "log.jsonl", "step")


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
