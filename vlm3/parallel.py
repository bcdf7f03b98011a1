"""What several processes need to work as one: where they are, sums over all, one folder for all.

Alone, sums are the numbers themselves, and nobody waits.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import wraps
from pathlib import Path

import torch
import torch.distributed as dist
from accelerate import PartialState

from vlm3.disk import held


def place() -> PartialState:
    """Device, and which of how many processes this is; the first call makes their group."""
    # else tokenizers warn when workers are forked
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    return PartialState(cpu=not torch.cuda.is_available())


def total(values: Sequence[float]) -> list[float]:
    """Sums over all processes."""
    return reduced(values, dist.ReduceOp.SUM)


def reduced(values: Sequence[float], how: dist.ReduceOp) -> list[float]:
    if not dist.is_initialized():
        return list(values)
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    # float32 would stop counting at 2^24, which tokens soon pass
    found = torch.tensor(values, dtype=torch.float64, device=device)
    dist.all_reduce(found, how)
    return found.tolist()


def leads() -> bool:
    """Whether this process is the one that writes."""
    return not dist.is_initialized() or dist.get_rank() == 0


def wait() -> None:
    """For all processes to come here."""
    total([0])


def alone(act: Callable) -> Callable:
    """Make a function hold the folder `config.out` that it fills, see `vlm3.disk.held`.

    Several processes that work as one count as one: the leading one holds the folder, and what
    refuses it ends all.
    """

    @wraps(act)
    def holding(config: object, *args: object, **kwargs: object) -> object:
        place()
        with _held_by_the_leading(config.out):
            return act(config, *args, **kwargs)

    return holding


@contextmanager
def _held_by_the_leading(out: Path) -> Iterator[None]:
    with ExitStack() as stack:
        refusal = None
        try:
            if leads():
                stack.enter_context(held(out))
        except OSError as error:
            refusal = error
        # a sum, so that all learn of it: a process that went on would wait for the others for ever
        if total([refusal is not None])[0]:
            raise refusal or BlockingIOError(
                f"{out}: the leading process could not hold it, and says why"
            )
        yield
