"""What several processes need to learn as one: a network in parts, sums over all, the same number
of turns.

Alone, every function here gives back what it was given. The network is sharded by torch's FSDP2, on
GPUs and, with gloo, on CPUs, so that what runs on many machines is tested on one.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
import torch.distributed as dist
from accelerate import PartialState
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.utils import parameters_to_vector, vector_to_parameters


def place() -> PartialState:
    """Device, and which of how many processes this is; the group of processes is made on the first
    call."""
    os.environ.setdefault(
        "TOKENIZERS_PARALLELISM", "false"
    )  # else tokenizers warn when workers are forked
    return PartialState(cpu=not torch.cuda.is_available())


def sharded(
    net: torch.nn.Module, device: torch.device, shard: int = 0, precision: str = "fp32"
) -> torch.nn.Module:
    """The network on its device; with several processes, in parts that groups of `shard` of them
    hold together.

    The groups are copies of each other (hybrid shard): with shard 0 a group is a machine, so that
    weights are gathered inside machines and only gradients travel between them. With shard 1 each
    process has the whole network, which is fastest where it is small; see `averaged`. ValueError
    where groups of that size do not come out even.
    """
    if not dist.is_initialized():
        return net.to(device)
    world = dist.get_world_size()
    shard = shard or int(os.environ.get("LOCAL_WORLD_SIZE", world))
    if world % shard:
        raise ValueError(
            f"{world} processes do not make groups of {shard}: choose a shard that divides them"
        )
    if shard == 1:
        return net.to(device)
    mesh = init_device_mesh(
        device.type, (world // shard, shard), mesh_dim_names=("replicate", "shard")
    )
    half = (
        {"param_dtype": torch.bfloat16, "reduce_dtype": torch.float32}
        if precision == "bf16"
        else {}
    )
    policy = MixedPrecisionPolicy(
        **half, cast_forward_inputs=False
    )  # angles of positions stay as exact as alone
    qwen = net.get_base_model() if hasattr(net, "get_base_model") else net
    layers = [*qwen.model.visual.blocks, *qwen.model.language_model.layers]
    for module in (*layers, net):  # the rest, with the tied embeddings, is one part of its own
        fully_shard(module, mesh=mesh if shard < world else mesh["shard"], mp_policy=policy)
    return net


def averaged(net: torch.nn.Module) -> None:
    """Replaces gradients of whole copies of the network by their mean over all processes; parts
    have theirs already."""
    learned = [p for p in net.parameters() if p.grad is not None]
    if not dist.is_initialized() or isinstance(learned[0], DTensor):
        return
    flat = parameters_to_vector([p.grad for p in learned])
    dist.all_reduce(flat)
    vector_to_parameters(flat / dist.get_world_size(), [p.grad for p in learned])


def total(values: Sequence[float]) -> list[float]:
    """Sums over all processes."""
    return _reduced(values, dist.ReduceOp.SUM)


def _reduced(values: Sequence[float], how: dist.ReduceOp) -> list[float]:
    if not dist.is_initialized():
        return list(values)
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    found = torch.tensor(values, dtype=torch.float64, device=device)
    dist.all_reduce(found, how)
    return found.tolist()


class Stopped(Exception):
    """A process was asked to stop, so all of them do, in the same place."""


def evened(
    items: Iterable,
    net: torch.nn.Module | None = None,
    stopping: Callable[[], bool] = lambda: False,
) -> Iterator[tuple[object, bool]]:
    """(item, True) for each; then the last again with False, as long as another process has items
    left.

    Every pass through a sharded network is one of all processes, so all must make the same number.
    Gradients of a network in copies are added up inside each copy, and travel between the copies
    after the last turn only. Raises Stopped before the next turn of all processes once one of them
    is stopping; its items may end early then.
    """
    items, counts = iter(items), True
    item = next(items, None)
    while True:
        following = next(items, None)
        left, stops = _reduced([following is not None, stopping()], dist.ReduceOp.MAX)
        if stops:
            raise Stopped
        if isinstance(net, FSDPModule):
            net.set_requires_all_reduce(not left)
        yield item, counts
        if not left:
            return
        item, counts = (item, False) if following is None else (following, True)


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor that may be in parts, put together."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def leads() -> bool:
    """Whether this process is the one that writes."""
    return not dist.is_initialized() or dist.get_rank() == 0


def wait() -> None:
    """For all processes to come here."""
    total([0])
