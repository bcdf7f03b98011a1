"""Many questions about one image, or about two: the images are read once, and all questions are answered together.

What the network makes of the images and of every question is kept in one cache, without copies. Each further step adds
one token to each answer that is not finished, and a token sees its images, its question and its own answer so far: the
texts are those of asking one question at a time. Positions are passed at every call, so nothing that the network
remembers of an earlier image can leak into a later one.

Letters in shapes: T tokens so far, K answers in the making.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from transformers import DynamicCache

from vlm3 import attention, packing
from vlm3.model import VLM
from vlm3.packing import SHARED, Batch
from vlm3.views import QA, Sample, View

LONGEST = 64  # tokens of an answer


class Answer(NamedTuple):
    """What the model says, and the logarithm of the probability of each of its tokens, the end of the turn included."""

    text: str
    logprobs: tuple[float, ...]


def answer(vlm: VLM, views: Sequence[View], questions: Sequence[str], longest: int = LONGEST) -> list[Answer]:
    """Greedy answers to all questions about one view or several, each as if it were asked alone.

    longest: tokens after which an answer is cut off. ValueError for views that the model cannot read, see
    `vlm3.model.patches`, and for questions with control tokens.
    """
    qas = tuple(QA(question, "", None) for question in questions)
    return answer_all(vlm, [Sample(tuple(views), qas, "", "")], longest)[0]


@torch.no_grad()
def answer_all(vlm: VLM, samples: Sequence[Sample], longest: int = LONGEST) -> list[list[Answer]]:
    """Greedy answers to the questions of all samples, which go through the network side by side."""
    asked = [sample for sample in samples if sample.qas]
    if not asked:
        return [[] for _ in samples]
    batch = packing.collate([packing.ask(sample, vlm.tokenizer) for sample in asked]).to(vlm.device)
    with attention.using(vlm.net):
        found = iter(_decoded(vlm, batch, longest))
    return [[next(found) for _ in sample.qas] for sample in samples]


def _decoded(vlm: VLM, batch: Batch, longest: int) -> list[Answer]:
    cache = DynamicCache(config=vlm.net.config.text_config)
    ends = torch.diff(batch.samples * len(batch) + batch.branches, append=batch.ids.new_tensor([-1])) != 0
    last = (ends & (batch.branches != SHARED)).nonzero()[:, 0]  # (K,), where each question ends
    logits = _read(vlm, batch, last, cache)
    place, seen = batch.positions[:, last], torch.stack([batch.samples, batch.branches])
    growing, said = torch.arange(len(last), device=vlm.device), [[] for _ in last]
    for _ in range(longest):
        scores, tokens = logits.float().log_softmax(-1).max(-1)
        for k, pair in zip(growing.tolist(), zip(tokens.tolist(), scores.tolist(), strict=True), strict=True):
            said[k].append(pair)
        going = tokens != vlm.tokenizer.eos_token_id
        growing, tokens = growing[going], tokens[going]
        if not len(growing):
            break
        place = place[:, going] + 1
        seen = torch.cat([seen, seen[:, last[growing]]], 1)
        logits = _continue(vlm, tokens, place, _sees(seen, len(growing)), cache)
    return [_answer(vlm, pairs) for pairs in said]


def _read(vlm: VLM, batch: Batch, last: torch.Tensor, cache: DynamicCache) -> torch.Tensor:
    """(K, V), what may follow each question."""
    rows = torch.zeros_like(batch.ids, dtype=torch.bool).index_fill(0, last, True)
    inputs = batch.inputs() | {"logits_to_keep": rows[None]}
    return vlm.net(**inputs, past_key_values=cache, use_cache=True).logits


def _sees(seen: torch.Tensor, new: int) -> torch.Tensor:
    """(K, T): which tokens the newest ones see; seen: (2, T), sample and branch of each."""
    samples, branches = seen
    own = (branches == SHARED) | (branches == branches[-new:, None])
    return own & (samples == samples[-new:, None])


def _continue(vlm: VLM, tokens: torch.Tensor, place: torch.Tensor, sees: torch.Tensor, cache) -> torch.Tensor:
    """(K, V), what may follow one further token of each answer."""
    return vlm.net(input_ids=tokens[None], position_ids=place[:, None], attention_mask=sees[None, None],
                   past_key_values=cache, use_cache=True).logits[0]  # fmt: skip


def _answer(vlm: VLM, pairs: list[tuple[int, float]]) -> Answer:
    tokens, logprobs = zip(*pairs, strict=True)
    tokens = tokens[:-1] if tokens[-1] == vlm.tokenizer.eos_token_id else tokens
    return Answer(vlm.tokenizer.decode(tokens), logprobs)
