"""Objects: what is asked is true of the boxes, every wording of an answer is judged alike, scores
are by the book."""

import itertools
import json
import math
import random
import string

import numpy as np
import pytest

from tests.conftest import says
from vlm3 import tasks
from vlm3.geometry import Camera, rotation_from_ypr, transform
from vlm3.reference import PixelText
from vlm3.sources.rooms import Rooms
from vlm3.tasks import text as words
from vlm3.tasks.categories import POLES
from vlm3.tasks.objects import Hour, Objects, Truth
from vlm3.tasks.relations import guesses
from vlm3.views import QA, Box, View

objects = tasks.get("objects")

SIZE = (400, 300)
OPPOSITE = {
    "left": "right",
    "above": "below",
    "behind": "front",
    "big": "small",
    "tall": "short",
    "wide": "thin",
}
OPPOSITE |= {other: word for word, other in OPPOSITE.items()}
QUANTITIES = {
    "distance_data",
    "horizontal_distance_data",
    "vertical_distance_data",
    "width_data",
    "height_data",
}
CATEGORIES = (
    {f"{word}_{kind}" for word in OPPOSITE for kind in ("predicate", "choice")}
    | QUANTITIES
    | {"direction"}
)
NAMES = ("lamp", "floor lamp", "chair", "tall cabinet", "desk", "left speaker", "sofa", "bin")


def scene(rng, count=5, posed=True, **known):
    """Boxes at random: in the image where their centres project, some without centre or size."""
    camera = Camera(300, 310, 190, 160, *SIZE)
    boxes = []
    while len(boxes) < count:
        centre = rng.uniform([-3, -2, 1.5], [3, 2, 9])
        u, v = centre[:2] / centre[2] * [300, 310] + [190, 160]
        half = rng.uniform(4, 25, 2)
        if half[0] <= u <= SIZE[0] - half[0] and half[1] <= v <= SIZE[1] - half[1]:
            corners = (u - half[0], v - half[1], u + half[0], v + half[1])
            fields = {"centre_m": tuple(centre), "size_m": tuple(rng.uniform(0.1, 2.5, 3))} | known
            boxes.append(Box(*corners, NAMES[len(boxes) % len(NAMES)], **fields))
    pose = np.eye(4)
    pose[:3, :3] = rotation_from_ypr(*rng.uniform([-180, -50, -20], [180, 50, 20]))
    pose[:3, 3] = rng.uniform(-5, 5, 3)
    return View(
        np.zeros((SIZE[1], SIZE[0], 3), np.uint8),
        camera,
        world_from_cam=pose if posed else None,
        boxes=tuple(boxes),
    )


def asked_about(qa, view):
    """The boxes that a question names, in their order."""
    found = {qa.question.find(PixelText(1000).encode_box(box, SIZE)): box for box in view.boxes}
    return [box for place, box in sorted(found.items()) if place >= 0]


# The same values, worked out box by box in the world.


def in_world(view, box):
    point = np.array(box.centre_m)
    return point if view.world_from_cam is None else transform(view.world_from_cam, point)


def first_is(word, a, b, view):
    """Whether a stands so to b, clearly; None where it is close or image and space disagree."""
    if word in ("right", "below", "front", "small", "short", "thin"):
        return first_is(OPPOSITE[word], b, a, view)
    if word in ("left", "above"):
        axis = 0 if word == "left" else 1
        pixels = (b[axis] + b[axis + 2] - a[axis] - a[axis + 2]) / 2
        metres = (
            b.centre_m[0] - a.centre_m[0]
            if axis == 0
            else in_world(view, b)[1] - in_world(view, a)[1]
        )
        gaps = [pixels / SIZE[axis] / 0.05, metres / 0.1]
    elif word == "behind":
        gaps = [
            (a.centre_m[2] - b.centre_m[2]) / 0.1,
            (math.dist((0, 0, 0), a.centre_m) - math.dist((0, 0, 0), b.centre_m)) / 0.1,
        ]
    else:
        ratio = {
            "wide": a.size_m[0] / b.size_m[0],
            "tall": a.size_m[1] / b.size_m[1],
            "big": math.prod(a.size_m) / math.prod(b.size_m),
        }[word]
        gaps = [math.log(ratio) / math.log(1.2)]
    return True if min(gaps) >= 1 else False if max(gaps) <= -1 else None


def quantity(category, a, b, view):
    if category in ("width_data", "height_data"):
        return a.size_m[category == "height_data"]
    gap = in_world(view, b) - in_world(view, a)
    if category != "direction":
        return {
            "distance": np.linalg.norm(gap),
            "horizontal_distance": math.hypot(gap[0], gap[2]),
            "vertical_distance": abs(gap[1]),
        }[category.removesuffix("_data")]
    looks = (0, 0, 1) if view.world_from_cam is None else view.world_from_cam[:3, 2]
    # seen from above, x to the right and z up the page, angles grow to the left
    turn = math.atan2(looks[2], looks[0]) - math.atan2(gap[2], gap[0])
    return round(math.degrees(turn) / 30) % 12 or 12


@pytest.mark.parametrize("posed", [True, False])
def test_what_is_asked_is_true_of_the_boxes(posed):
    rng = np.random.default_rng(1)
    seen = set()
    for _ in range(60):
        view = scene(rng, posed=posed)
        for qa in objects.ask([view], 30, rng):
            category, value, names = qa.truth
            boxes = asked_about(qa, view)
            assert category in CATEGORIES
            seen.add(category)
            word, _, kind = category.rpartition("_")
            if kind in ("predicate", "choice"):
                assert first_is(word, *boxes, view) is (value is True or value == "first"), qa
                assert (
                    objects.templates["statement" if kind == "predicate" else "choice"][
                        "relations"
                    ][word]
                    in qa.question
                )
                assert names == (boxes[0].name, boxes[1].name)
            elif category == "direction":
                a, b = boxes if names == (boxes[0].name, boxes[1].name) else boxes[::-1]
                assert value == quantity(category, a, b, view), qa
            else:
                assert value == pytest.approx(quantity(category, boxes[0], boxes[-1], view)), qa
                assert "metres" in qa.question
    assert seen == CATEGORIES


