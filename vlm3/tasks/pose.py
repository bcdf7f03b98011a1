"""Relative camera pose: two images, four questions: rotation angle; yaw, pitch, roll; direction;
distance.

Camera 1 is the reference. The pose is cam1_from_cam2, so its translation is the centre of camera 2
as camera 1 sees it (the camera-frame form of VGGT). Errors and AUC follow VGGT's evaluation.
"""

import hashlib
import math
import re
from collections.abc import Sequence

import numpy as np

from vlm3.geometry import relative_pose, rotation_angle_deg, rotation_from_ypr, ypr_from_rotation
from vlm3.tasks import numbers, plain
from vlm3.tasks import text as words
from vlm3.views import QA, View

Pose = dict[
    str, object
]  # of rotation_angle_deg, yaw_deg, pitch_deg, roll_deg, direction, distance_m, what is stated
PARTS = {
    "angle": ("rotation_angle_deg",),
    "rotation": ("yaw_deg", "pitch_deg", "roll_deg"),
    "direction": ("direction",),
    "distance": ("distance_m",),
}
SAME_PLACE_M = 1e-9  # cameras nearer than this have no direction from one to the other
WORD_THRESHOLD = 0.1  # components of the direction below this get no word


def ask(
    views: Sequence[View],
    n: int,
    rng: np.random.Generator,
    metric: bool = True,
    templates: dict | None = None,
) -> list[QA]:
    """All four questions in their order, or n of them drawn with rng.

    metric=False leaves out the distance, where the scale of the poses is unknown. Two cameras in
    one place have no direction, so it is not asked. truth holds the fields that the question asks
    for, and "pair", equal for all questions about one pair of views. ValueError without poses.
    """
    templates = templates or words.packaged("pose")
    truth = true_pose(*views[:2])
    parts = [
        part
        for part, fields in PARTS.items()
        if fields[0] in truth and (metric or part != "distance")
    ]
    if n < len(parts):
        parts = [parts[i] for i in sorted(rng.choice(len(parts), n, replace=False))]
    return [_qa(part, truth, rng, templates) for part in parts]


def true_pose(view1: View, view2: View) -> Pose:
    """All fields of the pose of camera 2 in camera 1's frame, from both world_from_cam."""
    if view1.world_from_cam is None or view2.world_from_cam is None:
        raise ValueError("the pose task needs world_from_cam of both views")
    cam1_from_cam2 = relative_pose(view1.world_from_cam, view2.world_from_cam)
    rotation, translation = cam1_from_cam2[:3, :3], cam1_from_cam2[:3, 3]
    yaw, pitch, roll = ypr_from_rotation(rotation)
    distance_m = float(np.linalg.norm(translation))
    pose: Pose = {
        "rotation_angle_deg": rotation_angle_deg(rotation),
        "yaw_deg": yaw,
        "pitch_deg": pitch,
    }
    pose |= {"roll_deg": roll, "distance_m": distance_m}
    pose["pair"] = hashlib.sha1(cam1_from_cam2.tobytes()).hexdigest()[:8]
    return (
        pose
        if distance_m < SAME_PLACE_M
        else pose | {"direction": tuple((translation / distance_m).tolist())}
    )


def questions(
    rng: np.random.Generator, metric: bool = True, templates: dict | None = None
) -> list[str]:
    """All that is asked about a pair of views, in its order."""
    return [qa.question for qa in unanswered(rng, metric, templates)]


def unanswered(
    rng: np.random.Generator, metric: bool = True, templates: dict | None = None
) -> list[QA]:
    """The same as questions whose answers nobody knows."""
    templates = templates or words.packaged("pose")
    asked = [part for part in PARTS if metric or part != "distance"]
    return [QA(words.question(templates, part, rng), "", None, part) for part in asked]


def _qa(part: str, pose: Pose, rng: np.random.Generator, templates: dict) -> QA:
    truth = {field: pose[field] for field in (*PARTS[part], "pair")}
    fills = {"value": pose[PARTS[part][0]], **{k.removesuffix("_deg"): v for k, v in truth.items()}}
    if part == "direction":
        fills |= dict(zip("xyz", pose["direction"], strict=True)) | {
            "words": in_words(pose["direction"], templates)
        }
    return QA(
        words.question(templates, part, rng), templates[part]["answer"].format(**fills), truth, part
    )


