"""What a model could do before it learned 3D, and may forget: count, name colours, read, describe.

A probe rather than a benchmark: the same questions before and after fine-tuning. Truths are what
the makers of the picture know: objects are boxes named "red ball", printed text a box whose name is
that text in quotes. Objects of which too little is seen have no box (`vlm3.sources.rooms`), so a
count may miss one that somebody sees; it does so before and after.
"""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from vlm3.tasks import plain
from vlm3.tasks.task import Task, demand_some, mean
from vlm3.views import QA, NothingToAsk, View

KINDS = ("count", "colour", "reading", "caption")
COLOURS = (
    *("red", "orange", "yellow", "green", "turquoise", "blue"),
    *("purple", "pink", "brown", "white", "grey", "black"),
)
ABSENT = ("ball", "bed", "door", "picture", "sofa", "stool", "table")  # asked for where none is
NUMBERS = (
    *("zero", "one", "two", "three", "four", "five", "six"),
    *("seven", "eight", "nine", "ten", "eleven", "twelve"),
)


class Skills(Task):
    """Counting, colours, printed text and captions, of objects whose names are known."""

    subject = ""
    headline, further = "skills", ()

    @classmethod
    def in_metres(cls, options: dict) -> bool:
        return False

    def ask(self, views: Sequence[View], n: int, rng: np.random.Generator) -> list[QA]:
        """Up to n different questions about the first view, of each kind in turn.

        truth: (kind, value), where a value is a number, a colour, printed letters and digits, or,
        for a caption, the kinds of objects that are there. NothingToAsk without named boxes.
        """
        objects, printed = _named(views[0])
        asked = [*self._counts(objects, rng), *self._colours(objects, rng)]
        asked += [self._qa("reading", text, text, rng) for text in printed]
        if objects:
            kinds = sorted({kind for _, kind in objects})
            listed = [f"a {colour} {kind}" for colour, kind in objects]
            asked.append(self._qa("caption", _sentence(listed), tuple(kinds), rng))
        if not asked:
            raise NothingToAsk("skills are asked of named objects or printed text: none is here")
        by_kind = [[qa for qa in asked if qa.kind == kind] for kind in KINDS]
        drawn = [[qas[i] for i in rng.permutation(len(qas))] for qas in by_kind]
        turns = range(max(map(len, drawn)))
        return [qas[turn] for turn in turns for qas in drawn if turn < len(qas)][:n]

    def _counts(self, objects: list[tuple[str, str]], rng: np.random.Generator) -> list[QA]:
        """Of a kind that is not there, of one that is there once, and of one that is more often:
        else "1" would be right nearly always."""
        if not objects:
            return []
        seen = Counter(kind for _, kind in objects)
        seen = dict(seen) | {kind: 0 for kind in ABSENT if kind not in seen}
        groups = [[kind for kind, n in seen.items() if min(n, 2) == k] for k in range(3)]
        drawn = [kinds[rng.integers(len(kinds))] for kinds in groups if kinds]
        return [
            self._qa("count", str(seen[kind]), seen[kind], rng, objects=_plural(kind))
            for kind in drawn
        ]

    def _colours(self, objects: list[tuple[str, str]], rng: np.random.Generator) -> list[QA]:
        """Of what is there once."""
        seen = Counter(kind for _, kind in objects)
        alone = [(colour, kind) for colour, kind in objects if seen[kind] == 1]
        return [self._qa("colour", colour, colour, rng, object=kind) for colour, kind in alone]

    def _qa(self, kind: str, answer: str, value: Any, rng, **fills: str) -> QA:
        question = self._worded(kind, rng, **fills)
        told = self.templates[kind]["answer"].format(value=answer)
        value = _letters(value) if kind == "reading" else value
        return QA(kind, (), question, told, (kind, value))

    def unanswered(
        self, views: Sequence[View], rng: np.random.Generator, about: Sequence = ()
    ) -> list[QA]:
        """What needs no name of an object: the printed text, and a description."""
        return [QA(kind, (), self._worded(kind, rng)) for kind in ("reading", "caption")]

    def read(self, qa: QA, text: str) -> int | str | None:
        """A number, in digits or a word; a colour; letters and digits; or, of a caption, its words.
        None where there is none, or several."""
        said = plain.said(text).lower().replace("gray", "grey")
        found = {kind: _read(kind, said) for kind in KINDS}
        if qa.kind:
            return found.get(qa.kind)
        if len(said.split()) > 3:
            return found["caption"]
        # Without a question: what the few words could be, the narrowest first.
        return next((v for v in (found[kind] for kind in KINDS) if v is not None), None)

    def score(self, pairs: Sequence[tuple[int | str | None, Any]]) -> dict[str, float]:
        """count, colour and reading: shares that are right, where printed text may stand among
        other words; caption: the mean share of the kinds of objects that it names; NaN where none
        was asked. skills: their mean; parsed: the share of answers that say something."""
        demand_some(pairs)
        found: dict[str, list[float]] = {kind: [] for kind in KINDS}
        for value, (kind, truth) in pairs:
            found[kind].append(0.0 if value is None else _right(kind, value, truth))
        each = {kind: mean(hits) for kind, hits in found.items()}
        asked = [each[kind] for kind, hits in found.items() if hits]
        return {"skills": mean(asked), **each, "parsed": mean([v is not None for v, _ in pairs])}

    def value(self, truth: Any) -> Any:
        return " ".join(truth[1]) if truth[0] == "caption" else truth[1]


def _named(view: View) -> tuple[list[tuple[str, str]], list[str]]:
    """(colour, kind) of each object, and printed texts."""
    names = [box.name for box in view.boxes if box.name]
    printed = [name[1:-1] for name in names if name.startswith('"')]
    objects = [tuple(name.split(" ", 1)) for name in names if name.split(" ")[0] in COLOURS]
    return [pair for pair in objects if len(pair) == 2], printed


def _read(kind: str, said: str) -> int | str | None:
    if kind == "count":
        found = re.findall(rf"\b(?:[0-9]{{1,3}}|{'|'.join(NUMBERS)})\b", said)
        numbers = {NUMBERS.index(w) if w in NUMBERS else int(w) for w in found}
        return numbers.pop() if len(numbers) == 1 else None
    if kind == "colour":
        colours = set(re.findall(rf"\b(?:{'|'.join(COLOURS)})\b", said))
        return colours.pop() if len(colours) == 1 else None
    if kind == "reading":
        return _letters(said) or None
    return " ".join(re.findall(r"[a-z]+", said)) or None


def _right(kind: str, value: int | str, truth: Any) -> float:
    if kind == "caption":
        words = value.split()
        return mean([each in words or _plural(each) in words for each in truth])
    return float(truth in value if kind == "reading" else value == truth)


def _letters(text: str) -> str:
    return re.sub("[^A-Z0-9]", "", text.upper())


def _plural(kind: str) -> str:
    return re.sub("f$", "v", kind) + ("es" if kind.endswith(("f", "x", "ch", "sh")) else "s")


def _sentence(listed: list[str]) -> str:
    """ "A red ball, a blue bed and a grey bin." """
    listed = [re.sub(r"^a (?=orange)", "an ", each) for each in listed]
    joined = " and ".join([", ".join(listed[:-1]), listed[-1]] if listed[1:] else listed)
    return joined[0].upper() + joined[1:] + "."