def test_half_of_the_statements_hold_and_half_of_the_choices_are_the_first():
    rng = np.random.default_rng(2)
    truths = [qa.truth for _ in range(200) for qa in objects.ask([scene(rng)], 20, rng)]
    for kind in ("predicate", "choice"):
        values = [
            truth.value in (True, "first") for truth in truths if truth.category.endswith(kind)
        ]
        assert len(values) > 500
        assert np.mean(values) == pytest.approx(0.5, abs=0.07)
    assert np.mean([t.category.endswith(("predicate", "choice")) for t in truths]) == pytest.approx(
        0.5, abs=0.05
    )


def test_questions_of_one_sample_differ_and_come_again_with_the_same_seed():
    view = scene(np.random.default_rng(3), 3)
    qas = objects.ask([view], 60, np.random.default_rng(4))
    assert len({(qa.truth.category, *asked_about(qa, view)) for qa in qas}) > 40
    assert len({qa.question for qa in qas}) == len(qas) == 60
    assert qas == objects.ask([view], 60, np.random.default_rng(4))
    assert objects.ask([view], 0, np.random.default_rng(4)) == []


def test_what_the_package_answers_is_parsed_and_right():
    rng = np.random.default_rng(5)
    qas = [qa for _ in range(40) for qa in objects.ask([scene(rng)], 25, rng)]
    for qa in qas:
        value = says(objects, qa.answer)
        assert (
            value == pytest.approx(qa.truth.value, abs=0.006)
            if isinstance(value, float)
            else value == qa.truth.value
        )
        assert type(value) is type(qa.truth.value)
        assert objects.judge(qa, qa.answer)
    found = objects.score([(says(objects, qa.answer), qa.truth) for qa in qas])
    assert found["qualitative"] == found["quantitative"] == found["parsed"] == 1


def pair(a, b, **known):
    boxes = (Box(40, 40, 90, 90, "a", **a), Box(40 + 10, 40 + 10, 90 + 10, 90 + 10, "b", **b))
    return View(
        np.zeros((300, 400, 3), np.uint8), None, world_from_cam=known.get("pose"), boxes=boxes
    )


def categories(view, n=200):
    return {
        qa.truth.category.rpartition("_")[0] or qa.truth.category
        for qa in objects.ask([view], n, np.random.default_rng(0))
    }


def test_near_ties_are_not_asked():
    # 2.5 and 3.3 per cent of the image apart, 9 cm apart along every axis, sizes within a fifth
    a = {"centre_m": (0, 0, 4), "size_m": (1.0, 1.0, 1.0)}
    b = {"centre_m": (0.09, 0.09, 4.09), "size_m": (1.15, 1.15, 0.85)}
    assert categories(pair(a, b)) == {
        "width",
        "height",
        "distance",
        "horizontal_distance",
        "direction",
    }
    assert {"big", "small"} <= categories(pair(a, {**b, "size_m": (1.15, 1.15, 1.15)}))
    assert {"tall", "short"} <= categories(pair(a, {**b, "size_m": (1.15, 1.3, 0.85)}))


def test_the_image_and_space_must_agree():
    # image: b is right of and below a by 12 and 17 per cent; space: b is left of it and higher
    a, b = Box(40, 40, 90, 90, "a", (0, 0, 4)), Box(90, 90, 140, 140, "b", (-1, -1, 4))
    view = View(np.zeros((300, 400, 3), np.uint8), None, boxes=(a, b))
    assert not categories(view) & {"left", "right", "above", "below"}
    flat = View(view.image, None, boxes=(a._replace(centre_m=None), b._replace(centre_m=None)))
    assert categories(flat) == {"left", "right", "above", "below"}


def test_up_is_up_in_the_world_not_in_the_camera():
    # A camera that looks 90 degrees down: what is far from it is low.
    pose = np.eye(4)
    pose[:3, :3] = rotation_from_ypr(0, -60, 0)
    a, b = {"centre_m": (0, 0, 3)}, {"centre_m": (0, 0, 5)}
    truths = {
        qa.truth.category: qa.truth.value
        for qa in objects.ask([pair(a, b, pose=pose)], 50, np.random.default_rng(0))
    }
    assert truths["vertical_distance_data"] == pytest.approx(2 * math.sin(math.radians(60)))
    assert truths["horizontal_distance_data"] == pytest.approx(1)
    straight = np.eye(4)
    straight[:3, :3] = rotation_from_ypr(0, -90, 0)
    assert "direction" not in categories(pair(a, b, pose=straight))


@pytest.mark.parametrize(
    ("gap", "hour"),
    [
        ((0, 0, 2), 12),
        ((2, 0, 0), 3),
        ((0, 0, -2), 6),
        ((-2, 0, 0), 9),
        ((1, 0, 1.7321), 1),
        ((-1, 0, 1.7321), 11),
        ((0.5, 3, 2), 12),
    ],
)
def test_twelve_points_away_from_the_camera_and_three_to_its_right(gap, hour):
    a, b = {"centre_m": (0, 0, 4)}, {"centre_m": tuple(np.add((0, 0, 4), gap))}
    only = Objects({"scale": 1000, "clock": objects.templates["clock"]})
    hours = {
        qa.truth.names: qa.truth.value
        for qa in only.ask([pair(a, b)], 20, np.random.default_rng(0))
    }
    assert hours == {("a", "b"): hour, ("b", "a"): (hour + 6) % 12 or 12}