def in_words(direction: Sequence[float], templates: dict) -> str:
    """Such as "left, forward": the words of the axes along which the unit vector goes at all,
    largest first."""
    order = sorted(zip(direction, "xyz", strict=True), key=lambda part: -abs(part[0]))
    said = [
        templates["direction"][axis][value > 0]
        for value, axis in order
        if abs(value) >= WORD_THRESHOLD
    ]
    return ", ".join(said)


_AXIS = re.compile(r"\b(yaw|pitch|roll)(?:_deg)?\b", re.IGNORECASE)
_UNIT = r"(?:\s?(?:\u00b0|deg(?:s|rees?)?\b|rad(?:s|ians?)?\b))?"
_LISTED = re.compile(
    rf"\byaw\W{{1,3}}pitch\W{{1,3}}(?:and )?roll\b[^0-9+\-\u2212.]{{0,20}}({words.COORDINATE}){_UNIT}"
    rf"(?:\s?[,;]\s?(?:and )?|\s(?:and )?)({words.COORDINATE}){_UNIT}(?:\s?[,;]\s?(?:and )?|\s(?:and )?)"
    rf"({words.COORDINATE}){_UNIT}(?!\w|\s?(?:[\u00b1/^~\u00d7\u2013\u2014-]|\+/|to\b|or\b|,?\s?[-+]?[0-9]|[.,][0-9]))",
    re.IGNORECASE,
)
_FIRST = re.compile(
    rf"[0-9]{_UNIT}[\s-]{{1,2}}(?:(?:of|in|about|around|the)\s){{0,3}}$", re.IGNORECASE
)
_TO_AXIS = re.compile(
    r"""[\s:=\u2248~"')(|]{0,9}+(?:(?:angle|axis|is|was|of|about|approximately|approx\.?|around|"""
    r"""roughly|by|to be|"""
    r"""equals|value|rotation|camera 2|it)\b[\s:=\u2248~"'|]{0,9}+){0,5}+(?=[-+\u2212.]?[0-9])""",
    re.IGNORECASE,
)
_NUMBER = re.compile(rf"({words.COORDINATE}){_UNIT}", re.IGNORECASE)
_SIDE = re.compile(
    r"\b(?:to |on )?(?:the |its )?(left|right|up|down|(?:counter-?|anti-?)?clockwise)(?:wards?)?\b",
    re.IGNORECASE,
)
_SIGNS = {
    "yaw": {"right": 1, "left": -1},
    "pitch": {"up": 1, "down": -1},
    "roll": {"right": 1, "left": -1},
}
_SIDE_BEFORE = re.compile(r"(?:left|right|up|down|clockwise)(?:wards?)?\s{1,2}$", re.IGNORECASE)
_GAP = re.compile(r"[\s(]{0,3}")
_SENTENCE = re.compile(r"[.;!?](?=\s|$)|\n")
_RADIANS = re.compile(r"\brad(?:s|ians?)?\b", re.IGNORECASE)
_DEGREES = re.compile(r"\u00b0|\bdeg(?:s|rees?)?\b|[0-9]deg", re.IGNORECASE)
_METRES = re.compile(r"\bmet(?:re|er)s?\b", re.IGNORECASE)
_LIMITS = {
    "rotation_angle_deg": (0, 180),
    "yaw_deg": (-180, 180),
    "pitch_deg": (-90, 90),
    "roll_deg": (-180, 180),
    "distance_m": (0, math.inf),
}


def parse(text: str) -> Pose | None:
    """Those fields that the text states, known by their units or names; None where it states none
    within range.

    Angles are in degrees; those in radians are converted. What is stated as a range, or several
    times with different values, does not count. A side ("to the left") gives an axis its sign.
    direction is made a unit vector; one that is far from it (shorter than a half, longer than two)
    does not count.
    """
    return _stated(plain.said(text), "")


def read(qa: QA, text: str) -> Pose | None:
    """Of what an answer states, the fields that its question asks for; a bare number has the unit
    that it names.

    What is asked: by its kind, else by its truth; all fields where neither is known.
    """
    asked = PARTS.get(qa.kind) or (qa.truth and set(qa.truth)) or _LIMITS.keys() | {"direction"}
    found = _stated(plain.said(text), qa.question if len(set(asked) - {"pair"}) == 1 else "")
    return {field: value for field, value in (found or {}).items() if field in asked} or None


