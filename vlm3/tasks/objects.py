"""Object-level 3D: relations, distances, sizes and clock directions of objects given by boxes, and
a judge.

Categories, buckets and scores are those of SpatialRGPT-Bench (Cheng et al. 2024). Its judge is a
language model; `Objects.judge` is a list of rules instead: the same verdict every time, without a
network.
"""

import itertools
import re
from collections.abc import Sequence

import numpy as np

from vlm3.tasks import categories, english, numbers
from vlm3.tasks import text as words
from vlm3.tasks.categories import BUCKETS, LENGTHS, OPPOSITES, POLES, Truth
from vlm3.tasks.english import Hour, Value
from vlm3.tasks.relations import facts_of, guesses
from vlm3.tasks.task import Task, demand_some, mean
from vlm3.views import QA, NothingToAsk, View

__all__ = ["LENGTHS", "OPPOSITES", "Hour", "Objects", "Truth"]

_UNKNOWN = {"statement": "left", "choice": "front"}  # asked of objects of which nothing is known


class Objects(Task):
    """How objects lie to each other, how far apart and how large they are; boxes say which."""

    subject = "boxes"
    headline, further = "qualitative", ("quantitative",)

    def ask(
        self, views: Sequence[View], n: int, rng: np.random.Generator, contrary: float = 0.0
    ) -> list[QA]:
        """Up to n different questions about the boxes of the first view, half of them about
        relations.

        contrary: of those the share that is drawn from relations of which the boxes alone suggest
        the opposite, see `relations.guesses`, where there are such: else nearly nine of ten can be
        answered without the image.

        Relations and distances need centre_m (left, right, above and below: the boxes alone do),
        sizes need size_m. Left and right are those of the camera, above and below those of gravity;
        where image and space disagree, or two objects are nearly level (`vlm3.tasks.relations`),
        nothing is asked. Down is +y of the world where world_from_cam is known, else of the camera.
        As many statements hold as do not, and likewise for choices. Relations whose phrase in the
        templates is empty are left out. NothingToAsk where the boxes allow no question.
        """
        view = views[0]
        if not view.boxes:
            raise NothingToAsk("the objects task needs a view with boxes")
        places = self._places(view)
        relations, quantities = self._askable(facts_of(view, places))
        odd = _contrary(relations, guesses(view)) if contrary else []
        shares = (contrary if odd else 0.0, 1 - contrary if odd else 1.0, 1.0)
        drawn_from = zip((odd, relations, quantities), shares, strict=True)
        groups = [(group, share) for group, share in drawn_from if group and share]
        if not groups:
            raise NothingToAsk(
                f"nothing to ask about {len(view.boxes)} box(es): relations need two that clearly "
                "differ, distances centre_m of two, sizes size_m"
            )
        asked: dict[tuple, QA] = {}
        # A few boxes allow few questions, and most draws find one that was asked already.
        for _ in range(20 * n):  # a question that comes up again is not asked again
            if len(asked) >= n:
                break
            table, category, pair, value = _drawn(groups, rng)
            key = (category, *(sorted(pair) if table in LENGTHS else pair))
            if key not in asked:
                truth = Truth(category, value, tuple(view.boxes[i].name for i in pair))
                asked[key] = self._answered(table, truth, [places[i] for i in pair], rng)
        return list(asked.values())

    def unanswered(
        self, views: Sequence[View], rng: np.random.Generator, about: Sequence = ()
    ) -> list[QA]:
        """All that can be asked about the boxes of the first view without knowing what they hold,
        see `questions`."""
        return [self.placed(qa, views[0]) for qa in self.questions(len(views[0].boxes), rng)]

    def questions(self, boxes: int, rng: np.random.Generator) -> list[QA]:
        """The same with {1}, {2}, ... in the place of the boxes, and without the note that all
        questions begin with; see `placed`.

        Width and height of each; of each two, whether the first is to the left, which one is
        nearer, how far apart they are, and the clock direction. ValueError for less than one box.
        """
        if boxes < 1:
            raise ValueError(f"questions need at least one box, got {boxes}")
        phrases = {t: self.templates[t]["relations"][word] for t, word in _UNKNOWN.items()}
        relations = {table: phrase for table, phrase in phrases.items() if phrase}
        names = [f"{{{n}}}" for n in range(1, boxes + 1)]
        asked = [(table, (name,)) for name in names for table in ("width", "height")]
        for two in itertools.combinations(names, 2):
            asked += [(table, two) for table in (*relations, "distance", "clock")]
        silent, found = self.templates | {"note": ""}, []
        for table, subjects in asked:
            fills = dict(zip(("box_a", "box_b"), subjects, strict=False))
            question = words.question(silent, table, rng, relation=relations.get(table), **fills)
            found.append(QA(_category(table), (), question))
        return found

    def placed(self, qa: QA, view: View) -> QA:
        """A question about {1}, {2}, ... as one about the boxes of a view, with the note that all
        questions begin with. ValueError for a box that is not there."""
        known = {str(number): place for number, place in enumerate(self._places(view), 1)}
        named = re.findall(r"{(.*?)}", qa.question)
        if unknown := set(named) - known.keys():
            raise ValueError(
                f"{qa.question!r} names {{{min(unknown)}}}: there are {len(known)} boxes, "
                "from {1} on"
            )
        question = re.sub(r"{(.*?)}", lambda name: known[name[1]], qa.question)
        about = tuple(words.tuples(" ".join(known[name] for name in dict.fromkeys(named))))
        note = self.templates["note"].format(scale=self.templates["scale"])
        question = question if question.startswith(note) else f"{note} {question}"
        return qa._replace(question=question, about=about)

    def _places(self, view: View) -> list[str]:
        return [self.reference.encode_box(box, view.size) for box in view.boxes]

    def _answered(
        self, table: str, truth: Truth, places: list[str], rng: np.random.Generator
    ) -> QA:
        fills = {f"box_{k}": place for k, place in zip("ab", places, strict=False)}
        fills |= {f"name_{k}": name for k, name in zip("ab", truth.names, strict=False)}
        value, own = truth.value, self.templates[table]
        if table in _UNKNOWN:
            fills["relation"] = own["relations"][truth.category.split("_")[0]]
            value = own["values"][value in (False, "second")]
        question = self._worded(table, rng, **fills)
        # "first" and "second" are read by the order in the question, so a wording must keep it.
        if "relation" in fills and -1 < question.find(places[1]) < question.find(places[0]):
            raise ValueError(
                f"a template of table {table!r} names the second object before the first: "
                f"{question!r}"
            )
        about = tuple(words.tuples(" ".join(places)))
        answer = own["answer"].format(value=value, hour=value)
        return QA(truth.category, about, question, answer, truth)

    def _askable(self, facts: dict[str, np.ndarray]) -> tuple[list, list]:
        """Relations and quantities to draw from: (table, category, (N, 1 or 2) indices of boxes, N
        values)."""
        relations, quantities = [], []
        for table, value, suffix in (
            ("statement", True, "predicate"),
            ("choice", "first", "choice"),
        ):
            for word, phrase in self.templates.get(table, {}).get("relations", {}).items():
                pole, sign = POLES[word]
                if phrase and len(pairs := np.argwhere(facts[pole] == sign)):
                    relations.append((table, f"{word}_{suffix}", pairs, [value] * len(pairs)))
        for table in (*LENGTHS, "clock"):
            if table in self.templates and len(known := np.argwhere(facts[table] > 0)):
                values = facts[table][tuple(known.T)].tolist()
                values = [Hour(v) for v in values] if table == "clock" else values
                quantities.append((table, _category(table), known, values))
        return relations, quantities

    def read(self, qa: QA, text: str) -> Value | None:
        """Lengths in metres, hours, yes and no as bool, "first" or "second", by the category that
        the question is of; a truth may name the objects.

        A relation may be stated in words, with its antonym, negation and order of objects, instead
        of yes or no; a choice by region, box or name; an hour by a bare number. The boxes that the
        question names are no numbers of the answer.
        """
        names = Truth(*qa.truth).names if qa.truth else ()
        said = english.plain(text)
        if not qa.kind:
            return english.parse(words.without(said, qa.about))
        if (kind := categories.kind_of(qa.kind)) == "length":
            return numbers.length_m(words.without(said, qa.about))
        if kind == "clock":
            bare = english.BARE_HOUR.fullmatch(said)
            return english.hour(f"{bare[1]} o'clock" if bare else said)
        pole, sign = POLES[qa.kind.split("_")[0]]
        read = english.confirmed if kind == "statement" else english.chosen
        return read(said, qa.question, names, pole, sign)

    def judge(self, qa: QA, text: str) -> bool:
        """Whether an answer counts as right. qa.truth: a Truth, or one as `truth` takes it.

        Relations and choices must be the true ones; lengths lie in 0.75 g <= p <= 1.25 g; hours are
        at most one apart on the circle (SpatialRGPT's evaluation, whose language model is replaced
        by `read`).
        """
        return categories.right(self.read(qa, text), self.truth(qa))

    def truth(self, qa: QA) -> Truth:
        """A Truth, read from the stated answer where it is a sentence, as in released files.

        qa.truth: (category, value or sentence[, names]). ValueError for an unknown category or an
        unreadable answer.
        """
        truth = Truth(*qa.truth)
        if isinstance(truth.value, str) and not categories.is_choice(truth):
            stated = self.read(qa._replace(kind=truth.category), truth.value)
            return categories.checked(truth._replace(value=stated), truth.value)
        return categories.checked(truth, truth.value)

    def score(self, pairs: Sequence[tuple[Value | None, Truth]]) -> dict[str, float]:
        """Success of each bucket and the errors behind it, NaN where a bucket has no question.

        Success as in `judge`; no answer, or one of another type, counts as wrong; `qualitative` and
        `quantitative` are micro averages, the latter with `direction` (SpatialRGPT's evaluation).
        Names that end in _abs_rel: mean abs(p - g) / g, and clock_error_deg: 30 x mean hours on the
        circle, both over what was answered; abs_rel: over all lengths. parsed: share of answers of
        the right type.
        """
        demand_some(pairs)
        hits: dict[str, list[float]] = {
            bucket: [] for bucket in (*BUCKETS.values(), *LENGTHS, "direction")
        }
        errors: dict[str, list[float]] = {bucket: [] for bucket in (*LENGTHS, "direction")}
        for value, truth in pairs:
            truth = categories.checked(Truth(*truth), truth[1])
            bucket = categories.bucket_of(truth.category)
            hits[bucket].append(categories.right(value, truth))
            if bucket in errors and categories.fits(value, truth.category):
                errors[bucket].append(categories.error_of(value, truth))
        answered = [categories.fits(value, truth[0]) for value, truth in pairs]
        return {
            "qualitative": mean([hit for bucket in BUCKETS.values() for hit in hits[bucket]]),
            "quantitative": mean([hit for bucket in errors for hit in hits[bucket]]),
            "abs_rel": mean([error for bucket in LENGTHS for error in errors[bucket]]),
            "clock_error_deg": 30 * mean(errors["direction"]),
            "parsed": mean(answered),
            **{bucket: mean(found) for bucket, found in hits.items()},
            **{f"{bucket}_abs_rel": mean(errors[bucket]) for bucket in LENGTHS},
        }

    def value(self, truth: Truth) -> Value:
        return truth[1]

    def shown(self, value: Value) -> str:
        match value:
            case bool():
                return "yes" if value else "no"
            case Hour():
                return f"{value} o'clock"
            case float():
                return f"{value:.2f} m"
        return value