def test_too_few_boxes_are_a_clear_error():
    blank = np.zeros((300, 400, 3), np.uint8)
    with pytest.raises(ValueError, match="needs a view with boxes"):
        objects.ask([View(blank, None)], 3, np.random.default_rng(0))
    one = Box(10, 10, 50, 50, "chair")
    with pytest.raises(ValueError, match=r"1 box.*two that clearly differ"):
        objects.ask([View(blank, None, boxes=(one,))], 3, np.random.default_rng(0))
    sized = View(blank, None, boxes=(one._replace(size_m=(0.5, 0.9, 0.5)),))
    assert categories(sized) == {"width", "height"}
    with pytest.raises(ValueError, match="2 box"):  # of the same place
        objects.ask(
            [View(blank, None, boxes=(one, one._replace(name="table")))],
            3,
            np.random.default_rng(0),
        )


def test_templates_of_a_reader_are_used_instead(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("""
        scale = 100
        [statement]
        questions = ["The {name_a} ({box_a}) is {relation} the {name_b} ({box_b}): true or false?"]
        answer = "{value}!"
        values = ["True", "False"]
        [statement.relations]
        tall = "towering over"
        [height]
        questions = ["Height of {box_a}?"]
        answer = "It is {value:.2f} m."
    """)
    qas = Objects(words.load(path)).ask(
        [scene(np.random.default_rng(6))], 20, np.random.default_rng(7)
    )
    assert {qa.truth.category for qa in qas} == {"tall_predicate", "height_data"}
    for qa in qas:
        assert "towering over" in qa.question or qa.question.startswith("Height of (")
        assert objects.judge(qa, qa.answer)
        assert (
            max(int(n) for n in "".join(c if c.isdigit() else " " for c in qa.question).split())
            < 100
        )
    backwards = (
        path.read_text()
        .replace("{name_a} ({box_a})", "{name_b} ({box_b})")
        .replace("{name_b} ({box_b}):", "{box_a}:")
    )
    path.write_text(backwards)
    with pytest.raises(ValueError, match="second object before the first"):
        Objects(words.load(path)).ask(
            [scene(np.random.default_rng(6))], 20, np.random.default_rng(7)
        )


def test_relations_without_a_phrase_are_not_asked():
    silenced = {"statement": {"relations": {"left": ""}}, "choice": {"relations": {"front": ""}}}
    silent = tasks.get("objects", silenced)
    rng = np.random.default_rng(1)
    seen = {qa.truth.category for _ in range(60) for qa in silent.ask([scene(rng)], 30, rng)}
    assert CATEGORIES - seen == {"left_predicate", "front_choice"}
    assert len(objects.questions(2, rng)) == len(silent.questions(2, rng)) + 2


# Scores.


def test_scores_of_a_worked_example():
    pairs = [
        (True, Truth("left_predicate", True)),
        ("second", Truth("right_choice", "second")),
        (None, Truth("left_choice", "first")),
        (False, Truth("tall_predicate", True)),
        (True, Truth("below_predicate", True)),
        ("first", Truth("behind_choice", "second")),
        (True, Truth("small_choice", "first")),  # of another type
        (False, Truth("thin_predicate", False)),
        (1.25, Truth("distance_data", 1.0)),  # in, at the upper end: 0.25
        (1.5, Truth("distance_data", 2.0)),  # in, at the lower end: 0.25
        (1.5, Truth("horizontal_distance_data", 1.0)),  # 0.5
        (None, Truth("vertical_distance_data", 1.0)),
        (0.7, Truth("width_data", 1.0)),  # 0.3
        (3.0, Truth("height_data", 3.0)),  # 0
        (Hour(12), Truth("direction", Hour(1))),  # 1 hour
        (Hour(5), Truth("direction", Hour(9))),  # 4 hours
        (Hour(11), Truth("direction", Hour(2))),  # 3 hours
        (3.0, Truth("direction", Hour(3))),  # metres, not an hour
    ]
    found = objects.score(pairs)
    assert found == pytest.approx(
        {
            "qualitative": 4 / 8,
            "quantitative": 4 / 10,
            "parsed": 14 / 18,
            "abs_rel": (0.25 + 0.25 + 0.5 + 0.3 + 0) / 5,
            "clock_error_deg": 30 * (1 + 4 + 3) / 3,
            "left_right": 2 / 3,
            "tall_short": 0,
            "below_above": 1,
            "behind_front": 0,
            "big_small": 0,
            "wide_thin": 1,
            "distance": 1,
            "horizontal_distance": 0,
            "vertical_distance": 0,
            "width": 0,
            "height": 1,
            "direction": 1 / 4,
            "distance_abs_rel": 0.25,
            "horizontal_distance_abs_rel": 0.5,
            "vertical_distance_abs_rel": math.nan,
            "width_abs_rel": 0.3,
            "height_abs_rel": 0,
        },
        nan_ok=True,
    )
    assert (
        objects.score(
            json.loads(json.dumps([(v, t) for v, t in pairs if not isinstance(v, Hour)]))
        )["distance"]
        == 1
    )
    with pytest.raises(ValueError, match="nothing to score"):
        objects.score([])


def test_every_score_is_there_whatever_was_asked():
    assert set(objects.score([(True, Truth("left_predicate", True))])) == set(
        objects.score([(2.0, Truth("width_data", 2.0))])
    )


def test_both_ends_of_the_range_count_whatever_floating_point_makes_of_them():
    for g in np.random.default_rng(8).uniform(0.01, 30, 500).round(2).tolist():
        for p in (0.75 * g, round(0.75 * g, 6), 1.25 * g, round(1.25 * g, 6)):
            assert objects.score([(p, Truth("width_data", g))])["width"] == 1, (p, g)
        for p in (0.7499 * g, 1.2501 * g):
            assert objects.score([(p, Truth("width_data", g))])["width"] == 0, (p, g)


def test_scores_agree_with_long_hand_numpy_on_random_answers():
    rng = np.random.default_rng(9)
    for _ in range(20):
        n = 300
        kinds = rng.choice(sorted(CATEGORIES), n)
        truths, answers = [], []
        for kind in kinds:
            draws = (
                [True, False]
                if kind.endswith("_predicate")
                else ["first", "second"]
                if kind.endswith("_choice")
                else list(range(1, 13))
                if kind == "direction"
                else rng.uniform(0.1, 5, 2).tolist()
            )
            truth, answer = (draws[rng.integers(len(draws))] for _ in range(2))
            truths.append(Hour(truth) if kind == "direction" else truth)
            answers.append(
                None if rng.random() < 0.2 else Hour(answer) if kind == "direction" else answer
            )
        found = objects.score(
            [(a, Truth(k, t)) for a, k, t in zip(answers, kinds.tolist(), truths, strict=True)]
        )
        length = np.isin(kinds, sorted(QUANTITIES))
        said = np.array([a is not None for a in answers])
        p = np.array([float(a) if type(a) is float else np.nan for a in answers])
        g = np.array([float(t) if type(t) is float else np.nan for t in truths])
        hours = np.array(
            [
                (a - t) % 12 if isinstance(a, Hour) else np.nan
                for a, t in zip(answers, truths, strict=True)
            ]
        )
        hours = np.minimum(hours, 12 - hours)
        hit = np.array([a == t for a, t in zip(answers, truths, strict=True)])
        hit = np.where(
            length,
            (p >= 0.75 * g) & (p <= 1.25 * g),
            np.where(kinds == "direction", hours <= 1, hit),
        )
        quantitative = length | (kinds == "direction")
        assert found["qualitative"] == pytest.approx(hit[~quantitative].mean())
        assert found["quantitative"] == pytest.approx(hit[quantitative].mean())
        assert found["abs_rel"] == pytest.approx(np.nanmean(np.abs(p - g) / g))
        assert found["clock_error_deg"] == pytest.approx(30 * np.nanmean(hours))
        assert found["parsed"] == pytest.approx(said.mean())
        for one, other in list(OPPOSITE.items())[:6]:
            mine = np.isin(
                kinds, [f"{w}_{k}" for w in (one, other) for k in ("predicate", "choice")]
            )
            bucket = next(b for b in found if set(b.split("_")) == {one, other})
            assert found[bucket] == pytest.approx(hit[mine].mean())
        for kind in QUANTITIES:
            mine = kinds == kind
            assert found[kind[:-5]] == pytest.approx(hit[mine].mean())
            assert found[f"{kind[:-5]}_abs_rel"] == pytest.approx(
                np.nanmean((np.abs(p - g) / g)[mine]), nan_ok=True
            )


# Many wordings. The sentences below share no table with the judge.

SIDE = {
    "left": [
        "to the left of",
        "on the left side of",
        "left of",
        "further left than",
        "positioned to the left of",
    ],
    "right": [
        "to the right of",
        "on the right side of",
        "right of",
        "further right than",
        "more to the right than",
    ],
    "above": [
        "above",
        "higher than",
        "over",
        "located above",
        "higher up than",
        "at a higher position than",
    ],
    "below": [
        "below",
        "lower than",
        "under",
        "underneath",
        "beneath",
        "lower down than",
        "situated below",
    ],
    "behind": [
        "behind",
        "farther from the camera than",
        "further away than",
        "further back than",
        "more distant than",
    ],
    "front": [
        "in front of",
        "closer to the camera than",
        "nearer than",
        "closer than",
        "nearer to the viewer than",
    ],
    "big": [
        "bigger than",
        "larger than",
        "larger in size than",
        "greater in volume than",
        "of a larger size than",
    ],
    "small": [
        "smaller than",
        "smaller in size than",
        "less big than",
        "of a smaller size than",
        "more compact than",
    ],
    "tall": [
        "taller than",
        "higher than",
        "of greater height than",
        "larger in height than",
        "greater in height than",
    ],
    "short": [
        "shorter than",
        "less tall than",
        "of less height than",
        "lower than",
        "smaller in height than",
    ],
    "wide": [
        "wider than",
        "broader than",
        "of greater width than",
        "larger in width than",
        "thicker than",
    ],
    "thin": [
        "thinner than",
        "narrower than",
        "less wide than",
        "of smaller width than",
        "slimmer than",
    ],
}
ADJECTIVE = {
    "left": ["further left", "more to the left", "the leftmost", "on the left"],
    "right": ["further right", "more to the right", "on the right side", "the rightmost one"],
    "above": ["higher", "higher up", "the upper one", "positioned above"],
    "below": ["lower", "lower down", "the lower one", "positioned below"],
    "behind": ["farther away", "further from the camera", "more distant", "farther back"],
    "front": ["closer", "closer to the camera", "nearer", "the nearest"],
    "big": ["bigger", "larger", "the larger one", "greater in size"],
    "small": ["smaller", "the smaller one", "less big", "smaller in size"],
    "tall": ["taller", "the taller one", "greater in height", "of more height"],
    "short": ["shorter", "the shorter one", "less tall", "lower in height"],
    "wide": ["wider", "broader", "the wider one", "greater in width"],
    "thin": ["thinner", "narrower", "less wide", "the slimmer one"],
}
AS = {"tall": "tall", "wide": "wide", "big": "big", "behind": "far away", "above": "high"}
AGREE = [
    "Yes",
    "Yes.",
    "yes",
    "YES!",
    "Indeed.",
    "Correct.",
    "That is true.",
    "True",
    "That's correct.",
    "Yeah.",
    "**Yes**",
    "Absolutely.",
    "It is.",
    "The answer is yes.",
    "Answer: Yes",
    "Of course.",
    "I think so.",
    "That is right.",
]
AGREE_AND = [
    "Yes, {a} {is_} {r} {b}.",
    "Indeed, {a} {is_} {r} {b}.",
    "Correct, {a} {is_} {r} {b}.",
    "That is True, {a} {is_} {r} {b}.",
    "{a} {is_} {r} {b}.",
    "{b} {is_} {o} {a}.",
    "I think {a} {is_} {r} {b}.",
    "From this view, {a} {is_} {r} {b}",
    "{a} {is_} not {o} {b}, but {r} it.",
    "You'll find {a} {r} {b}.",
    "In the image, {a} is clearly {r} {b}. So the answer is yes.",
    "It is {r} {b}.",
    "{b} isn't {r} {a}.",
    "It is true that {a} {is_} {r} {b}.",
    "{a} {is_} {r} {b}, while {b} {is_} {o} {a}.",
    "Sure, {a} {is_} {r} {b}.",
    "Actually yes, {a} {is_} {r} {b}.",
    "In fact, {a} {is_} indeed {r} {b}.",
]
DENY = [
    "No",
    "No.",
    "no",
    "NO!",
    "Incorrect.",
    "False",
    "That is false.",
    "That's not true.",
    "Not really.",
    "Nope.",
    "It isn't.",
    "It is not.",
    "The answer is no.",
    "Answer: No",
    "I disagree.",
    "Certainly not.",
    "Wrong.",
    "On the contrary.",
    "I don't think so.",
    "Not at all.",
]
DENY_AND = [
    "No, {a} {is_} not {r} {b}.",
    "Incorrect, {a} {is_} not {r} {b}.",
    "In fact, {a} {is_} {o} {b}.",
    "Actually, {a} {is_} {o} {b}.",
    "That is False, {a} {is_} {o} {b}.",
    "{a} {is_} {o} {b}.",
    "{b} {is_} {r} {a}.",
    "{a} {is_} not {r} {b}.",
    "{a} isn't {r} {b}.",
    "{a} {is_} {o} {b}, not {r} it.",
    "No; {b} {is_} {r} {a}.",
    "Actually, {a} {is_} either {o} {b} or level with it.",
    "In reality, {b} {is_} {r} {a}.",
    "It is false that {a} {is_} {r} {b}.",
    "It is not true that {a} {is_} {r} {b}.",
    "It is {o} {b}.",
    "I don't think {a} {is_} {r} {b}.",
    "{b} {is_} {r} {a}, so the answer is no.",
    "{a} cannot be {r} {b}.",
    "Definitely not, {a} {is_} {o} {b}.",
]
PICK = [
    "{x}",
    "{x}.",
    "It is {x}.",
    "The answer is {x}.",
    "{x} is {j}.",
    "{x} appears {j}.",
    "{x} is {r} {y}.",
    "Between {a} and {b}, {x} is {j}.",
    "Of {a} and {b}, {x} is {j}.",
    "{y} is {o} {x}.",
    "{y} is not {j}.",
    "{x} is {j}, {y} is {k}.",
    "{x} is {j} while {y} is {k}.",
    "The one that is {j} is {x}.",
    "{y} is {k}.",
    "Compared to {y}, {x} is {j}.",
    "Compared with {y}, {x} is {j}.",
    "I would say {x}.",
    "{x}, not {y}.",
    "{x} rather than {y}.",
    "{x} is definitely {j}.",
    "{y} isn't {r} {x}.",
    "{y} is {k} and {x} is {j}.",
    "Standing out as {j} is {x}.",
    "Clearly, {x} is {r} {y}.",
]
HOW_LONG = [
    "{v}",
    "{v}.",
    "About {v}.",
    "{a} and {b} are {v} apart.",
    "It is roughly {v}",
    "The answer is {v}.",
    "<think>They look 9 m away from 1 tree.</think><answer>{v}</answer>",
    "A distance of {v} lies between {a} and {b}.",
    "{a} measures {v}.",
    "Approximately {v} of space exists there.",
    "Exactly {v}.",
]
AT_HOUR = [
    "{h} o'clock",
    "{h} o'clock.",
    "At {h} o'clock.",
    "{b} is at {h} o'clock.",
    "{b} is roughly at {h} o\u2019clock from {a}.",
    "Towards {h} o'clock",
    "Answer: {h} o'clock",
    "You would find {b} at your {h} o'clock.",
    "{h} O'Clock",
    "With 12 o'clock straight ahead, {b} is at {h} o'clock.",
    "<answer>{h} o'clock</answer>",
    "{h}",
]
HOURS = [
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
]


def referred(style, qa, view, draw):
    """The question with its objects named in a style, and how an answer calls them."""
    texts = [PixelText(1000).encode_box(box, SIZE) for box in asked_about(qa, view)]
    if style == "region":
        keys = ["Region [0]", "Region [1]"] if draw.random() < 0.5 else ["Region [4]", "Region [2]"]
    elif style == "box region":
        keys = [f"bounding box region {text}" for text in texts]
    elif style == "name":
        keys = [f"the {box.name}" for box in asked_about(qa, view)]
    else:
        keys = texts
    for text, key in zip(texts, keys, strict=False):
        qa = qa._replace(question=qa.question.replace(text, key))
    if style == "box":
        form = draw.choice(
            ["the object in box {}", "the object at {}", "object {}", "what box {} holds"]
        )
        keys = [form.format(text) for text in texts]
        if qa.truth.category.endswith("_choice") and draw.random() < 0.6:
            keys = draw.choice(
                [
                    ["the first object", "the second object"],
                    ["the first", "the second"],
                    ["Object 1", "Object 2"],
                    ["the former", "the latter"],
                    [f"the first object, in box {texts[0]},", "the second"],
                ]
            )
    elif style == "name" and draw.random() < 0.3:
        keys = [key.title() for key in keys]
    return qa, [*keys, *keys][:2]


def told(metres, draw):
    """A length in some unit, as people write it."""
    inches = metres / 0.0254
    return draw.choice(
        [
            f"{metres:.4f} m",
            f"{metres:.4f}m",
            f"{metres:.4f} metres",
            f"{metres:.4f} meters",
            f"{metres * 100:.2f} cm",
            f"{metres * 100:.2f} centimeters",
            f"{metres * 1000:.1f} mm",
            f"{inches:.2f} inches",
            f"{inches:.2f} in",
            f"{inches / 12:.3f} feet",
            f"{inches / 12:.3f} ft",
            f"{int(inches // 12)} ft {inches % 12:.1f} in",
            f"{int(inches // 12)} feet and {inches % 12:.1f} inches",
            f"{int(inches // 12)}'{inches % 12:.1f}\"",
            f"{metres:.4f} meters ({inches / 12:.3f} feet)",
            f"{metres:.4f}",
            f"{int(metres * 1000):,} mm",
            f"{inches:.2f}-inch",
            f"{inches / 12:.3f} Feet",
        ]
    )


def wording(qa, keys, right, draw):
    """An answer to the question in one of many wordings that is right, or is not."""
    category, value, _ = qa.truth
    word = category.split("_")[0]
    a, b = keys
    if category == "direction":
        hour = (value + draw.choice([-1, 0, 1] if right else range(2, 11)) - 1) % 12 + 1
        return draw.choice(AT_HOUR).format(h=draw.choice([hour, hour, HOURS[hour - 1]]), a=a, b=b)
    if category in QUANTITIES:
        factor = (
            draw.uniform(0.76, 1.24)
            if right
            else draw.choice([draw.uniform(0.1, 0.74), draw.uniform(1.26, 8)])
        )
        return draw.choice(HOW_LONG).format(v=told(value * factor, draw), a=a, b=b)
    r, o = draw.choice(SIDE[word]), draw.choice(SIDE[OPPOSITE[word]])
    if isinstance(value, bool):
        claims = value is right
        short, long = (AGREE, AGREE_AND) if claims else (DENY, DENY_AND)
        form = draw.choice(short) if draw.random() < 0.2 else draw.choice(long)
        is_ = (
            draw.choice(["is", "is", "is clearly", "appears", "stands"])
            if "not" not in form
            else "is"
        )
        return form.format(a=a, b=b, r=r, o=o, is_=is_)
    x, y = (a, b) if (value == "first") is right else (b, a)
    if draw.random() < 0.1 and word in AS:
        return f"{y} is not as {AS[word]} as {x}."
    j, k = draw.choice(ADJECTIVE[word]), draw.choice(ADJECTIVE[OPPOSITE[word]])
    return draw.choice(PICK).format(a=a, b=b, x=x, y=y, r=r, o=o, j=j, k=k)


def worded_answers(count, seed):
    rng, draw = np.random.default_rng(seed), random.Random(seed)
    while count > 0:
        view = scene(rng)
        for qa in objects.ask([view], 20, rng):
            style = draw.choice(["box", "box", "region", "box region", "name"])
            worded, keys = referred(style, qa, view, draw)
            if style != "name":
                worded = worded._replace(truth=worded.truth._replace(names=()))
            right = draw.random() < 0.5
            answer = wording(worded, keys, right, draw)
            yield worded, answer[0].upper() + answer[1:], right
            count -= 1


def test_the_judge_makes_no_mistake_in_2000_answers_of_many_wordings():
    cases = list(itertools.islice(worded_answers(2000, seed=1), 2000))
    assert len({answer for _, answer, _ in cases}) > 1500
    assert {qa.truth.category for qa, _, _ in cases} == CATEGORIES
    assert [
        (qa, answer, right) for qa, answer, right in cases if objects.judge(qa, answer) is not right
    ] == []


def stated(category, question, names=()):
    return QA(category, (), question, truth=Truth(category, None, names))


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("To the left of Region [1] is Region [0].", True),
        ("To the left of Region [0] is Region [1].", False),
        ("Region [1] has Region [0] to its left.", True),
        (
            "Looking at the picture, Region [1] lies to the right, so Region [0] is left of it.",
            True,
        ),
        ("Actually, the opposite: Region [1] is to the left of Region [0].", False),
        ("Is Region [0] to the left of Region [1]? No.", False),
        ("No doubt, Region [0] is on the left.", True),
        ("Region [0] is not only near but also left of Region [1].", True),
        ("I'm afraid not.", False),
        ("Compared to Region [1], Region [0] is further to the right.", False),
        ("Region [0] is right.", False),
        ("That's right, Region [0] is left of Region [1].", True),
        (
            "In fact, Region [0] is either to the right of or directly aligned with Region [1].",
            False,
        ),
        ("yes or no", None),
        ("Yes No", None),
        ("Region [0] is neither left nor right.", None),
        ("I cannot tell.", None),
        ("", None),
        ("Region [7] is left of Region [8].", True),
    ],
)
def test_statements_in_words(answer, said):
    assert (
        objects.read(stated("left_predicate", "Is Region [0] to the left of Region [1]?"), answer)
        is said
    )


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("With more height is Region [1].", "second"),
        ("Standing taller between the two is Region [0].", "first"),
        ("The height of Region [0] is greater than that of Region [1].", "first"),
        (
            "Region [0]'s height is 2 m and that of Region [1] is 1 m, so Region [0] is taller.",
            "first",
        ),
        ("Region [1] exceeds Region [0] in height.", "second"),
        ("Region [0] is exceeded in height by Region [1].", "second"),
        (
            "Out of Region [0] and Region [1], it is Region [1] that has the larger height.",
            "second",
        ),
        ("The taller of Region [0] and Region [1] is Region [1].", "second"),
        ("Region [1] because Region [0] is shorter.", "second"),
        ("[1]", "second"),
        ("1", "second"),
        ("the former", "first"),
        ("Region [0] and Region [1] are equally tall.", None),
        ("Neither.", None),
        ("", None),
        ("Region [0] is taller. Region [1] is taller.", None),
    ],
)
def test_choices_in_words(answer, said):
    assert (
        objects.read(stated("tall_choice", "Who is taller, Region [0] or Region [1]?"), answer)
        == said
    )


