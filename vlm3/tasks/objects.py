"""Object-level 3D: relations, distances, sizes and clock directions of objects given by boxes, and
a judge.

Categories, buckets and scores are those of SpatialRGPT-Bench (Cheng et al. 2024). Its judge is a
language model; `judge` is a list of rules instead: the same verdict every time, without a network.
"""

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from vlm3.reference import PixelText
from vlm3.tasks import english, numbers
from vlm3.tasks import text as words
from vlm3.tasks.english import Answer, Hour
from vlm3.views import QA, NothingToAsk, View

NEAR_M = (
    0.1  # objects closer than this, along the axis that a question is about, are not asked about
)
NEAR_SHARE = 0.05  # the same in the image, as a share of its side
ALIKE = 1.2  # sizes whose ratio is smaller are not compared
SMALL_M = 0.05  # smaller sizes are not asked for: two decimals would say too little

OPPOSITES = {
    "left": "right",
    "above": "below",
    "behind": "front",
    "big": "small",
    "tall": "short",
    "wide": "thin",
}
_POLES = {
    word: (pole, sign)
    for pole, other in OPPOSITES.items()
    for word, sign in ((pole, 1), (other, -1))
}
_BUCKETS = {
    "left": "left_right",
    "above": "below_above",
    "behind": "behind_front",
    "big": "big_small",
    "tall": "tall_short",
    "wide": "wide_thin",
}
_UNKNOWN = {
    "statement": "left",
    "choice": "front",
}  # asked of two objects of which nothing is known
LENGTHS = ("distance", "horizontal_distance", "vertical_distance", "width", "height")


class Truth(NamedTuple):
    """The value behind an answer: bool, "first" or "second", metres, or an hour, by its category.

    category: as in SpatialRGPT-Bench: "left_predicate" and "left_choice" (and so on for twelve
    relations), "distance_data" (and four more lengths), "direction". names: what the two objects
    are called, if known.
    """

    category: str
    value: Answer
    names: tuple[str, ...] = ()


def ask(
    views: Sequence[View], n: int, rng: np.random.Generator, templates: dict | None = None
) -> list[QA]:
    """Up to n different questions about the boxes of the first view, half of them about relations.

    Relations and distances need centre_m (left, right, above and below: the boxes alone do), sizes
    need size_m. Left and right are those of the camera, above and below those of gravity; where
    image and space disagree, or two objects are nearly level (NEAR_M, NEAR_SHARE, ALIKE), nothing
    is asked. Down is +y of the world where world_from_cam is known, else of the camera. As many
    statements hold as do not, and likewise for choices. Relations whose phrase in the templates is
    empty are left out. NothingToAsk, a ValueError, where the boxes allow no question.
    """
    templates = templates or words.packaged("objects")
    view = views[0]
    if not view.boxes:
        raise NothingToAsk("the objects task needs a view with boxes")
    places = [PixelText(templates["scale"]).encode_box(box, view.size) for box in view.boxes]
    groups = [group for group in _askable(_facts(view, places), templates) if group]
    if not groups:
        raise NothingToAsk(
            f"nothing to ask about {len(view.boxes)} box(es): relations need two that clearly differ, "
            "distances centre_m of two, sizes size_m"
        )
    asked: dict[tuple, QA] = {}
    for _ in range(20 * n):  # a question that comes up again is not asked again
        if len(asked) >= n:
            break
        group = groups[rng.integers(len(groups))]
        table, category, subjects, values = group[rng.integers(len(group))]
        row = rng.integers(len(subjects))
        pair, value = [int(i) for i in subjects[row]], values[row]
        if table in ("statement", "choice") and rng.random() < 0.5:
            pair, value = pair[::-1], {True: False, "first": "second"}[value]
        key = (category, *(sorted(pair) if table in LENGTHS else pair))
        if key not in asked:
            truth = Truth(category, value, tuple(view.boxes[i].name for i in pair))
            asked[key] = _qa(table, truth, [places[i] for i in pair], rng, templates)
    return list(asked.values())


def questions(boxes: int, rng: np.random.Generator, templates: dict | None = None) -> list[str]:
    """What can be asked about so many boxes without knowing what they hold, in words where {1},
    {2}, ... name them.

    Width and height of each; of each two, whether the first is to the left, which one is nearer,
    how far apart they are, and the clock direction. Without the note that all questions begin with.
    ValueError for less than one box.
    """
    return [qa.question for qa in unanswered(boxes, rng, templates)]