def _stated(said: str, question: str) -> Pose | None:
    """question: asks for one number, in a unit that it names."""
    pose, rest = _axes(said)
    in_degrees, in_metres = (unit.search(question) is not None for unit in (_DEGREES, _METRES))
    found = numbers.measures(rest)
    pose["rotation_angle_deg"] = numbers.stated(found, "deg", bare=in_degrees)
    pose["distance_m"] = numbers.stated(found, "m", bare=in_metres)
    vectors = {vector for vector in words.tuples(rest) if len(vector) == 3}
    if len(vectors) == 1 and 0.5 < (length := math.hypot(*(vector := vectors.pop()))) < 2:
        pose["direction"] = tuple(value / length for value in vector)
    known = {k: v for k, v in pose.items() if v is not None}
    return {
        k: v for k, v in known.items() if k not in _LIMITS or _LIMITS[k][0] <= v <= _LIMITS[k][1]
    } or None


def _axes(said: str) -> tuple[Pose, str]:
    """Yaw, pitch and roll, None where an angle is unclear, and the text without them.

    Each is a number after its name, or all three stand after all names. Where numbers come before
    names, none is read.
    """
    names = list(_AXIS.finditer(said))
    if not names:
        return {}, said
    factor = _degrees_per_bare(said)
    if match := _LISTED.search(said):
        values = [factor and words.number(match[k]) * factor for k in (1, 2, 3)]
        sided = _SIDE.search(_sentence(said[match.end() :])) is not None and "+" not in match[0]
        return {} if sided else dict(zip(PARTS["rotation"], values, strict=True)), said[
            : match.start()
        ] + said[match.end() :]
    if _FIRST.search(said[: names[0].start()]):
        return {}, ""
    found: dict[str, set] = {}
    rest = ""
    for name, end in zip(names, [*(name.start() for name in names[1:]), len(said)], strict=True):
        axis, part = name[1].lower(), said[name.end() : end]
        sentence = _sentence(part)
        if re.search("[0-9]", sentence):
            value, rest = _axis(axis, part, factor, part if end < len(said) else sentence)
            sided = _SIDE_BEFORE.search(said[max(0, name.start() - 20) : name.start()])
            found.setdefault(f"{axis}_deg", set()).add(None if sided else value)
    return {k: v.pop() if len(v) == 1 else None for k, v in found.items()}, said[
        : names[0].start()
    ] + rest


def _degrees_per_bare(said: str) -> float | None:
    """What a number without a unit counts in an answer about axes; None where both units are named."""
    if not _RADIANS.search(said):
        return 1.0
    return None if _DEGREES.search(said) else 180 / math.pi


def _axis(axis: str, part: str, factor: float | None, where: str) -> tuple[float | None, str]:
    """The angle that stands after the name of an axis, None where it is unclear; and what follows
    it.

    where: the text in which a side may give it a sign.
    """
    lead = _TO_AXIS.match(part)
    match = _NUMBER.match(part, lead.end()) if lead else None
    if match is None:
        return None, ""
    found = numbers.measures(_SIDE.sub(" ", _sentence(part)))
    if not found or [m.of for m in found if m.of != "m"] not in ([""], ["deg"]):
        return None, ""
    (angle,) = (m for m in found if m.of != "m")
    if angle.of == "" and factor is None:
        return None, ""
    value = angle.value * (1.0 if angle.of else factor)
    return _turned(axis, value, match, where), part[match.end() :]


def _sentence(part: str) -> str:
    """The beginning of a text, up to where its first sentence ends, or a bracket closes that opened
    before."""
    first = _SENTENCE.split(part, maxsplit=1)[0]
    before, _, _ = first.partition(")")
    return first if "(" in before else before


def _turned(axis: str, value: float, match: re.Match, where: str) -> float | None:
    """An angle with the sign of the side that is named behind it; None where side and sign, or two
    sides, differ."""
    sides = {_SIGNS[axis].get(side[1].lower()) for side in _SIDE.finditer(where)}
    if not sides or value == 0:
        return value
    beside = _SIDE.match(where, _GAP.match(where, match.end()).end()) is not None
    if match[1][0] in "+-\u2212":
        return value if not beside or sides == {math.copysign(1, value)} else None
    return value * sides.pop() if beside and len(sides) == 1 and None not in sides else None


