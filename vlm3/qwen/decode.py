"""Many questions about one image, or about two: the images are read once, and all questions are
answered together.

What the network makes of the images and of every question is kept in one cache, without copies.
Each further step adds one token to each answer that is not finished, and a token sees its images,
its question and its own answer so far: the texts are those of asking one question at a time.
Positions are passed at every call, so nothing that the network remembers of an earlier image can
leak into a later one.

An answer can branch: `likely` follows the most probable ways to go on instead of the first alone,
and so gives numbers as distributions (`vlm3.scoring.spread`).

Letters in shapes: T tokens so far, K questions, N answers in the making, V words.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from transformers import DynamicCache

from vlm3.qwen import attention, packing
from vlm3.qwen.batching import Batch, collate
from vlm3.qwen.lessons import LONGEST
from vlm3.qwen.model import VLM
from vlm3.qwen.packing import SHARED
from vlm3.views import QA, Answer, Sample, View

AT_ONCE = 256  # answers of LONGEST tokens that grow side by side: their mask is a square of these
LEAST = 1e-3  # answers less probable than this are not followed


class _Limits(NamedTuple):
    """How many ways to go on are kept for each question, tokens after which an answer is cut off,
    and the probability that an answer needs to be followed."""

    widest: int
    longest: int
    least: float


def answer(
    vlm: VLM,
    views: View | Sequence[View],
    questions: Sequence[str | QA],
    longest: int = LONGEST,
) -> list[Answer]:
    """Greedy answers to all questions about one view or several, each as if it were asked alone.

    longest: tokens after which an answer is cut off. ValueError for views that the model cannot
    read, see `vlm3.qwen.patches.grid`, and for questions with control tokens.
    """
    views = (views,) if isinstance(views, View) else tuple(views)
    qas = tuple(asked if isinstance(asked, QA) else QA("", (), asked) for asked in questions)
    return greedy(vlm, [Sample(views, qas, "", "")], longest)[0]


def greedy(vlm: VLM, samples: Sequence[Sample], longest: int = LONGEST) -> list[list[Answer]]:
    """Greedy answers to the questions of all samples, which go through the network side by side."""
    return [[found[0] for found in each] for each in likely(vlm, samples, 1, longest)]


@torch.no_grad()
def likely(
    vlm: VLM,
    samples: Sequence[Sample],
    widest: int = 32,
    longest: int = LONGEST,
    least: float = LEAST,
) -> list[list[list[Answer]]]:
    """Of each question of each sample the most probable answers, best first; with widest=1, the
    greedy one.

    After each token the `widest` most probable beginnings of a question go on (beam search that
    keeps all that it finishes), leaving out what is less probable than `least`. ValueError for a
    `widest` below 1.
    """
    if widest < 1 or longest < 1:
        raise ValueError(f"widest and longest must be 1 or more, got {widest} and {longest}")
    asked = [sample for sample in samples if sample.qas]
    if not asked:
        return [[] for _ in samples]
    packs = [packing.pack_questions(sample, vlm.tokenizer, vlm.merge) for sample in asked]
    with attention.using(vlm.net):
        found = _decoded(vlm, collate(packs).to(vlm.device), _Limits(widest, longest, least))
    answers = (_texts(vlm, each) for each in found)
    return [[next(answers) for _ in sample.qas] for sample in samples]


def _texts(vlm: VLM, found: list[tuple[list[int], list[float]]]) -> list[Answer]:
    end, answers = vlm.tokenizer.eos_token_id, []
    for tokens, logprobs in found:
        text = vlm.tokenizer.decode(tokens[:-1] if tokens[-1] == end else tokens)
        answers.append(Answer(text, tuple(logprobs)))
    return answers


@dataclass
class _Growing:
    """N answers in the making: whose they are, what they say, and what their next token sees."""

    questions: torch.Tensor  # (N,)
    tokens: torch.Tensor  # (N, said so far)
    logprobs: torch.Tensor  # (N, said so far)
    places: torch.Tensor  # (3, N), of the last token
    sees: torch.Tensor  # (N, T) bool

    def __len__(self) -> int:
        return len(self.questions)

    def kept(self, rows: torch.Tensor) -> "_Growing":
        fields = {name: value[rows] for name, value in vars(self).items() if name != "places"}
        return replace(self, **fields, places=self.places[:, rows])

    def on(self, tokens: torch.Tensor, logprobs: torch.Tensor) -> "_Growing":
        """Each with one token more, before it is read."""
        return replace(
            self,
            tokens=torch.cat([self.tokens, tokens[:, None]], 1),
            places=self.places + 1,
            logprobs=torch.cat([self.logprobs, logprobs[:, None]], 1),
        )


def _decoded(vlm: VLM, batch: Batch, limits: _Limits) -> list[list[tuple[list[int], list[float]]]]:
    """(tokens, logprobs) of the answers of each question, best first: all read together, then some
    at a time."""
    cache = DynamicCache(config=vlm.net.config.text_config)
    growing, last = _asked(batch)
    logits, found = _first(vlm, batch, last, cache), []
    # Reading is cheap for all questions at once; growing is not, since each step masks a square.
    many = AT_ONCE * LONGEST // max(limits.longest, LONGEST) // limits.widest
    numbers, some = torch.arange(len(last), device=last.device), max(1, many)
    for chosen in numbers.split(some):
        part = growing.kept(chosen)
        columns = part.sees.any(0).nonzero()[:, 0]
        part = replace(part, questions=part.questions - chosen[0], sees=part.sees[:, columns])
        found += _grown(vlm, part, logits[chosen], _columns(vlm, cache, columns), limits)
    return found


def _columns(vlm: VLM, cache: DynamicCache, columns: torch.Tensor) -> DynamicCache:
    """A copy of some tokens of a cache, since attention works on all that it is given."""
    part = DynamicCache(config=vlm.net.config.text_config)
    for number, layer in enumerate(cache.layers):
        part.update(layer.keys[:, :, columns], layer.values[:, :, columns], number)
    return part


def _grown(
    vlm: VLM, growing: _Growing, logits: torch.Tensor, cache: DynamicCache, limits: _Limits
) -> list:
    found: list[list] = [[] for _ in range(len(growing))]
    for turn in range(limits.longest):
        settled = torch.tensor([bool(answers) for answers in found], device=logits.device)
        growing = _widened(growing, logits, limits, settled)
        # An answer that never ends is cut off, so that one bad question cannot hold up the rest.
        over = (growing.tokens[:, -1] == vlm.tokenizer.eos_token_id) | (turn == limits.longest - 1)
        _collect(found, growing.kept(over))
        growing = growing.kept(~over)
        if not len(growing):
            break
        logits, growing = _next(vlm, growing, cache)
    return [sorted(answers, key=lambda pair: -sum(pair[1])) for answers in found]


def _asked(batch: Batch) -> tuple[_Growing, torch.Tensor]:
    """Answers that say nothing yet, and (K,) where each question ends."""
    # A branch ends where sample or branch changes in the row.
    ends = (
        torch.diff(batch.samples * len(batch) + batch.branches, append=batch.ids.new_tensor([-1]))
        != 0
    )
    last = (ends & (batch.branches != SHARED)).nonzero()[:, 0]
    sees = (batch.branches == SHARED) | (batch.branches == batch.branches[last, None])
    sees &= batch.samples == batch.samples[last, None]
    numbers, nothing = torch.arange(len(last), device=last.device), last.new_empty((len(last), 0))
    return _Growing(numbers, nothing, nothing.float(), batch.positions[:, last], sees), last


def _widened(
    growing: _Growing, logits: torch.Tensor, limits: _Limits, settled: torch.Tensor
) -> _Growing:
    """The most probable ways to go on; logits: (N, V).

    settled: (K,) bool, questions that have an answer and so need no improbable one.
    """
    logprobs, tokens = logits.float().log_softmax(-1).topk(min(limits.widest, logits.shape[-1]))
    totals = growing.logprobs.sum(1, keepdim=True) + logprobs  # (N, widest)
    questions = growing.questions[:, None].expand_as(totals).flatten()
    order = totals.flatten().argsort(descending=True, stable=True)
    # Two stable sorts: by probability first, then by question, keep the best first in each.
    order = order[questions[order].argsort(stable=True)]  # by question, best first
    owners = questions[order]
    rank = torch.arange(len(order), device=order.device) - torch.searchsorted(owners, owners)
    probable = (rank < limits.widest) & (totals.flatten()[order].exp() > limits.least)
    order = order[probable | ((rank == 0) & ~settled[owners])]
    chosen = growing.kept(order // tokens.shape[1])
    return chosen.on(tokens.flatten()[order], logprobs.flatten()[order])


def _collect(found: list[list], ended: _Growing) -> None:
    for question, tokens, logprobs in zip(
        *(x.tolist() for x in (ended.questions, ended.tokens, ended.logprobs)), strict=True
    ):
        found[question].append((tokens, logprobs))


def _first(vlm: VLM, batch: Batch, last: torch.Tensor, cache: DynamicCache) -> torch.Tensor:
    """(K, V), what may follow each question."""
    # Only the last token of each question says what may follow it.
    rows = torch.zeros_like(batch.ids, dtype=torch.bool).index_fill(0, last, True)
    inputs = batch.inputs() | {"logits_to_keep": rows[None]}
    return vlm.net(**inputs, past_key_values=cache, use_cache=True).logits.view(len(last), -1)


def _next(vlm: VLM, growing: _Growing, cache: DynamicCache) -> tuple[torch.Tensor, _Growing]:
    """(N, V), what may follow once each answer's last token is read, and answers that see it."""
    # Each answer sees its own new token and none of its neighbours'.
    own = torch.eye(len(growing), dtype=torch.bool, device=growing.sees.device)
    growing = replace(growing, sees=torch.cat([growing.sees, own], 1))
    inputs = {
        "input_ids": growing.tokens[None, :, -1],
        "position_ids": growing.places[:, None],
        "attention_mask": growing.sees[None, None],
    }
    return vlm.net(**inputs, past_key_values=cache, use_cache=True).logits[0], growing
