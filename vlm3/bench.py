"""How fast a step of fine-tuning is on this machine, or many answers about one image, and what brought it there.

Weights and images may be random, since speed does not depend on them. Every rung of the ladder does the same work on
the same samples, but for one thing more than the rung before.
"""

import gc
import json
import platform
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import transformers
from torch.nn.functional import cross_entropy

import vlm3
from vlm3 import answer as answering
from vlm3 import attention, flops, model, packing, sft
from vlm3.config import Config
from vlm3.geometry import Camera
from vlm3.mixture import Mixture, Source
from vlm3.model import VLM
from vlm3.packing import Batch
from vlm3.views import Sample, View

PAIRS = "correspondence"
LONGEST = 5  # tokens of an answer: a depth of two decimals, and the end of its turn
WIDEST = 32  # beginnings that a distribution follows


@dataclass(frozen=True)
class Rung:
    """One way to make a step. Off: convolved patches, logits of every token, a masked square of attention, one
    question per sample, plain torch."""

    name: str
    packed: bool = True
    linear: bool = True
    rows: bool = True
    tree: bool = True
    checkpointing: int = 0
    compiled: bool = False


def ladder(gpu: bool) -> list[Rung]:
    """From what a first attempt would do to what `sft` does; compiled and with less checkpointing on a GPU."""
    first = Rung("a question per sample", packed=False, linear=False, rows=False, tree=False, checkpointing=int(gpu))
    rungs = [first]
    for name, change in (("ten questions packed", {"packed": True}), ("linear patches", {"linear": True}),
                         ("supervised rows only", {"rows": True}), ("tree attention", {"tree": True})):  # fmt: skip
        rungs.append(replace(rungs[-1], name=name, **change))
    if gpu:
        for name, change in (("compiled layers", {"compiled": True}),
                             ("every second layer checkpointed", {"checkpointing": 2}),
                             ("no checkpointing", {"checkpointing": 0})):  # fmt: skip
            rungs.append(replace(rungs[-1], name=name, **change))
    return rungs


