"""Supervised fine-tuning: one readable loop, from a laptop to many machines.

A step is a function of the weights, the configuration and its number: the mixture gives the samples
of step s whatever came before, and nothing else is random. So a run resumes bit by bit from its
last checkpoint, and several processes learn what one would. Each takes its share of a step's
samples; together they hold the network in parts (`vlm3.training.sharding`).
"""

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import cross_entropy
from tqdm.auto import tqdm

from vlm3 import mixture, parallel
from vlm3.mixture import Mixture, NoSample
from vlm3.qwen import adapters, attention, flops, model, quantised
from vlm3.qwen.architecture import PARTS
from vlm3.qwen.batching import Batch
from vlm3.qwen.model import VLM
from vlm3.qwen.precision import autocast
from vlm3.training import sharding
from vlm3.training.checkpoints import Run
from vlm3.training.compiling import compile_layers
from vlm3.training.config import Config
from vlm3.training.loader import Feed, Share, Stop
from vlm3.training.optimizers import optimizers


@parallel.alone
def train(
    config: Config,
    samples: Mixture | None = None,
    validation: Mixture | None = None,
    on_step: Callable[[dict], None] = lambda record: None,
    learner: "type[Learner] | None" = None,
) -> Path:
    """Fine-tune, and return the folder of the finished model, in hub format and bfloat16.

    samples, validation: mixtures made in Python, instead of those that the configuration names;
    on_step: called, in the leading process, with each record of the log; learner: another way to
    make a step. What is in `config.out` is resumed. After SIGTERM, Ctrl-C, and where samples cannot
    be made or do not come, the run drops the step that it is in and saves what the last whole one
    left; it ends with exit code 143, KeyboardInterrupt, or NoSample. Raises ValueError where
    another configuration began the run, FloatingPointError for a loss that is not a number,
    BlockingIOError where another command works in the folder, OSError for a full disk; whatever
    stops a run, its last checkpoint stays whole.
    """
    place = parallel.place()
    samples = samples or _named("mixture", config)
    if config.validate_every:
        validation = validation or _named("validation", config)
    identity = config.identity | {"sources": samples.description, "stream_seed": samples.seed}
    run = Run(config.out, identity, config.keep)
    if not run.finished:
        vlm = replace(start(config), taught=samples.taught)
        ranks = place.process_index, place.num_processes
        share = Share(samples, config, vlm.tokenizer, *ranks, vlm.merge)
        checked = _checked(share, validation) if config.validate_every else {}
        tasks = sorted({source.task for source in samples.sources.values()})
        net = prepared(vlm, config, place.device)
        taught = (learner or Learner)(config, net, place, tasks)
        run.resume(taught.net, taught.optimizers)
        _learn(run, taught, share, checked, on_step)
        if config.lora:
            run.finish_adapter(vlm, *_bases(config))
        else:
            run.finish(vlm)
    return run.model


def _learn(
    run: Run, learner: "Learner", share: Share, checked: dict[str, Share], on_step: Callable
) -> None:
    """All steps that are left."""
    config, steps, saved = learner.config, range(run.step, learner.config.steps), run.step
    every = config.validate_every or math.inf
    silent = not (config.progress and run.leads)
    bar = tqdm(total=config.steps, initial=run.step, disable=silent, unit="step")
    with _asked_to_stop() as stop, Feed(share, steps, config.workers, stop) as feed, bar:
        for step in steps:
            try:
                record = learner.step(step, feed)
            except sharding.Stopped:
                if step > saved:
                    run.save(step)
                raise _reason(stop, step) from None
            # Before the step is logged, so that its record is whole.
            for name, samples in checked.items() if (step + 1) % every == 0 else ():
                with suppress(sharding.Stopped):  # the next step will stop, too
                    record[name] = learner.validate(samples, stop)
            run.log(record)
            if run.leads:
                on_step(record)
            bar.set_postfix(loss=f"{record['loss']:.3f}")
            bar.update()
            if (step + 1) % config.save_every == 0 or step + 1 == config.steps:
                run.save(saved := step + 1)
        if parallel.total([stop.is_set()])[0]:  # since the last step, or by its validation
            raise _reason(stop, config.steps)


def _checked(share: Share, validation: Mixture) -> dict[str, Share]:
    """Unseen samples, and the same about other images: so a log tells when a network looks."""
    kinds = {"validation": validation}
    if validation.sizes.min() > 1:
        kinds["shuffled"] = validation.shuffled()
    return {name: share.of(of, share.config.validate_samples) for name, of in kinds.items()}


