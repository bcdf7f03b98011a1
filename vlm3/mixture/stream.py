"""Ingredient 3: a weighted, endless, resumable stream of samples from many sources.

`mixture[i]` depends on the seed and on i alone, so a run resumes from one whole number, and the
samples are the same for any number of loader workers and machines.

How: source k with weight w takes its draw j at the time (j + u) / w, where u in [0, 1) is drawn
anew for every j: one draw in each stretch of 1 / w, so shares hold from the first batch on. The
stream is all draws in order of time.
"""

import math
from bisect import bisect_right
from collections.abc import Mapping
from functools import cached_property, lru_cache
from itertools import accumulate
from typing import NamedTuple

import numpy as np

from vlm3.mixture.source import Source
from vlm3.views import NothingToAsk, Sample

_ATTEMPTS = 100  # items in a row that may have nothing to ask about
_CHOICES = ("one_wording", "either_way", "augment")
_POWERS = {"uniform": 0.0, "size": 1.0}


class NoSample(RuntimeError):
    """A source or a task raised, or found nothing to ask about: the message names the source and
    the item."""


class Draw(NamedTuple):
    """Where sample i comes from: the source's name, the item, and how often the source has been
    gone through."""

    source: str
    item: int
    passes: int


class Mixture:
    """An endless stream of samples.

    sources: Source by name; weights: "uniform", "size" (of the sources), a power of the size (0 is
    uniform, 1 is size), or a number for each name; seed: of the order of the stream and of the
    questions. Each source is gone through in a random order, another one each pass, so no item
    comes again before all have come; only where a task finds nothing to ask about an item, the next
    one takes its place. Items that say `stretches`, how many of them lie together (in a shard, see
    `vlm3.sources.shards`), are gone through one stretch after another, both in random order.
    same_items: all sources go through their items in one order, side by side, so that an item is
    made once for all of them (`Rooms` remembers its last ones); for sources of one size and equal
    weights. Raises ValueError for weights, sources and tasks that cannot be, IndexError for i < 0,
    and NoSample for whatever a source or a task raises.
    """

    def __init__(
        self,
        sources: Mapping[str, Source],
        weights: str | float | Mapping[str, float] = "size",
        seed: int = 0,
        same_items: bool = False,
    ):
        if not sources or seed < 0:
            raise ValueError(
                f"a mixture needs at least one source and a seed of 0 or more, got seed {seed}"
            )
        if empty := [name for name, source in sources.items() if not len(source.items)]:
            raise ValueError(f"nothing to draw from {', '.join(empty)}: leave empty sources out")
        for source in sources.values():
            _ = source.bound  # raises for what no sample could be made of
        self.sources, self.seed, self.names = dict(sources), seed, tuple(sources)
        self.same_items = same_items
        self.sizes = np.array([len(source.items) for source in sources.values()])
        weights = self._weights(weights)
        self.shares = weights / weights.sum()
        apart = len(set(self._stretches)) > 1
        if same_items and (np.ptp(self.sizes) or np.ptp(self.shares) or apart):
            raise ValueError(
                "same_items needs sources of one size and with equal weights, in one order, got "
                f"sizes {self.sizes.tolist()} and shares {self.shares.round(3).tolist()}"
            )

    def _weights(self, weights: str | float | Mapping[str, float]) -> np.ndarray:
        power = _POWERS.get(weights, weights) if isinstance(weights, str) else weights
        if isinstance(power, (int, float)) and math.isfinite(power):
            return (self.sizes / self.sizes.max()) ** power
        if not isinstance(power, Mapping):
            raise ValueError(
                "weights are 'uniform', 'size', a power of the size, or a number for each: "
                f"{weights!r}"
            )
        if power.keys() != self.sources.keys():
            wrong = ", ".join(sorted(power.keys() ^ self.sources.keys()))
            raise ValueError(
                f"weights and sources must have the same names; only one of them has {wrong}"
            )
        found = np.array([power[name] for name in self.names], float)
        if not (np.isfinite(found).all() and (found > 0).all()):
            raise ValueError(
                f"weights must be positive, got {dict(power)}: leave a source out to leave it out"
            )
        return found

    def __getitem__(self, index: int) -> Sample:
        name, item, _ = self.draw(index)
        rng = np.random.default_rng([self.seed, index])
        # The next item takes the place of one without a question, so that the stream has no holes.
        for attempt in range(_ATTEMPTS):
            place = (item + attempt) % len(self.sources[name].items)
            try:
                return self.sources[name].sample(place, name, rng)
            except NothingToAsk as nothing:
                reason = nothing
            except Exception as error:
                reason = " ".join(str(error).split()) or type(error).__name__  # one line of any
                where = f"sample {index}, item {place} of source {name!r}"
                raise NoSample(f"{where}: {reason}") from error
        raise NoSample(
            f"{_ATTEMPTS} items of source {name!r} from {item} on give no question: {reason}"
        )

    def shuffled(self) -> "Mixture":
        """The same stream, each question about the images of another item: what a model says that
        did not look."""
        sources = {name: source.shuffled() for name, source in self.sources.items()}
        shares = dict(zip(self.names, self.shares.tolist(), strict=True))
        return Mixture(sources, shares, self.seed, self.same_items)

    def draw(self, index: int) -> Draw:
        """Where sample `index` comes from, without making it."""
        source, count, _ = self._find(index)
        size = int(self.sizes[source])
        passes, place = divmod(count, size)
        key = self.seed, 0 if self.same_items else source, passes
        stretches = self._stretches[source]
        item = in_stretches(place, stretches, key) if stretches else shuffled(place, size, key)
        return Draw(self.names[source], item, passes)

    @property
    def _stretches(self) -> list[tuple[int, ...] | None]:
        return [getattr(source.items, "stretches", None) for source in self.sources.values()]

    def counts(self, n: int) -> dict[str, int]:
        """How many of the first n samples come from each source."""
        time = self._find(n)[2] if n else 0.0
        return {name: self._drawn(k, time) for k, name in enumerate(self.names)}

    def passes(self, n: int) -> dict[str, float]:
        """How often each source has been gone through after n samples: much above 1, and
        over-fitting sets in."""
        counts = self.counts(n)
        return {k: counts[k] / size for k, size in zip(counts, self.sizes, strict=True)}

    @cached_property
    def description(self) -> dict[str, dict]:
        """What a run stores to know this mixture again, beside its seed."""
        return {
            name: {
                "place": place,  # the stream depends on the order
                "origin": dict(source.origin),
                "size": int(self.sizes[place]),
                "share": float(self.shares[place]),
                "task": source.task,
                "questions": source.questions,
                **source.taught,
                "asked_in": source.wordings,
                "options": dict(source.options),
                # Said only where it holds, so that runs from before there was a choice go on.
                **{name: True for name in _CHOICES if getattr(source, name)},
                **({"same_items": True} if self.same_items else {}),
                **({"stretches": len(found)} if (found := self._stretches[place]) else {}),
            }
            for place, (name, source) in enumerate(self.sources.items())
        }

    @property
    def taught(self) -> dict[str, dict]:
        """What a model must know of its lessons, to be asked in the same way.

        By task, the sizes of images and the templates; where several sources have a task, those of
        the one with the largest share.
        """
        shares = dict(zip(self.names, self.shares, strict=True))
        ordered = [self.sources[name] for name in sorted(shares, key=shares.get)]
        return {source.task: source.taught for source in ordered}

    def _find(self, index: int) -> tuple[int, int, float]:
        """Sample `index` of the stream: its source, the number of its draw there, its time.

        Of source k, less than one draw more or less than w t is taken before the time t, so of all
        K together less than K; the sample's time lies within K of its index.
        """
        if index < 0:
            raise IndexError(f"sample {index}: the stream begins at 0")
        low, high = max(0, index - len(self.names)), index + len(self.names) + 1
        before = [self._drawn(k, low) for k in range(len(self.names))]
        near = [
            (self._time(k, j), k, j)
            for k, first in enumerate(before)
            for j in range(first, self._drawn(k, high))
        ]
        # Ties are broken by the order of sources, so the stream is one whatever the machine.
        time, source, count = sorted(near)[index - sum(before)]
        return source, count, time

    def _drawn(self, source: int, time: float) -> int:
        """How many draws of a source come before a time."""
        whole = math.floor(self.shares[source] * time)
        return whole + bool(self._time(source, whole) < time)

    def _time(self, source: int, count: int) -> float:
        return (count + _uniform(self.seed, source, count)) / self.shares[source]