def test_objects_are_known_by_name_or_its_last_word():
    qa = stated(
        "big_choice",
        "Which is bigger, the office chair or the small table?",
        ("office chair", "small table"),
    )
    assert objects.read(qa, "The chair.") == "first"
    assert objects.read(qa, "The small table is bigger.") == "second"
    assert objects.read(qa, "The office chair is smaller than the table.") == "second"
    assert (
        objects.read(qa._replace(truth=qa.truth._replace(names=("chair", "chair"))), "The chair.")
        is None
    )


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", True),
        ("No.", False),
        ("True.", True),
        ("<think>yes</think>No", False),
        ("<answer>Yes</answer>", True),
        ("That is not true.", False),
        ("In fact, it is the other one.", False),
        ("It's smaller. So the answer is no.", False),
        ("first", "first"),
        ("The second one.", "second"),
        ("the first or the second", None),
        ("not the first", None),
        ("2.40 metres", 2.4),
        ("2.4", 2.4),
        ("about 240 cm", 2.4),
        ("5 ft 3 in", 1.6002),
        ("5'3\"", 1.6002),
        ("1,200 mm", 1.2),
        ("two feet", 0.6096),
        ("half a metre", 0.5),
        ("Region [0] is 3 inches wide.", 0.0762),
        ("1.50 m (4.92 feet)", 1.5),
        ("The first object is 2 m wide.", 2.0),
        ("-3 m", None),
        ("0 m", None),
        ("2 m and 3 m", None),
        ("2,4 m", None),
        ("45 degrees", None),
        ("between 2 and 3 m", None),
        ("1e3 m", None),
        ("9" * 400 + " m", None),
        ("2 to 3 m", None),
        ("3 o'clock", Hour(3)),
        ("at twelve o\u2019clock", Hour(12)),
        ("13 o'clock", None),
        ("0 o'clock", None),
        ("2-3 o'clock", None),
        ("3.5 o'clock", None),
        ("3 o'clock or 4 o'clock", None),
        ("-3 o'clock", None),
        ("o'clock", None),
        ("If 12 o'clock is ahead, it is at 3 o'clock.", Hour(3)),
        ("", None),
        ("I do not know", None),
        ("clockwise", None),
        ("\u0663 o'clock", None),
        ("\u0663 m", None),
        ("nan m", None),
        ("inf", None),
    ],
)
def test_answers_without_their_question(text, value):
    found = says(objects, text)
    assert type(found) is type(value)
    assert found == (pytest.approx(value) if isinstance(value, float) else value)