def _reason(stop: Stop, step: int) -> BaseException:
    """What a run ends with that was stopped after so many steps; it may have been another process's
    reason."""
    if isinstance(stop.reason, NoSample):
        where = f"after step {step}, which is saved," if step else "for the first step"
        return NoSample(f"{where} no sample came: {stop.reason}")
    return stop.reason or SystemExit(128 + signal.SIGTERM)


def _named(kind: str, config: Config) -> Mixture:
    """The mixture to train or to validate on that the configuration names."""
    if not (path := getattr(config, kind)):
        raise ValueError(
            f"no {kind} is given: name a TOML file of your data, --{kind} data.toml (the guide, "
            f"Scaling, shows one), or try the packaged --{kind} rooms"
        )
    return mixture.load(path, config.seed)


class Learner:
    """The network and what changes it."""

    def __init__(
        self, config: Config, net: torch.nn.Module, place: parallel.PartialState, tasks: list[str]
    ):
        self.config, self.place, self.tasks = config, place, tasks
        self.net = sharding.sharded(net, place.device, config.shard, config.precision)
        self.optimizers = optimizers(self.net, config)
        self.validated: dict[Share, list[Batch]] = {}
        self.peak = config.peak_tflops * 1e12 or flops.peak(place.device, config.precision)

    def step(self, step: int, feed: Feed) -> dict:
        """One change of the weights. Returns what there is to tell; raises sharding.Stopped before
        it is made."""
        began, waited = time.perf_counter(), feed.wait_s
        sums, size, weight = torch.zeros(len(self.tasks), 2), np.zeros(3), 0.0
        for batch, counts in sharding.evened(feed.step(), self.net, feed.stop.is_set):
            # Sums, not means: how much a step weighs is known with its last batch only.
            losses = self.gradients(batch, counts)
            sums += counts * self._by(batch, losses, self.tasks, batch.tasks)
            size += counts * self._size(batch)
            weight += counts * float(batch.weights.sum())
        told, rate = self._told(sums, self.tasks), learning_rate(step, self.config)
        norm = self._gathered(parallel.total([weight])[0])
        # A NaN would be in the weights with the next line, and in every checkpoint after it.
        if not (math.isfinite(told["loss"]) and math.isfinite(norm)):
            raise FloatingPointError(
                f"step {step + 1}: loss {told['loss']}, gradient norm {norm}. The last "
                "checkpoint stays; begin again with a lower lr, in another folder"
            )
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
            optimizer.zero_grad()
        speed = self._speed(size, time.perf_counter() - began, feed.wait_s - waited)
        return {"step": step + 1} | told | {"lr": rate, "grad_norm": norm} | speed

    def _gathered(self, weight: float) -> float:
        """Makes gradients those of the mean loss, clipped, and returns their norm before; weight:
        of all losses.

        Only now, since how much the losses of a step weigh is known with its last batch.
        """
        sharding.averaged(self.net)
        learned = [p.grad for p in self.net.parameters() if p.grad is not None]
        torch._foreach_mul_(learned, self.place.num_processes / weight)
        norm = torch.nn.utils.clip_grad_norm_(self.net.parameters(), self.config.clip)
        return sharding.whole(norm).item()

    def gradients(self, batch: Batch, counts: bool) -> torch.Tensor:
        """Adds those of the losses, which it returns, where the batch counts."""
        losses = self.losses(batch)
        (losses.sum() * counts).backward()
        return losses

    def losses(self, batch: Batch) -> torch.Tensor:
        """(R,) weighted cross-entropy of each supervised token."""
        batch = batch.to(self.place.device)
        with autocast(self.place.device, self.config.precision, self.config.base):
            logits = self.net(**batch.inputs(), use_cache=False).logits
        rows = batch.supervised
        losses = cross_entropy(logits.float(), batch.targets[rows], reduction="none")
        return losses * batch.weights[rows]

    @torch.no_grad()
    def validate(self, share: Share, stop: Stop) -> dict:
        """Mean loss of each source over one step's worth of samples; raises sharding.Stopped."""
        names, sums = share.samples.names, torch.zeros(len(share.samples.names), 2)
        made = self._made(share, stop)
        for batch, counts in sharding.evened(made, stopping=stop.is_set):
            sums += counts * self._by(batch, self.losses(batch), names, batch.sources)
        return self._told(sums, names)

    def _made(self, share: Share, stop: Stop) -> list[Batch]:
        """The batches of a validation, made once: they are the same every time."""
        if share not in self.validated:
            with Feed(share, range(1), 0, stop) as feed:
                self.validated[share] = list(feed.step())
        return self.validated[share]

    def _by(
        self, batch: Batch, losses: torch.Tensor, names: Sequence[str], of_samples: Sequence[str]
    ) -> torch.Tensor:
        """(names, 2): sums of losses and of weights, by what each sample is of."""
        rows = batch.supervised
        index = torch.tensor([names.index(name) for name in of_samples])[batch.samples[rows]]
        pairs = torch.stack([losses.detach().cpu(), batch.weights[rows]], -1)
        return torch.zeros(len(names), 2).index_add_(0, index, pairs)

    def _told(self, sums: torch.Tensor, names: Sequence[str]) -> dict:
        sums = torch.tensor(parallel.total(sums.flatten().tolist())).view(-1, 2)
        means = zip(names, (sums[:, 0] / sums[:, 1]).tolist(), sums[:, 1].tolist(), strict=True)
        seen = {name: mean for name, mean, weight in means if weight}
        return {"loss": (sums[:, 0].sum() / sums[:, 1].sum()).item(), "losses": seen}

    def _size(self, batch: Batch) -> np.ndarray:
        """Tokens, cells of the attention, operations."""
        cells = sum(part.numel() for part in (*batch.tree.stems, *batch.tree.twigs))
        return np.array([len(batch), cells, flops.step(self.net, batch)])

    def _speed(self, size: np.ndarray, seconds: float, wait_s: float) -> dict:
        """Of all processes together; padding is the share of the attention's cells that hold
        nothing."""
        tokens, cells, work = parallel.total(size.tolist())
        return {
            "seconds": seconds,
            "wait_s": wait_s,
            "samples_per_s": self.config.batch / seconds,
            "tokens_per_s": tokens / seconds,
            "mfu": work / seconds / self.peak / self.place.num_processes,
            "padding": 1 - tokens / cells,
        }


