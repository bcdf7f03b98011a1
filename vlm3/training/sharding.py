"""A network that several processes hold and teach together.

It is sharded by torch's FSDP2, on GPUs and, with gloo, on CPUs, so that what runs on many machines
is tested on one. Alone, every function here gives back what it was given.
"""

import os
from collections.abc import Callable, Iterable, Iterator

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from vlm3 import parallel
from vlm3.qwen import network


def sharded(
    net: torch.nn.Module, device: torch.device, shard: int = 0, precision: str = "fp32"
) -> torch.nn.Module:
    """The network on its device; with several processes, in parts that groups of `shard` of them
    hold together.

    The groups are copies of each other (hybrid shard): with shard 0 a group is a machine, so that
    weights are gathered inside machines and only gradients travel between them. With shard 1 each
    process has the whole network, which is fastest where it is small; see `averaged`. ValueError
    where groups of that size do not come out even, and for weights of 8 or 4 bits in parts.
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
    if not all(p.is_floating_point() for p in net.parameters()):
        raise ValueError(
            "a base of 8 or 4 bits cannot be held in parts: --shard 1 gives each process the whole "
            "of it, --base bf16 can be shared"
        )
    # Two dimensions: gather inside a group, add up gradients across groups.
    mesh = init_device_mesh(
        device.type, (world // shard, shard), mesh_dim_names=("replicate", "shard")
    )
    half = {"param_dtype": torch.bfloat16, "reduce_dtype": torch.float32}
    # Inputs are not cast: angles of positions stay as exact as alone.
    policy = MixedPrecisionPolicy(**half if precision == "bf16" else {}, cast_forward_inputs=False)
    mesh = mesh if shard < world else mesh["shard"]
    for module in (*network.layers(net), net):  # the rest, with the tied embeddings, is one part
        fully_shard(module, mesh=mesh, mp_policy=policy)
    return net


def averaged(net: torch.nn.Module) -> None:
    """Replaces gradients of whole copies of the network by their mean over all processes; parts
    have theirs already."""
    learned = [p for p in net.parameters() if p.grad is not None]
    if not dist.is_initialized() or isinstance(learned[0], DTensor):
        return
    # One message instead of hundreds: small networks are bound by the number of messages.
    flat = parameters_to_vector([p.grad for p in learned])
    dist.all_reduce(flat)
    vector_to_parameters(flat / dist.get_world_size(), [p.grad for p in learned])


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
        left, stops = parallel.reduced([following is not None, stopping()], dist.ReduceOp.MAX)
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
