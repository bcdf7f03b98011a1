"""How fast a step of fine-tuning is on this machine, and what brought it there.

Weights and images may be random, since speed does not depend on them. Every rung of the ladder does
the same work on the same samples, but for one thing more than the rung before; in the ablation, but
for one thing less.
"""

import gc
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from vlm3 import tasks
from vlm3.mixture import Mixture, Source
from vlm3.qwen import attention, flops, network, packing
from vlm3.qwen.batching import Batch, collate
from vlm3.qwen.model import VLM
from vlm3.qwen.precision import autocast
from vlm3.sources.noise import noise
from vlm3.training import head, sft
from vlm3.training.config import Config


@dataclass(frozen=True)
class Rung:
    """One way to make a step. Off: convolved patches, logits of every token, a masked square of
    attention, one question per sample, plain torch, all logits of the supervised tokens at once."""

    name: str
    packed: bool = True
    linear: bool = True
    rows: bool = True
    tree: bool = True
    checkpointing: int = 0
    compiled: bool = False
    fused: bool = False


def ladder(gpu: bool) -> list[Rung]:
    """From what a first attempt would do to what `sft` does; on a GPU also compiled, with less
    checkpointing, and with the loss in parts."""
    first = Rung(
        "a question per sample",
        packed=False,
        linear=False,
        rows=False,
        tree=False,
        checkpointing=int(gpu),
    )
    rungs = [first]
    for name, change in (
        ("ten questions packed", {"packed": True}),
        ("linear patches", {"linear": True}),
        ("supervised rows only", {"rows": True}),
        ("tree attention", {"tree": True}),
    ):
        rungs.append(replace(rungs[-1], name=name, **change))
    if gpu:
        for name, change in (
            ("compiled layers", {"compiled": True}),
            ("every second layer checkpointed", {"checkpointing": 2}),
            ("no checkpointing", {"checkpointing": 0}),
            ("fused head", {"fused": True}),
        ):
            rungs.append(replace(rungs[-1], name=name, **change))
    return rungs


def ablation() -> list[Rung]:
    """All that brings speed on a GPU, then one thing changed at a time: first what needs no layer
    compiled anew, which takes longer than the rest."""
    whole = Rung("whole recipe", compiled=True)
    changes = {
        "not compiled": {"compiled": False},
        "fused head": {"fused": True},
        "logits of every token": {"rows": False},
        "half of the layers checkpointed": {"checkpointing": 2},
        "all layers checkpointed": {"checkpointing": 1},
        "masked attention": {"tree": False},
        "convolved patches": {"linear": False},
        "a question per sample": {"packed": False},
    }
    return [whole, *(replace(whole, name=name, **change) for name, change in changes.items())]


def start(config: Config, device: str, share: int = 1) -> VLM:
    """The network that a run begins with; random weights are made where they are needed.

    share: of so many GPUs that hold it together. Then weights are bfloat16, as they arrive from the
    others, and gradients go as soon as they are made, as they leave for the others; `train` has
    more of what one of them does.
    """
    with network.usable(device):
        vlm = sft.start(config)
    vlm = replace(vlm, net=vlm.net.to(device))
    if share > 1 and config.precision == "bf16":
        network.cast(vlm.net, torch.bfloat16)
    for weight in vlm.net.parameters() if share > 1 else ():
        weight.register_post_accumulate_grad_hook(_leave)
    return vlm


def _leave(weight: torch.Tensor) -> None:
    weight.grad = None


def train(
    vlm: VLM,
    config: Config,
    task: str,
    size: tuple[int, int],
    questions: int,
    steps: int,
    share: int = 1,
    rungs: Sequence[Rung] = (),
) -> Iterator[dict]:
    """Measures of each rung, by default the ladder.

    Per step: seconds, by part; samples/s, tokens/s, MFU, and peak memory on a GPU. A sample is an
    image (or a pair) with all its questions, also where the rung asks them one by one.
    share: measured is one of so many GPUs that hold the network together, with the network that
    `start` makes for it. It computes all of a step, and keeps and changes its share of the float32
    weights; what GPUs send each other is left out. A rung without the memory that it needs says
    out_of_memory, one that breaks, why it failed.
    """
    peak = config.peak_tflops * 1e12 or flops.peak(vlm.device, config.precision)
    mixture = _mixture(task, size, questions)
    # Of the packed samples, so that doing more than needed does not count as use.
    useful = sum(flops.step(vlm.net, b) for b in _batches(mixture, True, config, vlm))
    for rung in rungs or ladder(vlm.device.type == "cuda"):
        told = {"rung": rung.name} | ({"share": share} if share > 1 else {})
        try:
            began = time.perf_counter()
            batches = _batches(mixture, rung.packed, config, vlm)
            data_s = time.perf_counter() - began
            found = _measured(vlm, batches, rung, config, steps, share)
        except torch.OutOfMemoryError:
            yield told | {"out_of_memory": True}
        except RuntimeError as error:
            # A compiler's errors are many lines, the first of which says what.
            yield told | {"failed": f"{type(error).__name__}: {error}".splitlines()[0]}
        else:
            rates = _rates(found, config.batch, sum(map(len, batches)), useful / peak)
            yield told | rates | {"data_s": data_s, "batches": len(batches)}
        vlm.net.zero_grad()
        _collected()


def _rates(found: dict, samples: int, tokens: int, ideal_s: float) -> dict:
    """Measures of a step with what follows from them; ideal_s: seconds at the device's peak."""
    step_s = found["forward_s"] + found["backward_s"] + found["optimizer_s"]
    return {
        "step_s": step_s,
        **found,
        "samples_per_s": samples / step_s,
        "tokens_per_s": tokens / step_s,
        "tokens": tokens,
        "mfu": ideal_s / step_s,
    }