def train(config: Config, task: str, size: tuple[int, int], questions: int, steps: int, device: str) -> Iterator[dict]:
    """Measures of each rung: per step seconds, by part; samples/s, tokens/s, MFU, and peak memory on a GPU.

    A sample is an image (or a pair) with all its questions, also where the rung asks them one by one.
    """
    peak = flops.peak(model.usable(device), config.precision)
    mixture = _mixture(task, size, questions)
    useful = None
    for rung in ladder(device.startswith("cuda")):
        vlm = None
        gc.collect()  # the network of the rung before
        try:
            vlm = _placed(config, device)
            batches, data_s = _timed(lambda rung=rung, vlm=vlm: _batches(mixture, rung, config, vlm.tokenizer))
            useful = useful or _work(mixture, config, vlm)
            found = _measured(vlm, batches, rung, config, steps)
        except torch.OutOfMemoryError:
            yield {"rung": rung.name, "out_of_memory": True}
            continue
        step_s = found["forward_s"] + found["backward_s"] + found["optimizer_s"]
        tokens = sum(map(len, batches))
        yield {
            "rung": rung.name,
            "step_s": step_s,
            **found,
            "data_s": data_s,
            "samples_per_s": config.batch / step_s,
            "tokens_per_s": tokens / step_s,
            "tokens": tokens,
            "mfu": useful / step_s / peak,
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


def _batches(mixture: Mixture, rung: Rung, config: Config, tokenizer) -> list[Batch]:
    samples = [mixture[i] for i in range(config.batch)]
    if not rung.packed:
        samples = [replace(s, qas=(qa,)) for s in samples for qa in s.qas]
    return packing.batches([packing.pack(s, tokenizer) for s in samples], config.tokens)


def _work(mixture: Mixture, config: Config, vlm) -> float:
    """Operations that the samples ask for when packed, so that doing more than needed does not count as use."""
    return sum(flops.step(vlm.net, b) for b in _batches(mixture, Rung(""), config, vlm.tokenizer))


def _placed(config: Config, device: str) -> VLM:
    """The network that a run begins with; random weights are made where they are needed."""
    with model.usable(device):
        vlm = sft.start(config)
    return replace(vlm, net=vlm.net.to(device))


def _measured(vlm: VLM, batches: list[Batch], rung: Rung, config: Config, steps: int) -> dict:
    net = _prepared(vlm, rung, config)
    optimizer = torch.optim.AdamW(net.parameters(), config.lr, fused=True)
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
            torch.nn.utils.clip_grad_norm_(net.parameters(), config.clip)
            optimizer.step()
            optimizer.zero_grad()
        for name, seconds in taken.items():
            parts[name].append(seconds)
    found = {name: float(np.median(seconds[1:])) for name, seconds in parts.items()}
    memory = torch.cuda.max_memory_allocated() / 1e9 if net.device.type == "cuda" else None
    return found | {"memory_gb": memory}


def _prepared(vlm: VLM, rung: Rung, config: Config) -> torch.nn.Module:
    net = sft.prepared(vlm, replace(config, checkpointing=rung.checkpointing, compiled=rung.compiled))
    attention.use(net, rung.tree)
    if not rung.linear:
        net.model.visual.patch_embed.proj.__class__ = torch.nn.Conv3d
    return net


def _loss(net: torch.nn.Module, batch: Batch, rung: Rung, config: Config) -> torch.Tensor:
    inputs, rows = batch.inputs(masked=not rung.tree), batch.supervised
    if not rung.rows:
        inputs["logits_to_keep"] = torch.ones_like(inputs["logits_to_keep"])
    with sft.autocast(net.device, config.precision):
        logits = net(**inputs, use_cache=False).logits
    logits = logits if rung.rows else logits[rows]
    return (cross_entropy(logits.float(), batch.targets[rows], reduction="none") * batch.weights[rows]).mean()


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


def answer(name: str, size: tuple[int, int], questions: int, repeats: int, device: str) -> Iterator[dict]:
    """Measures of three ways to have depth questions about one image answered, the first as the released notebook does.

    Seconds (the median of `repeats`), questions per second, how many times those of the first way, the share of
    questions for which the first way's text is among the answers, tokens of the image and of a question, and peak
    memory on a GPU. Answers are cut off after LONGEST tokens, since random weights never end one.
    """
    vlm, sample = _answering(name, device), _mixture("depth", size, questions)[0]
    sizes = _sizes(vlm, sample)
    first_s, texts = 0.0, []
    for name, way in _ways(vlm).items():
        way(replace(sample, qas=sample.qas[:2]))  # warms up
        if device.startswith("cuda"):
            torch.cuda.reset_peak_memory_stats()
        timed = [_timed(lambda way=way: _done(way(sample), vlm.device)) for _ in range(repeats)]
        found, seconds = timed[0][0], float(np.median([seconds for _, seconds in timed]))
        first_s, texts = first_s or seconds, texts or [among[0] for among in found]
        yield {
            "rung": name,
            "seconds": seconds,
            "questions_per_s": questions / seconds,
            "times_faster": first_s / seconds,
            "same_texts": float(np.mean([text in among for text, among in zip(texts, found, strict=True)])),
            **sizes,
            "memory_gb": torch.cuda.max_memory_allocated() / 1e9 if device.startswith("cuda") else None,
        }


def _answering(name: str, device: str) -> VLM:
    """float32 on a CPU, bfloat16 elsewhere."""
    vlm = _placed(Config(model=name), device)
    if not device.startswith("cpu"):
        for weight in vlm.net.parameters():  # net.to(dtype) would round the rotary frequencies, too
            weight.data = weight.data.to(torch.bfloat16)
    vlm.net.eval()
    return vlm


def _sizes(vlm: VLM, sample: Sample) -> dict[str, float]:
    ids = packing.ask(sample, vlm.tokenizer).ids
    alone = [packing.ask(replace(sample, qas=(qa,)), vlm.tokenizer).ids for qa in sample.qas]
    image = int((ids == vlm.image_pad).sum())
    return {"image_tokens": image, "question_tokens": float(np.mean([len(each) - image for each in alone]))}


def _ways(vlm: VLM) -> dict[str, Callable[[Sample], list[list[str]]]]:
    """From a sample to the texts of the answers to each of its questions."""

    def together(sample: Sample, widest: int) -> list[list[str]]:
        found = answering.likely(vlm, [sample], widest, LONGEST, least=0)  # the dearest case, whatever the weights are
        return [[a.text for a in answers] for answers in found[0]]

    return {
        "generate, question by question": lambda sample: [[_generated(vlm, sample, qa.question)] for qa in sample.qas],
        "answer, all at once": lambda sample: together(sample, 1),
        f"distributions of {WIDEST}, all at once": lambda sample: together(sample, WIDEST),
    }


def _generated(vlm: VLM, sample: Sample, question: str) -> str:
    """transformers' own way: image and question are read, positions are found, tokens are added one by one."""
    inputs = packing.inputs(vlm, [view.image for view in sample.views], question)
    del inputs["position_ids"]
    inputs |= {"attention_mask": torch.ones_like(inputs["input_ids"]),
               "mm_token_type_ids": (inputs["input_ids"] == vlm.image_pad).int()}  # fmt: skip
    (tokens,) = vlm.net.generate(**inputs, max_new_tokens=LONGEST)[:, inputs["input_ids"].shape[1] :].tolist()
    return vlm.tokenizer.decode([token for token in tokens if token != vlm.tokenizer.eos_token_id])


def _done(found: list, device: torch.device) -> list:
    if device.type == "cuda":
        torch.cuda.synchronize()
    return found


def provenance(command: str, seed: int, wall_time_s: float, device: str | None = None) -> dict:
    """What a recorded result says about its making; device: cpu or cuda, the GPU where there is one without it."""
    gpu = device.startswith("cuda") if device else torch.cuda.is_available()
    n = torch.get_num_threads()
    cores = f"{n} CPU core{'s' * (n > 1)}, {platform.machine()}"
    return {
        "command": command,
        "commit": _commit(),
        "date": time.strftime("%Y-%m-%d"),
        "device": torch.cuda.get_device_name() if gpu else cores,
        "versions": {"vlm3": vlm3.__version__, "torch": torch.__version__, "transformers": transformers.__version__,
                     "numpy": np.__version__, "python": platform.python_version()},
        "seed": seed,
        "wall_time_s": round(wall_time_s, 1),
    }  # fmt: skip


def _commit() -> str:
    """Of the code that runs; empty where there is no git, or the repository around this file does not hold it."""
    place = ["git", "-C", str(Path(__file__).parent)]
    try:
        subprocess.run([*place, "ls-files", "--error-unmatch", Path(__file__).name], capture_output=True, check=True)
        asked = subprocess.run([*place, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return asked.stdout.strip()


def write(path: Path, what: str, found: dict, results: object) -> None:
    """A recorded result: what, provenance, results."""
    draft = path.with_name(f".{path.name}.draft")
    draft.write_text(json.dumps({"what": what, **found, "results": results}, indent=1) + "\n")
    draft.replace(path)
