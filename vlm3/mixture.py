"""Ingredient 3: a weighted, endless, resumable stream of samples from many sources.

`mixture[i]` depends on the seed and on i alone, so a run resumes from one whole number, and the
samples are the same for any number of loader workers and machines.

How: source k with weight w takes its draw j at the time (j + u) / w, where u in [0, 1) is drawn
anew for every j: one draw in each stretch of 1 / w, so shares hold from the first batch on. The
stream is all draws in order of time.
"""

import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from pkgutil import resolve_name
from typing import NamedTuple

import numpy as np

from vlm3 import disk, tasks
from vlm3.focal import unify_focal, unify_pair
from vlm3.tasks.task import Task
from vlm3.views import NothingToAsk, Pair, Sample, View

PACKAGED = Path(__file__).parent / "mixtures"
_ATTEMPTS = 100  # items in a row that may have nothing to ask about


@dataclass(frozen=True)
class Source:
    """A sequence of items, each a View, a Pair or a tuple of Views, and what is asked about them;
    an item that is a Sample brings its own questions, and its views are left as they are.

    questions: how many per sample; focal_px: what the views are unified to; templates: what differs
    from the task's own, see `vlm3.tasks.get`; options: further ones of `task.ask`; origin:
    what made the items, as told by the file of a mixture.
    """

    items: Sequence
    task: str
    questions: int = 10
    focal_px: float = 1000.0
    templates: Mapping = field(default_factory=dict)
    options: Mapping = field(default_factory=dict)
    origin: Mapping = field(default_factory=dict)

    @cached_property
    def bound(self) -> Task:
        """The task, its templates bound."""
        return tasks.get(self.task, self.templates)

    def sample(self, index: int, name: str, rng: np.random.Generator) -> Sample:
        item, options = self.items[index], dict(self.options)
        if isinstance(item, Sample):
            return replace(item, source=name)
        if isinstance(item, Pair):
            item = unify_pair(item, focal_px=self.focal_px)
            options |= {"matches": (item.uv1, item.uv2)} if self.bound.takes_matches else {}
            views = (item.view1, item.view2)
        else:
            views = (item,) if isinstance(item, View) else item
            views = tuple(unify_focal(view, self.focal_px) for view in views)
        qas = tuple(self.bound.ask(views, self.questions, rng, **options))
        return Sample(views, qas, self.task, name)


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
    one takes its place. Raises ValueError for weights, sources and tasks that cannot be, IndexError
    for i < 0, and NoSample for whatever a source or a task raises.
    """

    def __init__(
        self,
        sources: Mapping[str, Source],
        weights: str | float | Mapping[str, float] = "size",
        seed: int = 0,
    ):
        if not sources or seed < 0:
            raise ValueError(
                f"a mixture needs at least one source and a seed of 0 or more, got seed {seed}"
            )
        if empty := [name for name, source in sources.items() if not len(source.items)]:
            raise ValueError(f"nothing to draw from {', '.join(empty)}: leave empty sources out")
        for source in sources.values():
            tasks.get(source.task, source.templates)  # raises for what no sample could be made of
        self.sources, self.seed, self.names = dict(sources), seed, tuple(sources)
        self.sizes = np.array([len(source.items) for source in sources.values()])
        weights = self._weights(weights)
        self.shares = weights / weights.sum()

    def _weights(self, weights: str | float | Mapping[str, float]) -> np.ndarray:
        power = (
            {"uniform": 0.0, "size": 1.0}.get(weights, weights)
            if isinstance(weights, str)
            else weights
        )
        if isinstance(power, (int, float)) and math.isfinite(power):
            return (self.sizes / self.sizes.max()) ** power
        if not isinstance(power, Mapping):
            raise ValueError(
                f"weights are 'uniform', 'size', a power of the size, or a number for each: {weights!r}"
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
        for attempt in range(_ATTEMPTS):
            place = (item + attempt) % len(self.sources[name].items)
            try:
                return self.sources[name].sample(place, name, rng)
            except NothingToAsk as nothing:
                reason = nothing
            except Exception as error:
                reason = (
                    " ".join(str(error).split()) or type(error).__name__
                )  # in one line, whatever it says
                raise NoSample(
                    f"sample {index}, item {place} of source {name!r}: {reason}"
                ) from error
        raise NoSample(
            f"{_ATTEMPTS} items of source {name!r} from {item} on give no question: {reason}"
        )

    def draw(self, index: int) -> Draw:
        """Where sample `index` comes from, without making it."""
        source, count, _ = self._find(index)
        passes, place = divmod(count, int(self.sizes[source]))
        return Draw(
            self.names[source],
            shuffled(place, int(self.sizes[source]), (self.seed, source, passes)),
            passes,
        )

    def counts(self, n: int) -> dict[str, int]:
        """How many of the first n samples come from each source."""
        time = self._find(n)[2] if n else 0.0
        return {name: self._drawn(k, time) for k, name in enumerate(self.names)}

    def passes(self, n: int) -> dict[str, float]:
        """How often each source has been gone through after n samples: much above 1, and
        over-fitting sets in."""
        return {
            name: count / size
            for (name, count), size in zip(self.counts(n).items(), self.sizes, strict=True)
        }

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
                "focal_px": source.focal_px,
                "templates": dict(source.templates),
                "options": dict(source.options),
            }
            for place, (name, source) in enumerate(self.sources.items())
        }

    @property
    def taught(self) -> dict[str, dict]:
        """What a model must know of its lessons to be asked in the same way: by task, focal length
        and templates.

        Where several sources have a task, those of the one with the largest share.
        """
        ordered = sorted(
            zip(self.shares, self.sources.values(), strict=True), key=lambda pair: pair[0]
        )
        return {
            s.task: {"focal_px": s.focal_px, "templates": dict(s.templates)} for _, s in ordered
        }

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
    side = math.isqrt(size - 1) + 1
    while True:
        left, right = divmod(place, side)
        for turn in range(4):
            left, right = right, (left + _hash(*key, turn, right)) % side
        place = left * side + right
        if place < size:
            return place


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


def load(path: str | Path, seed: int = 0) -> Mixture:
    """A mixture from a TOML file, or a packaged one by its name.

    `weights` may be a word or a power. `like` names a mixture, or a list of them, whose sources are
    taken, with the file's `arguments` added to those of each, and with what tables of the same
    names change. Each table under `sources` names what makes the items, as "module:callable" in
    `from`, with its arguments in `arguments`, and may set task, questions, focal_px, options and
    weight. Raises FileNotFoundError or ValueError, naming the file and the source.
    """
    path = _path(path)
    weights, tables = _parts(path)
    given = {name: table.pop("weight") for name, table in tables.items() if "weight" in table}
    if given and weights is not None:
        raise ValueError(f"{path}: either `weights` or a weight for each source, not both")
    sources = {name: _source(table, f"{path}, source {name!r}") for name, table in tables.items()}
    try:
        return Mixture(sources, given or ("size" if weights is None else weights), seed)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _path(path: str | Path) -> Path:
    packaged = PACKAGED / f"{path}.toml"
    path = packaged if packaged.exists() else Path(path)
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in PACKAGED.glob("*.toml")))
        raise FileNotFoundError(f"{path}: no such mixture; give a TOML file, or one of {known}")
    return path


def _parts(path: Path) -> tuple[str | float | dict | None, dict[str, dict]]:
    """What the file says of `weights`, and its table of each source."""
    try:
        found = tomllib.loads(disk.text(path))
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path}: not a mixture ({error})") from error
    weights, tables = found.pop("weights", None), found.pop("sources", {})
    like, arguments = found.pop("like", None), found.pop("arguments", {})
    if found:
        raise ValueError(
            f"{path}: unknown {', '.join(found)}: a mixture has `weights`, `like`, `sources`"
        )
    if like:
        names = like if isinstance(like, list) else [like]
        if not all(isinstance(name, str) for name in names):
            raise ValueError(f"{path}: `like` must name a mixture or a list of them, got {like!r}")
        shared = [_parts(_path(name)) for name in names]
        others = {name: table for _, known in shared for name, table in known.items()}
        others = {
            name: t | {"arguments": t.get("arguments", {}) | arguments}
            for name, t in others.items()
        }
        tables = others | {name: others.get(name, {}) | table for name, table in tables.items()}
        weights = shared[0][0] if weights is None else weights
    if not (isinstance(tables, dict) and all(isinstance(table, dict) for table in tables.values())):
        raise ValueError(f"{path}: `sources` must hold a table for each source")
    return weights, tables


def _source(table: dict, where: str) -> Source:
    table = dict(table)
    try:
        origin = {"from": table.pop("from"), "arguments": table.pop("arguments", {})}
        return Source(resolve_name(origin["from"])(**origin["arguments"]), **table, origin=origin)
    except KeyError as error:
        raise ValueError(f"{where}: {error} is missing") from error
    except (ImportError, AttributeError, TypeError, ValueError, OSError) as error:
        raise ValueError(f"{where}: {error}") from error
