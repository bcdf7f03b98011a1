"""How fast a step of fine-tuning is on this machine, or many answers about one image, and what
brought it there.

Weights and images may be random, since speed does not depend on them. Every rung of the ladder does
the same work on the same samples, but for one thing more than the rung before; in the ablation, but
for one thing less.
"""

import gc
import json
import math
import platform
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import transformers
from torch.nn.functional import cross_entropy

import vlm3
from vlm3.geometry import Camera
from vlm3.mixture import Mixture, Source
from vlm3.qwen import attention, flops, model, packing
from vlm3.qwen import decode as answering
from vlm3.qwen.model import VLM
from vlm3.qwen.packing import Batch
from vlm3.training import head, sft
from vlm3.training.config import Config
from vlm3.views import Sample, View

PAIRS = "correspondence"
LONGEST = 5  # tokens of an answer: a depth of two decimals, and the end of its turn
WIDEST = 32  # beginnings that a distribution follows


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


def network(config: Config, device: str, share: int = 1) -> VLM:
    """The network that a run begins with; random weights are made where they are needed.

    share: of so many GPUs that hold it together. Then weights are bfloat16, as they arrive from the
    others, and gradients go as soon as they are made, as they leave for the others; `train` has
    more of what one of them does.
    """
    with model.usable(device):
        vlm = sft.start(config)
    vlm = replace(vlm, net=vlm.net.to(device))
    for weight in vlm.net.parameters() if share > 1 else ():
        if config.precision == "bf16":  # net.to(dtype) would round the rotary frequencies, too
            weight.data = weight.data.to(torch.bfloat16)
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
    """Measures of each rung (by default the ladder): per step seconds, by part; samples/s,
    tokens/s, MFU, and peak memory on a GPU.

    A sample is an image (or a pair) with all its questions, also where the rung asks them one by
    one.
    share: measured is one of so many GPUs that hold the network together, with the `network` made
    for it. It computes all of a step, and keeps and changes its share of the float32 weights; what
    GPUs send each other is left out. A rung without the memory that it needs says out_of_memory,
    one that breaks, why it failed.
    """
    peak = config.peak_tflops * 1e12 or flops.peak(vlm.device, config.precision)
    mixture = _mixture(task, size, questions)
    packed = _batches(mixture, True, config, vlm.tokenizer)
    useful = sum(
        flops.step(vlm.net, b) for b in packed
    )  # so that doing more than needed does not count as use
    for rung in rungs or ladder(vlm.device.type == "cuda"):
        told = {"rung": rung.name} | ({"share": share} if share > 1 else {})
        try:
            batches, data_s = _timed(
                lambda rung=rung: _batches(mixture, rung.packed, config, vlm.tokenizer)
            )
            found = _measured(vlm, batches, rung, config, steps, share)
        except torch.OutOfMemoryError:
            yield told | {"out_of_memory": True}
        except (
            RuntimeError
        ) as error:  # a compiler's errors are many lines, the first of which says what
            yield told | {"failed": f"{type(error).__name__}: {error}".splitlines()[0]}
        else:
            step_s = found["forward_s"] + found["backward_s"] + found["optimizer_s"]
            tokens = sum(map(len, batches))
            yield told | {
                "step_s": step_s,
                **found,
                "data_s": data_s,
                "samples_per_s": config.batch / step_s,
                "tokens_per_s": tokens / step_s,
                "tokens": tokens,
                "batches": len(batches),
                "mfu": useful / step_s / peak,
            }
        vlm.net.zero_grad()
        _collected()


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
    vlm = network(config, device)
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
    """Noise in the place of photographs, with labels that any task can ask about."""
    rng, (width, height) = np.random.default_rng(0), size
    camera = Camera(1000.0, 1000.0, width / 2, height / 2, width, height)
    depth_m = np.full((height, width), 3.0, np.float32)
    images = rng.integers(0, 256, (2, height, width, 3), np.uint8)
    views = tuple(View(image, camera, depth_m, np.eye(4)) for image in images)
    items = [views if task == PAIRS else views[:1]]
    return Mixture({"noise": Source(items, task, questions, focal_px=1000.0)})