def test_a_bare_number_is_an_hour_only_where_one_is_asked_for():
    assert objects.judge(QA("direction", (), "Which hour?", truth=Truth("direction", Hour(3))), "4")
    assert says(objects, "4") == 4.0
    assert not objects.judge(
        QA("width_data", (), "How wide?", truth=Truth("width_data", 4.0)), "4 o'clock"
    )


def test_released_truths_are_read_from_their_sentences():
    ask_left = "Is {} smaller than {}?".format(*BOXED)
    false = "Incorrect, {} is not smaller than {}.".format(*BOXED)
    names = ("lamp", "television")
    qa = QA("small_predicate", (), ask_left, false, ("small_predicate", false, names))
    assert objects.truth(qa) == Truth("small_predicate", False, names)
    assert objects.judge(qa, "No, the lamp is bigger.")
    assert not objects.judge(qa, "The television is larger than the lamp.")
    for category, answer, value in [
        ("height_data", "It is 45.0 inches.", 1.143),
        ("direction", "At 7 o'clock.", Hour(7)),
        ("tall_choice", "Region [1] is taller.", "second"),
        ("tall_choice", "first", "first"),
        ("direction", 7, Hour(7)),
        ("left_predicate", True, True),
    ]:
        asked = QA(category, (), "Region [0] or Region [1]?", truth=(category, answer))
        found = objects.truth(asked).value
        assert type(found) is type(value)
        assert found == (pytest.approx(value) if isinstance(value, float) else value)
    for category, answer in [
        ("height_data", "Tall."),
        ("direction", 13),
        ("left_predicate", "?"),
        ("width_data", -1.0),
        ("width_data", True),
    ]:
        with pytest.raises(ValueError, match=f"no value of category '{category}'"):
            objects.truth(QA(category, (), "", truth=(category, answer)))
    for category in ("colour_predicate", "left_data", "clock", "", None, 7, "_choice"):
        with pytest.raises(ValueError, match="no category"):
            objects.truth(QA("", (), "", truth=(category, "yes")))


