"""How fast many questions about one image are answered, in three ways.

Weights and images may be random, since speed does not depend on them.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import torch

from vlm3.mixture import Source
from vlm3.qwen import batching, decode, model, network, packing
from vlm3.qwen.model import VLM
from vlm3.sources.noise import noise
from vlm3.views import Sample

LONGEST = 5  # tokens of an answer: a depth of two decimals, and the end of its turn
WIDEST = 32  # beginnings that a distribution follows


def measured(
    name: str,
    size: tuple[int, int],
    questions: int,
    repeats: int,
    device: str,
    limit_s: float = math.inf,
    dtype: torch.dtype | None = None,
) -> Iterator[dict]:
    """Three ways to have depth questions about one image answered, from the released notebook's on.

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
    vlm, source = _answering(name, device, dtype), Source([noise(size, 1)], "depth", questions)
    sample = source.sample(0, "noise", np.random.default_rng([0, 0]))
    sizes = _sizes(vlm, sample) | {"dtype": str(dtype).removeprefix("torch.")}
    rates, texts, few = [], [], replace(sample, qas=sample.qas[:2])
    for rung, way in _ways(vlm).items():
        _, each_s = [_timed(lambda way=way: way(few))[1] for _ in range(2)]  # the first warms up
        asked = sample if texts else _limited(sample, len(few.qas) * limit_s / repeats / each_s)
        if device.startswith("cuda"):
            torch.cuda.reset_peak_memory_stats()
        found, seconds = _repeated(lambda way=way, a=asked: _done(way(a), vlm.device), repeats)
        rates, texts = [*rates, len(found) / seconds], texts or [among[0] for among in found]
        same = [text in among for text, among in zip(texts, found, strict=False)]
        told = {"rung": rung, "questions": len(found), "seconds": seconds}
        told |= {"questions_per_s": rates[-1], "times_faster": rates[-1] / rates[0]}
        told |= {"same_texts": float(np.mean(same)), **sizes}
        yield told | {"memory_gb": _memory_gb(device)}


def _repeated(call: Callable[[], list], times: int) -> tuple[list, float]:
    """What a call gives, and the median of its seconds."""
    timed = [_timed(call) for _ in range(times)]
    return timed[0][0], float(np.median([seconds for _, seconds in timed]))


def _limited(sample: Sample, questions: float) -> Sample:
    """With no more questions, but for two."""
    return replace(sample, qas=sample.qas[: int(min(max(questions, 2), len(sample.qas)))])


def _answering(name: str, device: str, dtype: torch.dtype) -> VLM:
    with network.usable(device):  # random weights are made where they are needed
        vlm = model.named(name, device)
    vlm = replace(vlm, net=vlm.net.to(device))
    network.cast(vlm.net, dtype)
    vlm.net.eval()
    return vlm


def _sizes(vlm: VLM, sample: Sample) -> dict[str, float]:
    def ids_of(asked: Sample) -> np.ndarray:
        return packing.pack_questions(asked, vlm.tokenizer, vlm.merge).ids

    ids, alone = ids_of(sample), [ids_of(replace(sample, qas=(qa,))) for qa in sample.qas]
    image = int((ids == vlm.image_pad).sum())
    return {
        "image_tokens": image,
        "question_tokens": float(np.mean([len(each) - image for each in alone])),
    }


def _ways(vlm: VLM) -> dict[str, Callable[[Sample], list[list[str]]]]:
    """From a sample to the texts of the answers to each of its questions."""

    def together(sample: Sample, widest: int) -> list[list[str]]:
        # Following all is the dearest case, whatever the weights are.
        found = decode.likely(vlm, [sample], widest, LONGEST, least=0)
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
    inputs = batching.inputs(vlm, [view.image for view in sample.views], question)
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


def _timed(call: Callable[[], list]) -> tuple[list, float]:
    began = time.perf_counter()
    return call(), time.perf_counter() - began


def _memory_gb(device: str) -> float | None:
    return torch.cuda.max_memory_allocated() / 1e9 if device.startswith("cuda") else None