def _batches(mixture: Mixture, packed: bool, config: Config, tokenizer) -> list[Batch]:
    """As many samples at once as the budget of tokens allows."""
    samples = [mixture[i] for i in range(config.batch)]
    if not packed:
        samples = [replace(s, qas=(qa,)) for s in samples for qa in s.qas]
    packs = [packing.pack(s, tokenizer) for s in samples]
    some = max(1, config.tokens // max(map(len, packs)))
    return [packing.collate(packs[k : k + some]) for k in range(0, len(packs), some)]


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
    for layer in vlm.net.model.language_model.layers:
        layer._compiled_call_impl = None
    net = sft.prepared(
        vlm, replace(config, checkpointing=rung.checkpointing, compiled=rung.compiled)
    )
    attention.use(net, rung.tree)
    net.model.visual.patch_embed.proj.__class__ = (
        model.LinearPatches if rung.linear else torch.nn.Conv3d
    )
    return net


def _loss(net: torch.nn.Module, batch: Batch, rung: Rung, config: Config) -> torch.Tensor:
    inputs, rows = batch.inputs(masked=not rung.tree), batch.supervised
    targets = batch.targets[rows]
    with sft.autocast(net.device, config.precision):
        if rung.fused:
            del inputs["logits_to_keep"]
            hidden = net.model(**inputs, use_cache=False).last_hidden_state[0, rows]
            losses = head.losses(hidden, net.lm_head.weight, targets)
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


def _timed(call: Callable[[], list]) -> tuple[list, float]:
    began = time.perf_counter()
    return call(), time.perf_counter() - began


def answer(
    name: str,
    size: tuple[int, int],
    questions: int,
    repeats: int,
    device: str,
    limit_s: float = math.inf,
    dtype: torch.dtype | None = None,
) -> Iterator[dict]:
    """Measures of three ways to have depth questions about one image answered, the first as the
    released notebook does.

    Seconds (the median of `repeats`), questions per second, how many times those of the first way,
    the share of questions for which the first way's text is among the answers, tokens of the image
    and of a question, and peak memory on a GPU. Answers are cut off after LONGEST tokens, since
    random weights never end one.
    limit_s: the first way is asked no more questions than it should answer in so many seconds;
    texts of these are compared. dtype: of the weights, by default float32 on a CPU and bfloat16
    elsewhere, where rounding depends on what is computed together, so that near ties may be decided
    otherwise.
    """
    dtype = dtype or (torch.float32 if device.startswith("cpu") else torch.bfloat16)
    vlm, sample = _answering(name, device, dtype), _mixture("depth", size, questions)[0]
    sizes = _sizes(vlm, sample) | {"dtype": str(dtype).removeprefix("torch.")}
    rates, texts, few = [], [], replace(sample, qas=sample.qas[:2])
    for rung, way in _ways(vlm).items():
        each_s = [_timed(lambda way=way: way(few))[1] for _ in range(2)][1] / len(
            few.qas
        )  # the first one warms up
        asked = sample if texts else _limited(sample, limit_s / repeats / each_s)
        if device.startswith("cuda"):
            torch.cuda.reset_peak_memory_stats()
        timed = [
            _timed(lambda way=way, asked=asked: _done(way(asked), vlm.device))
            for _ in range(repeats)
        ]
        found, seconds = timed[0][0], float(np.median([seconds for _, seconds in timed]))
        rates, texts = [*rates, len(found) / seconds], texts or [among[0] for among in found]
        yield {
            "rung": rung,
            "questions": len(found),
            "seconds": seconds,
            "questions_per_s": rates[-1],
            "times_faster": rates[-1] / rates[0],
            "same_texts": float(
                np.mean([text in among for text, among in zip(texts, found, strict=False)])
            ),
            **sizes,
            "memory_gb": torch.cuda.max_memory_allocated() / 1e9
            if device.startswith("cuda")
            else None,
        }


def _limited(sample: Sample, questions: float) -> Sample:
    """With no more questions, but for two."""
    return replace(sample, qas=sample.qas[: int(min(max(questions, 2), len(sample.qas)))])


def _answering(name: str, device: str, dtype: torch.dtype) -> VLM:
    vlm = network(Config(model=name), device)
    for weight in vlm.net.parameters():  # net.to(dtype) would round the rotary frequencies, too
        weight.data = weight.data.to(dtype)
    vlm.net.eval()
    return vlm


def _sizes(vlm: VLM, sample: Sample) -> dict[str, float]:
    ids = packing.ask(sample, vlm.tokenizer).ids
    alone = [packing.ask(replace(sample, qas=(qa,)), vlm.tokenizer).ids for qa in sample.qas]
    image = int((ids == vlm.image_pad).sum())
    return {
        "image_tokens": image,
        "question_tokens": float(np.mean([len(each) - image for each in alone])),
    }


def _ways(vlm: VLM) -> dict[str, Callable[[Sample], list[list[str]]]]:
    """From a sample to the texts of the answers to each of its questions."""

    def together(sample: Sample, widest: int) -> list[list[str]]:
        found = answering.likely(
            vlm, [sample], widest, LONGEST, least=0
        )  # the dearest case, whatever the weights are
        return [[a.text for a in answers] for answers in found[0]]

    return {
        "generate, question by question": lambda sample: [
            [_generated(vlm, sample, qa.question)] for qa in sample.qas
        ],
        "answer, all at once": lambda sample: together(sample, 1),
        f"distributions of {WIDEST}, all at once": lambda sample: together(sample, WIDEST),
    }


def _generated(vlm: VLM, sample: Sample, question: str) -> str:
    """transformers' own way: image and question are read, positions are found, tokens are added one
    by one."""
    inputs = packing.inputs(vlm, [view.image for view in sample.views], question)
    del inputs["position_ids"]
    inputs |= {
        "attention_mask": torch.ones_like(inputs["input_ids"]),
        "mm_token_type_ids": (inputs["input_ids"] == vlm.image_pad).int(),
    }
    (tokens,) = vlm.net.generate(**inputs, max_new_tokens=LONGEST)[
        :, inputs["input_ids"].shape[1] :
    ].tolist()
    return vlm.tokenizer.decode([token for token in tokens if token != vlm.tokenizer.eos_token_id])


def _done(found: list, device: torch.device) -> list:
    if device.type == "cuda":
        torch.cuda.synchronize()
    return found


def provenance(command: str, seed: int, wall_time_s: float, device: str | None = None) -> dict:
    """What a recorded result says about its making; device: cpu or cuda, the GPU where there is one
    without it."""
    gpu = device.startswith("cuda") if device else torch.cuda.is_available()
    n = torch.get_num_threads()
    cores = f"{n} CPU core{'s' * (n > 1)}, {platform.machine()}"
    return {
        "command": command,
        "commit": _commit(),
        "date": time.strftime("%Y-%m-%d"),
        "device": torch.cuda.get_device_name() if gpu else cores,
        "versions": {
            "vlm3": vlm3.__version__,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
        "seed": seed,
        "wall_time_s": round(wall_time_s, 1),
    }


def _commit() -> str:
    """Of the code that runs; empty where there is no git, or the repository around this file does
    not hold it."""
    place = ["git", "-C", str(Path(__file__).parent)]
    try:
        subprocess.run(
            [*place, "ls-files", "--error-unmatch", Path(__file__).name],
            capture_output=True,
            check=True,
        )
        asked = subprocess.run(
            [*place, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return asked.stdout.strip()


def write(path: Path, what: str, found: dict, results: object) -> None:
    """A recorded result: what, provenance, results."""
    draft = path.with_name(f".{path.name}.draft")
    draft.write_text(json.dumps({"what": what, **found, "results": results}, indent=1) + "\n")
    draft.replace(path)