def test_a_question_is_read_by_its_kind_where_no_truth_is_at_hand():
    """A model that is asked about the user's own photo."""
    boxes = ((10.0, 39.0, 652.0, 999.0), (6.0, 380.0, 228.0, 562.0))
    asked = QA("left_predicate", boxes, f"Is {boxes[0]} left of {boxes[1]}?")
    assert objects.read(asked, "It is to the right of it.") is False
    assert objects.read(asked._replace(kind="direction"), "4") == Hour(4)
    assert (
        objects.read(asked._replace(kind="tall_choice"), "Box (6, 380, 228, 562) is shorter.")
        == "first"
    )
    wide = asked._replace(kind="width_data", about=boxes[:1])
    for text in ("2 m", "The box 10, 39, 652, 999 is 2 m wide", "(10, 39, 652, 999): 2"):
        assert objects.read(wide, text) == objects.read(wide._replace(kind=""), text) == 2.0
    assert objects.read(wide, "yes") is None
    assert objects.read(wide._replace(kind=""), "yes") is True


def test_what_is_asked_of_unknown_objects_has_a_kind(rng):
    asked = objects.questions(2, rng)
    assert [qa.kind for qa in asked] == [
        "width_data",
        "height_data",
        "width_data",
        "height_data",
        "left_predicate",
        "front_choice",
        "distance_data",
        "direction",
    ]
    assert all(qa.truth is None for qa in asked)