def _collected() -> None:
    """What no name holds any more is free for others."""
    gc.collect()
    torch.cuda.empty_cache()


class _Enough(Exception):
    """What was to be measured is."""


def waiting(
    config: Config, task: str, size: tuple[int, int], questions: int, steps: int, device: str
) -> dict:
    """How long the loop of `sft.train` waits for samples, made by config.workers processes from
    noise: seconds per step and share of it (medians without the first step, in which all begin).

    So that one GPU holds it, the text part is frozen: a step that is shorter than one of all
    weights waits more.
    """
    records: list[dict] = []

    def told(record: dict) -> None:
        records.append(record)
        if len(records) > steps:
            raise _Enough  # before anything is saved

    _collected()  # the network of the measure before
    vlm = start(config, device)
    # The loop would draw random weights of 4B on a CPU, which takes minutes.
    before, sft.start = sft.start, lambda config: vlm
    try:
        with tempfile.TemporaryDirectory() as out, suppress(_Enough):
            run = replace(config, out=Path(out), freeze=("text",), steps=steps + 2, progress=False)
            sft.train(run, _mixture(task, size, questions), on_step=told)
    finally:
        sft.start = before
    found = {
        name: float(np.median([r[name] for r in records[1:]]))
        for name in ("seconds", "wait_s", "samples_per_s")
    }
    return {
        "rung": "data wait",
        "workers": config.workers,
        "frozen": "text",
        **found,
        "wait_share": found["wait_s"] / found["seconds"],
    }


def _mixture(task: str, size: tuple[int, int], questions: int) -> Mixture:
    items = [noise(size, tasks.get(task).views)]
    return Mixture({"noise": Source(items, task, questions, focal_px=1000.0)})


def noisy(vlm: VLM, config: Config, task: str, size: tuple[int, int]) -> list[Batch]:
    """The batches of a step about noise, ten questions each."""
    return _batches(_mixture(task, size, 10), True, config, vlm)


def _batches(mixture: Mixture, packed: bool, config: Config, vlm: VLM) -> list[Batch]:
    """As many samples at once as the budget of tokens allows."""
    samples = [mixture[i] for i in range(config.batch)]
    if not packed:
        samples = [replace(s, qas=(qa,)) for s in samples for qa in s.qas]
    packs = [packing.pack(s, vlm.tokenizer, merge=vlm.merge) for s in samples]
    some = max(1, config.tokens // max(map(len, packs)))
    return [collate(packs[k : k + some]) for k in range(0, len(packs), some)]


def _measured(
    vlm: VLM, batches: list[Batch], rung: Rung, config: Config, steps: int, share: int
) -> dict:
    net = _prepared(vlm, rung, config)
    weights = _kept(net, share)
    optimizer = torch.optim.AdamW(weights, config.lr, fused=True)
    parts: dict[str, list[float]] = {"forward_s": [], "backward_s": [], "optimizer_s": []}
    if net.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    for _ in range(steps + 1):  # the first one warms up
        taken = dict.fromkeys(parts, 0.0)
        for batch in batches:
            with _clock(taken, "forward_s", net.device):
                loss = _loss(net, batch.to(net.device), rung, config)
            with _clock(taken, "backward_s", net.device):
                loss.backward()
        with _clock(taken, "optimizer_s", net.device):
            torch.nn.utils.clip_grad_norm_(weights, config.clip)
            optimizer.step()
            optimizer.zero_grad(set_to_none=share == 1)
        for name, seconds in taken.items():
            parts[name].append(seconds)
    found = {name: float(np.median(seconds[1:])) for name, seconds in parts.items()}
    memory = torch.cuda.max_memory_allocated() / 1e9 if net.device.type == "cuda" else None
    return found | {"memory_gb": memory}


def _kept(net: torch.nn.Module, share: int) -> list[torch.nn.Parameter]:
    """The weights that this GPU changes: all, or as many as its share, in one piece and with a
    gradient."""
    if share == 1:
        return list(net.parameters())
    part = torch.nn.Parameter(
        torch.zeros(sum(p.numel() for p in net.parameters()) // share, device=net.device)
    )
    part.grad = torch.zeros_like(part)
    return [part]


def _prepared(vlm: VLM, rung: Rung, config: Config) -> torch.nn.Module:
    """The network as the rung has it, whatever the rung before made of it."""
    vlm.net.activation_checkpointing_disable()
    for layer in network.text_layers(vlm.net):
        layer._compiled_call_impl = None
    net = sft.prepared(
        vlm, replace(config, checkpointing=rung.checkpointing, compiled=rung.compiled)
    )
    attention.use(net, rung.tree)
    network.use_linear_patches(net, rung.linear)
    return net


def _loss(net: torch.nn.Module, batch: Batch, rung: Rung, config: Config) -> torch.Tensor:
    inputs, rows = batch.inputs(masked=not rung.tree), batch.supervised
    targets = batch.targets[rows]
    with autocast(net.device, config.precision):
        if rung.fused:
            del inputs["logits_to_keep"]
            hidden, weight = network.last_hidden(net, **inputs, use_cache=False)
            losses = head.losses(hidden[0, rows], weight, targets)
        else:
            inputs |= (
                {} if rung.rows else {"logits_to_keep": torch.ones_like(inputs["logits_to_keep"])}
            )
            logits = net(**inputs, use_cache=False).logits
            losses = cross_entropy(
                (logits if rung.rows else logits[rows]).float(), targets, reduction="none"
            )
    return (losses * batch.weights[rows]).mean()


@contextmanager
def _clock(taken: dict[str, float], name: str, device: torch.device) -> Iterator[None]:
    began = time.perf_counter()
    yield
    if device.type == "cuda":
        torch.cuda.synchronize()
    taken[name] += time.perf_counter() - began