def score(pairs: Sequence[tuple[Pose | None, Pose]]) -> dict[str, float]:
    """Scores of poses; the answers about one pair of views come one after another.

    A new pose begins where "pair" changes, or where a field repeats.

    auc_5, auc_10, auc_30 (degrees): area under the recall of max(rotation error, direction error),
    in bins of one degree as published (VGGT, `auc`); auc_5_exact and so on: without bins. Over all
    poses of which rotation and direction were asked; what was not answered counts as wrong. The
    direction error ignores the sign of the vector. rotation_error_deg, direction_error_deg (sign
    ignored), direction_error_signed_deg, angle_error_deg, distance_error_m, distance_abs_rel
    (cameras in one place left out): means over what was answered. parsed: share of questions whose
    every field was answered.
    """
    if not pairs:
        raise ValueError("nothing to score: no pairs")
    answered = [set(truth) - {"pair"} <= set(answer or {}) for answer, truth in pairs]
    errors = [_errors(*sample) for sample in _samples(pairs)]
    names = (
        "rotation_error_deg",
        "direction_error_deg",
        "direction_error_signed_deg",
        "angle_error_deg",
    )
    names += ("distance_error_m", "distance_abs_rel")
    means = {name: _mean([e[name] for e in errors if name in e]) for name in names}
    both = [
        max(e["rotation"], e["direction"]) for e in errors if {"rotation", "direction"} <= set(e)
    ]
    areas = {f"auc_{t}": auc(both, t) for t in (5, 10, 30)} | {
        f"auc_{t}_exact": auc(both, t, False) for t in (5, 10, 30)
    }
    return areas | means | {"parsed": sum(answered) / len(pairs)}


def auc(errors_deg: Sequence[float], threshold_deg: int, binned: bool = True) -> float:
    """Area under the recall curve up to the threshold, 0..1; NaN without errors.

    binned: errors are counted in bins of one degree, the last one closed, and the cumulative shares
    averaged (the code of VGGT's evaluation); else the exact mean of max(0, 1 - e / threshold).
    """
    errors = np.asarray(errors_deg, float)
    if not len(errors):
        return math.nan
    if not binned:
        return float(np.maximum(0, 1 - errors / threshold_deg).mean())
    counts, _ = np.histogram(errors, bins=np.arange(threshold_deg + 1))
    return float((counts.cumsum() / len(errors)).mean())


def _samples(pairs: Sequence[tuple[Pose | None, Pose]]) -> list[tuple[Pose, Pose]]:
    """Answers and truths merged over each pose."""
    merged: list[tuple[Pose, Pose]] = []
    for answer, truth in pairs:
        same = merged and merged[-1][1].get("pair") == truth.get("pair")
        if not same or (set(truth) - {"pair"}) & set(merged[-1][1]):
            merged.append(({}, {}))
        merged[-1][0].update({k: v for k, v in (answer or {}).items() if k in truth})
        merged[-1][1].update(truth)
    return merged


def _errors(answer: Pose, truth: Pose) -> dict[str, float]:
    """Errors of one pose; "rotation" and "direction" are infinite where they were asked and not
    answered."""
    errors: dict[str, float] = {}
    if "yaw_deg" in truth:
        errors["rotation"] = math.inf
        if answer.keys() >= set(PARTS["rotation"]):
            a, t = (
                rotation_from_ypr(*(pose[f] for f in PARTS["rotation"])) for pose in (answer, truth)
            )
            errors["rotation"] = errors["rotation_error_deg"] = rotation_angle_deg(a.T @ t)
    if "direction" in truth:
        errors["direction"] = math.inf
        if "direction" in answer:
            signed = angle_between_deg(answer["direction"], truth["direction"])
            errors |= {
                "direction_error_signed_deg": signed,
                "direction_error_deg": min(signed, 180 - signed),
            }
            errors["direction"] = errors["direction_error_deg"]
    if "rotation_angle_deg" in truth and "rotation_angle_deg" in answer:
        errors["angle_error_deg"] = abs(answer["rotation_angle_deg"] - truth["rotation_angle_deg"])
    if "distance_m" in truth and "distance_m" in answer:
        errors["distance_error_m"] = abs(answer["distance_m"] - truth["distance_m"])
        if truth["distance_m"] >= SAME_PLACE_M:
            errors["distance_abs_rel"] = errors["distance_error_m"] / truth["distance_m"]
    return errors


def angle_between_deg(a: Sequence[float], b: Sequence[float]) -> float:
    """Angle between two vectors, 0..180 degrees."""
    return float(np.degrees(np.arctan2(np.linalg.norm(np.cross(a, b)), np.dot(a, b))))


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if len(values) else math.nan