# Anything at all.

PIECES = [
    "<think>",
    "</think>",
    "<answer>",
    "</answer>",
    "yes",
    "no",
    "in fact",
    "actually ",
    "the first",
    "second",
    "not ",
    "n't",
    " o'clock",
    "12",
    "3",
    "2.4",
    "1e9",
    "9" * 30,
    "-",
    "+",
    ".",
    ",",
    "(",
    ")",
    "[",
    "]",
    " ",
    "\n",
    "m",
    " metres",
    " ft",
    " in",
    "'",
    '"',
    "\u00b0",
    "\u0663",
    "\u2212",
    "\u2019",
    "\u2039",
    "\u203a",
    "\u20390\u203a",
    "nan",
    "inf",
    "Region [0]",
    "region 1",
    "object 2",
    "object a",
    "(1, 2, 3, 4)",
    "(1, 39, 652, 999)",
    " is ",
    " taller",
    "than ",
    " left",
    "right",
    " and ",
    "between ",
    "of ",
    "the ",
    "it is ",
    "one",
    "half a",
    "answer: ",
    "1,000",
    "less ",
    "as ",
    " has ",
    "lamp",
    "\u0130",
    "\0",
]


def adversarial(draw):
    if draw.random() < 0.2:
        return "".join(draw.choices(string.printable, k=draw.randrange(60)))
    return "".join(draw.choices(PIECES, k=draw.randrange(25)))