def unanswered(boxes: int, rng: np.random.Generator, templates: dict | None = None) -> list[QA]:
    """The same questions, each with the kind of its answer, which nobody knows."""
    if boxes < 1:
        raise ValueError(f"questions need at least one box, got {boxes}")
    templates = (templates or words.packaged("objects")) | {"note": ""}
    phrases = {table: templates[table]["relations"][word] for table, word in _UNKNOWN.items()}
    relations = {table: phrase for table, phrase in phrases.items() if phrase}
    names = [f"{{{n}}}" for n in range(1, boxes + 1)]
    asked = [(table, (name,)) for name in names for table in ("width", "height")]
    asked += [
        (table, two)
        for two in itertools.combinations(names, 2)
        for table in (*relations, "distance", "clock")
    ]
    fills = [dict(zip(("box_a", "box_b"), subjects, strict=False)) for _, subjects in asked]
    return [
        QA(
            words.question(templates, table, rng, relation=relations.get(table), **fill),
            "",
            None,
            _category(table),
        )
        for (table, _), fill in zip(asked, fills, strict=True)
    ]


def _category(table: str) -> str:
    """Of what is asked without knowing the objects."""
    if table in _UNKNOWN:
        return f"{_UNKNOWN[table]}_{'predicate' if table == 'statement' else table}"
    return "direction" if table == "clock" else f"{table}_data"


def _qa(
    table: str, truth: Truth, places: list[str], rng: np.random.Generator, templates: dict
) -> QA:
    fills = {f"box_{k}": place for k, place in zip("ab", places, strict=False)}
    fills |= {f"name_{k}": name for k, name in zip("ab", truth.names, strict=False)}
    value = truth.value
    if table in ("statement", "choice"):
        fills["relation"] = templates[table]["relations"][truth.category.split("_")[0]]
        value = templates[table]["values"][value in (False, "second")]
    question = words.question(templates, table, rng, **fills)
    if "relation" in fills and -1 < question.find(places[1]) < question.find(places[0]):
        raise ValueError(
            f"a template of table {table!r} names the second object before the first: {question!r}"
        )
    about = tuple(words.tuples(" ".join(places)))
    return QA(
        question,
        templates[table]["answer"].format(value=value, hour=value),
        truth,
        truth.category,
        about,
    )


def _askable(facts: dict[str, np.ndarray], templates: dict) -> tuple[list, list]:
    """Relations and quantities to draw from: (table, category, (N, 1 or 2) indices of boxes, N
    values)."""
    relations, quantities = [], []
    for table, value, suffix in (("statement", True, "predicate"), ("choice", "first", "choice")):
        for word, phrase in templates.get(table, {}).get("relations", {}).items():
            pole, sign = _POLES[word]
            if phrase and len(pairs := np.argwhere(facts[pole] == sign)):
                relations.append((table, f"{word}_{suffix}", pairs, [value] * len(pairs)))
    for table in (*LENGTHS, "clock"):
        if table in templates and len(known := np.argwhere(facts[table] > 0)):
            values = facts[table][tuple(known.T)].tolist()
            category = "direction" if table == "clock" else f"{table}_data"
            quantities.append(
                (table, category, known, [Hour(v) for v in values] if table == "clock" else values)
            )
    return relations, quantities