def _contrary(relations: list, guessed: dict[str, np.ndarray]) -> list:
    """Those of the relations of which the boxes suggest the opposite."""
    found = []
    for table, category, pairs, values in relations:
        pole, sign = POLES[category.rpartition("_")[0]]
        odd = guessed[pole][tuple(pairs.T)] == -sign
        if odd.any():
            found.append((table, category, pairs[odd], values[: odd.sum()]))
    return found


def _drawn(
    groups: list[tuple[list, float]], rng: np.random.Generator
) -> tuple[str, str, list[int], Value]:
    """One question: its table, its category, which boxes, and the value; a relation either way."""
    group = _group(groups, rng)
    table, category, subjects, values = group[rng.integers(len(group))]
    row = rng.integers(len(subjects))
    pair, value = [int(i) for i in subjects[row]], values[row]
    if table in _UNKNOWN and rng.random() < 0.5:
        return table, category, pair[::-1], {True: False, "first": "second"}[value]
    return table, category, pair, value


def _group(groups: list[tuple[list, float]], rng: np.random.Generator) -> list:
    """One of groups with shares."""
    if all(share == 1 for _, share in groups):
        return groups[rng.integers(len(groups))][0]  # as before there were shares
    place = rng.random() * sum(share for _, share in groups)
    bounds = np.cumsum([share for _, share in groups])
    return groups[int(np.searchsorted(bounds, place, "right"))][0]


def _category(table: str) -> str:
    """Of what is asked without knowing the objects."""
    if table in _UNKNOWN:
        return f"{_UNKNOWN[table]}_{'predicate' if table == 'statement' else table}"
    return "direction" if table == "clock" else f"{table}_data"