def shuffled(place: int, size: int, key: tuple[int, ...]) -> int:
    """Where `place` lies in a random order of range(size), one for each key, without making the
    whole order.

    A Feistel network permutes a square a little larger; what falls outside the range is permuted
    again until it does not (cycle walking; Black and Rogaway 2002).
    """
    # Fewer than two turns of the walk on average: the square is hardly larger than the range.
    side = math.isqrt(size - 1) + 1
    while True:
        left, right = divmod(place, side)
        for turn in range(4):  # rounds of a Feistel network: three mix, the fourth is for safety
            left, right = right, (left + _hash(*key, turn, right)) % side
        place = left * side + right
        if place < size:
            return place


def in_stretches(place: int, sizes: tuple[int, ...], key: tuple[int, ...]) -> int:
    """Where `place` lies in a random order of sum(sizes) items that ends each of its stretches, of
    so many items each, before it begins the next; one order for each key."""
    order, ends, starts = _ordered(sizes, key)
    turn = bisect_right(ends, place)
    stretch = order[turn]
    within = place - ends[turn] + sizes[stretch]
    return starts[stretch] + shuffled(within, sizes[stretch], (*key, stretch))


@lru_cache(maxsize=32)  # one pass of each source; made in about 10 us for each stretch
def _ordered(sizes: tuple[int, ...], key: tuple[int, ...]) -> tuple[list, list, list]:
    """The order of stretches; where in it each ends; where each starts, by its number."""
    order = [shuffled(k, len(sizes), key) for k in range(len(sizes))]
    ends = list(accumulate(sizes[k] for k in order))
    return order, ends, list(accumulate(sizes, initial=0))


def _uniform(*key: int) -> float:
    return _hash(*key) / 2**64


def _hash(*key: int) -> int:
    """64 bits from whole numbers (SplitMix64 over the key)."""
    state = 0
    for number in key:
        state = (state ^ number) + 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF
        state = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
        state = (state ^ state >> 27) * 0x94D049BB133111EB & 0xFFFFFFFFFFFFFFFF
        state ^= state >> 31
    return state