def _facts(view: View, places: list[str]) -> dict[str, np.ndarray]:
    """All that can be asked. Relations: NxN, [i, j] is 1 where i is left of j, -1 where it is
    right, 0 where neither is clear. Distances: NxN metres, hours: NxN, sizes: N metres; 0 or NaN
    where unknown.
    """
    unknown = (math.nan,) * 3
    centres = np.array(
        [unknown if box.centre_m is None else box.centre_m for box in view.boxes], float
    )
    sizes = np.array([unknown if box.size_m is None else box.size_m for box in view.boxes], float)
    sizes = np.where(sizes > 0, sizes, np.nan)
    boxes = np.array([box[:4] for box in view.boxes], float)
    middles = (boxes[:, :2] + boxes[:, 2:]) / 2 / view.size
    gaps = centres - centres[:, None]  # [i, j] leads from i to j, in camera coordinates
    right, down, forward = np.moveaxis(gaps @ _level(view).T, -1, 0)
    distance = np.linalg.norm(gaps, axis=-1)
    flat = np.sqrt(np.maximum(distance**2 - down**2, 0))
    hours = np.round(np.degrees(np.arctan2(right, forward)) / 30) % 12
    facts = {
        "left": _both(_clear(middles[:, 0], NEAR_SHARE), _sign(gaps[..., 0], NEAR_M)),
        "above": _both(_clear(middles[:, 1], NEAR_SHARE), _sign(down, NEAR_M)),
        "behind": _both(
            _sign(-gaps[..., 2], NEAR_M), _clear(-np.linalg.norm(centres, axis=1), NEAR_M)
        ),
        "big": _clear(-np.log(sizes.prod(1)), math.log(ALIKE)),
        "tall": _clear(-np.log(sizes[:, 1]), math.log(ALIKE)),
        "wide": _clear(-np.log(sizes[:, 0]), math.log(ALIKE)),
        "distance": _far(distance),
        "horizontal_distance": _far(flat),
        "vertical_distance": _far(np.abs(down)),
        "clock": np.where(flat >= NEAR_M, np.where(hours == 0, 12, hours), 0),
    }
    same = (
        np.array(places) == np.array(places)[:, None]
    )  # two boxes that read the same cannot be told apart
    facts = {name: np.where(same, 0, fact) for name, fact in facts.items()}
    width, height, _ = np.where(sizes >= SMALL_M, sizes, 0).T
    return facts | {"width": width, "height": height}


def _level(view: View) -> np.ndarray:
    """3x3, rows are right, down and forward on level ground, in camera coordinates; NaN where all
    ways are down."""
    down = np.array([0.0, 1.0, 0.0]) if view.world_from_cam is None else view.world_from_cam[1, :3]
    forward = np.array([0.0, 0.0, 1.0]) - down[2] * down
    length = np.linalg.norm(forward)
    forward = forward / length if length > 0.1 else np.full(3, np.nan)
    return np.stack([np.cross(down, forward), down, forward])


def _sign(gaps: np.ndarray, least: float) -> np.ndarray:
    """1 where a gap is at least so large, -1 where it is below minus that, 0 between, NaN where it
    is unknown."""
    return np.where(np.isnan(gaps), np.nan, np.where(np.abs(gaps) >= least, np.sign(gaps), 0))


def _clear(values: np.ndarray, least: float) -> np.ndarray:
    return _sign(values - values[:, None], least)