def in_range(value):
    if isinstance(value, Hour):
        return 1 <= value <= 12
    if isinstance(value, float):
        return 0 < value < math.inf
    return value is None or value is True or value is False or value in ("first", "second")


BOXED = "bounding box region (0, 39, 652, 999)", "bounding box region (6, 380, 228, 562)"
QUESTIONS = [
    stated("tall_choice", f"Which is taller, {BOXED[0]} or {BOXED[1]}?", ("lamp", "table")),
    stated("left_predicate", "Is Region [0] left of Region [1]?", ("lamp", "lamp")),
    stated("width_data", f"How wide is {BOXED[0]}?", ("lamp",)),
    stated("direction", "Where is Region [1] as seen from Region [0]?"),
]
KINDS = (str, bool, float, Hour)


def test_no_text_raises_or_gives_a_value_out_of_range():
    draw = random.Random(0)
    for _ in range(20_000):
        text = adversarial(draw)
        assert in_range(says(objects, text)), text
        k = draw.randrange(4)
        value = objects.read(QUESTIONS[k], text)
        assert in_range(value), text
        assert value is None or type(value) is KINDS[k], text


LONG = [
    "yes ",
    "in fact ",
    "the first ",
    "second",
    "not ",
    "n't",
    " o'clock",
    "3 o'clock",
    "2.4",
    "9",
    ".",
    "(",
    "[",
    " ",
    "\n",
    "1 m",
    "'",
    "\u2212",
    "\u0130",
    "\u20390\u203a, ",
    "Region [0] ",
    "object a ",
    "(1, 39, 652, 999) ",
    " taller",
    "than ",
    "between ",
    "of the ",
    "one ",
    "answer: ",
    "1,000,",
    "less ",
    " has ",
    "lamp",
    "5 ft 3 ",
    "(1, 2, 3,",
    "5'",
    "well, ",
    "region [",
    "the object in box ",
    "<answer>",
    "3 to ",
    "yes\n",
    "12 in ",
]


@pytest.mark.parametrize("piece", LONG)
def test_a_very_long_answer_is_read_as_quickly_as_its_length_allows(piece):
    text = (piece * 200_000)[:200_000]  # a quadratic pattern would take hours
    assert in_range(says(objects, text))
    for qa in QUESTIONS[::3]:  # a choice, which uses every pattern of relations, and an hour
        assert in_range(objects.read(qa, text))


def _as_boxes_suggest(contrary: float) -> float:
    """The share of relations of homes that are what their boxes suggest."""
    task, agreed = tasks.get("objects", {"scale": 1000}), []
    for index, (view,) in enumerate(Rooms("homes", "test", views=1).batch(range(60))):
        if len(view.boxes) < 2:
            continue
        guessed, rng = guesses(view), np.random.default_rng(index)
        places = [words.tuples(place)[0] for place in task._places(view)]
        for qa in task.ask([view], 12, rng, contrary=contrary):
            stem = qa.kind.rpartition("_")[0]
            if stem in POLES:
                (pole, sign), (a, b) = POLES[stem], map(places.index, qa.about)
                held = qa.truth.value in (True, "first")
                agreed.append((guessed[pole][a, b] == sign) == held)
    return float(np.mean(agreed))


def test_boxes_alone_answer_no_more_relations_than_the_options_leave_them():
    assert _as_boxes_suggest(0.0) > 0.85
    assert _as_boxes_suggest(0.25) < 0.82
    assert _as_boxes_suggest(0.5) < 0.72