def learning_rate(step: int, config: Config) -> float:
    """Linear to the highest over the warm-up, then a cosine that would reach zero after the last
    step."""
    rising = max(1, round(config.warmup * config.steps))
    if step < rising:
        return config.lr * (step + 1) / rising
    return config.lr * (1 + math.cos(math.pi * (step - rising) / (config.steps - rising))) / 2


def start(config: Config) -> VLM:
    """The network that a run begins with, on the CPU, in float32; below adapters, in the type of
    its base."""
    whole = torch.float32 if config.base == "fp32" else torch.bfloat16
    name = adapters.base_of(config.model) if config.lora else config.model
    return model.named(name, dtype=whole, seed=config.seed)


def prepared(vlm: VLM, config: Config, device: torch.device | str | None = None) -> torch.nn.Module:
    """The network as it is trained: frozen in parts, in few bits, checkpointed, compiled, with
    adapters, as asked for; device: see `vlm3.qwen.quantised.hold`."""
    net = vlm.net.train()
    # The tower keeps torch's attention: an image is dense.
    attention.use(net)
    for part in config.freeze:
        net.get_submodule(PARTS[part]).requires_grad_(False)
    # Checkpointing without re-entry: the other kind breaks with frozen inputs.
    if config.checkpointing:
        every = {"every_n_layers": config.checkpointing}
        net.activation_checkpointing_enable({"use_reentrant": False}, **every)
    if config.compiled:
        compile_layers(net)
    if not config.lora:
        return net
    quantised.hold(net, config.base, device)
    return adapters.put(net, config.lora, config.seed, adapters.begun(config.model))


def _bases(config: Config) -> tuple[str, VLM]:
    """What adapters are trained on: its name, and the same with all of its bits."""
    name = adapters.base_of(config.model)
    return name, model.named(name, seed=config.seed)


@contextmanager
def _asked_to_stop() -> Iterator[Stop]:
    """Set once the process gets SIGTERM or Ctrl-C, whose second ends it at once; only where it may
    listen, which is in the main thread."""
    stop, main = Stop(), threading.current_thread() is threading.main_thread()

    def ask(number: int, _: object) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        stop.because(KeyboardInterrupt() if number == signal.SIGINT else SystemExit(128 + number))

    listened = (signal.SIGTERM, signal.SIGINT) if main else ()
    before = {number: signal.signal(number, ask) for number in listened}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