def _both(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """What two signs agree on; where the second is unknown, the first alone."""
    return np.where(np.isnan(second) | (first == second), first, 0)


def _far(metres: np.ndarray) -> np.ndarray:
    return np.where(metres >= NEAR_M, metres, 0)


parse = english.parse


def read(qa: QA, text: str) -> Answer | None:
    """What an answer says to its question, whose kind or truth gives the category; a truth may name
    the objects.

    Reads all that `parse` does, and besides: a relation stated in words, with its antonym, negation
    and order of objects, instead of yes or no; a choice by region, box or name; a bare number as an
    hour. Without a category, as `parse`. The boxes that the question names are no numbers of the
    answer.
    """
    names = Truth(*qa.truth).names if qa.truth else ()
    category = qa.kind or (qa.truth[0] if qa.truth else "")
    said = english.plain(text)
    if not category:
        return english.parse(words.without(said, words.about(qa)))
    if (kind := _kind(category)) == "length":
        return numbers.length_m(words.without(said, words.about(qa)))
    if kind == "clock":
        bare = english.BARE_HOUR.fullmatch(said)
        return english.hour(f"{bare[1]} o'clock" if bare else said)
    pole, sign = _POLES[category.split("_")[0]]
    if kind == "statement":
        return english.confirmed(said, qa.question, names, pole, sign)
    return english.chosen(said, qa.question, names, pole, sign)


def judge(qa: QA, text: str) -> bool:
    """Whether an answer counts as right. qa.truth: a Truth, or a released one as `typed` takes it.

    Relations and choices must be the true ones; lengths lie in 0.75 g <= p <= 1.25 g; hours are at
    most one apart on the circle (SpatialRGPT's evaluation, whose language model is replaced by
    `read`).
    """
    qa = typed(qa)
    return _right(read(qa, text), qa.truth)


def typed(qa: QA) -> QA:
    """A question whose truth is a Truth, read from the stated answer where it is a sentence, as in
    released files.

    qa.truth: (category, value or sentence[, names]). ValueError for an unknown category or an
    unreadable answer.
    """
    stated = Truth(*qa.truth)
    truth = stated
    if isinstance(stated.value, str) and not (
        _kind(stated.category) == "choice" and stated.value in english.WHOLE
    ):
        truth = stated._replace(value=read(qa, stated.value))
    return qa._replace(truth=_checked(truth, stated.value))


def _checked(truth: Truth, stated: object) -> Truth:
    """The truth with the types that a file may have taken from it; ValueError, quoting stated, if
    it is none."""
    value = truth.value
    if _kind(truth.category) == "clock" and type(value) is int and 1 <= value <= 12:
        value = Hour(value)
    if not _fits(value, truth.category):
        raise ValueError(f"{stated!r} states no value of category {truth.category!r}")
    return Truth(truth.category, value, tuple(truth.names))


def score(pairs: Sequence[tuple[Answer | None, Truth]]) -> dict[str, float]:
    """Success of each bucket and the errors behind it, NaN where a bucket has no question.

    Success as in `judge`; no answer, or one of another type, counts as wrong; `qualitative` and
    `quantitative` are micro averages, the latter with `direction` (SpatialRGPT's evaluation). Names
    that end in _abs_rel: mean abs(p - g) / g, and clock_error_deg: 30 x mean hours on the circle,
    both over what was answered; abs_rel: over all lengths. parsed: share of answers of the right
    type.
    """
    if not pairs:
        raise ValueError("nothing to score: no pairs")
    hits: dict[str, list[float]] = {
        bucket: [] for bucket in (*_BUCKETS.values(), *LENGTHS, "direction")
    }
    errors: dict[str, list[float]] = {bucket: [] for bucket in (*LENGTHS, "direction")}
    for value, truth in pairs:
        truth = _checked(Truth(*truth), truth[1])
        bucket = _bucket(truth.category)
        hits[bucket].append(_right(value, truth))
        if bucket in errors and _fits(value, truth.category):
            errors[bucket].append(_error(value, truth))
    answered = [_fits(value, truth[0]) for value, truth in pairs]
    return {
        "qualitative": _mean([hit for bucket in _BUCKETS.values() for hit in hits[bucket]]),
        "quantitative": _mean([hit for bucket in errors for hit in hits[bucket]]),
        "abs_rel": _mean([error for bucket in LENGTHS for error in errors[bucket]]),
        "clock_error_deg": 30 * _mean(errors["direction"]),
        "parsed": _mean(answered),
        **{bucket: _mean(found) for bucket, found in hits.items()},
        **{f"{bucket}_abs_rel": _mean(errors[bucket]) for bucket in LENGTHS},
    }


def _mean(values: list) -> float:
    return float(np.mean(values)) if values else math.nan


def _kind(category: str) -> str:
    """statement, choice, length or clock; ValueError for a category that SpatialRGPT-Bench and this
    book lack."""
    stem, _, suffix = category.rpartition("_") if isinstance(category, str) else ("", "", "")
    kinds = {
        "predicate": ("statement", _POLES),
        "choice": ("choice", _POLES),
        "data": ("length", LENGTHS),
    }
    kind, known = kinds.get(suffix, ("clock", ("",)) if category == "direction" else ("", ()))
    if stem not in known:
        raise ValueError(
            f"no category {category!r}: it is such as left_predicate, tall_choice, width_data, direction"
        )
    return kind


def _bucket(category: str) -> str:
    kind, stem = _kind(category), category.rpartition("_")[0]
    return _BUCKETS[_POLES[stem][0]] if kind in ("statement", "choice") else stem or category


def _fits(value: Answer | None, category: str) -> bool:
    kind = _kind(category)
    if kind == "statement":
        return isinstance(value, bool)
    if kind == "choice":
        return value in ("first", "second")
    number = (
        isinstance(value, (int, float))
        and not isinstance(value, (bool, Hour))
        and 0 < value < math.inf
    )
    return number if kind == "length" else isinstance(value, Hour)


def _right(value: Answer | None, truth: Truth) -> bool:
    if not _fits(value, truth.category):
        return False
    kind = _kind(truth.category)
    if kind == "length":  # both ends count, whatever the last bit of a product says
        return 0.75 - 1e-9 <= value / truth.value <= 1.25 + 1e-9
    return _error(value, truth) <= 1 if kind == "clock" else value == truth.value


def _error(value: float, truth: Truth) -> float:
    """Relative error of a length, or hours between two directions on the circle."""
    gap = abs(value - truth.value)
    return min(gap, 12 - gap) if truth.category == "direction" else gap / truth.value
