"""Relative camera pose: two images, four questions: rotation angle; yaw, pitch, roll; direction;
distance.

Camera 1 is the reference. The pose is cam1_from_cam2, so its translation is the centre of camera 2
as camera 1 sees it (the camera-frame form of VGGT). Errors and AUC follow VGGT's evaluation.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence

import numpy as np

from vlm3.geometry import relative_pose, rotation_angle_deg, rotation_from_ypr, ypr_from_rotation
from vlm3.tasks import plain
from vlm3.tasks.pose_text import PARTS, Fields, stated
from vlm3.tasks.task import Task, demand_some, mean
from vlm3.views import QA, View

SAME_PLACE_M = 1e-9  # cameras nearer than this have no direction from one to the other
WORD_THRESHOLD = 0.1  # components of the direction below this get no word

ERRORS = (
    *("rotation_error_deg", "direction_error_deg", "direction_error_signed_deg"),
    *("angle_error_deg", "distance_error_m", "distance_abs_rel"),
)


class Pose(Task):
    """How the second camera stands to the first, in four questions about the pair."""

    views = 2
    subject = ""
    headline, further = "auc_30", ("auc_30_signed", "distance_25")
    focal_px = 750.0

    @classmethod
    def in_metres(cls, options: Mapping) -> bool:
        """Whether the distance is asked for."""
        return options.get("metric", True)

    def ask(
        self, views: Sequence[View], n: int, rng: np.random.Generator, metric: bool = True
    ) -> list[QA]:
        """All four questions in their order, or n of them drawn with rng.

        metric=False leaves out the distance, where the scale of the poses is unknown. Two cameras
        in one place have no direction, so it is not asked. truth holds the fields that the question
        asks for, and "pair", equal for all questions about one pair of views. ValueError without
        poses.
        """
        # Over all parts in their order, so that the questions of a pair stand next to each other.
        truth = true_pose(*views[:2])
        known = [part for part, fields in PARTS.items() if fields[0] in truth]
        parts = [part for part in known if metric or part != "distance"]
        if n < len(parts):
            parts = [parts[i] for i in sorted(rng.choice(len(parts), n, replace=False))]
        return [self._answered(self._about_pair(part, rng), truth) for part in parts]

    def unanswered(
        self,
        views: Sequence[View],
        rng: np.random.Generator,
        about: Sequence = (),
        metric: bool = True,
    ) -> list[QA]:
        """All that is asked about a pair of views, in its order."""
        return [self._about_pair(part, rng) for part in PARTS if metric or part != "distance"]

    def _about_pair(self, part: str, rng: np.random.Generator) -> QA:
        return QA(part, (), self._worded(part, rng))

    def _answered(self, qa: QA, pose: Fields) -> QA:
        truth = {field: pose[field] for field in (*PARTS[qa.kind], "pair")}
        fills = {"value": pose[PARTS[qa.kind][0]]}
        fills |= {k.removesuffix("_deg"): v for k, v in truth.items()}
        if qa.kind == "direction":
            fills |= dict(zip("xyz", pose["direction"], strict=True))
            fills["words"] = self.in_words(pose["direction"])
        return qa._replace(answer=self.templates[qa.kind]["answer"].format(**fills), truth=truth)

    def in_words(self, direction: Sequence[float]) -> str:
        """Such as "left, forward": the words of the axes along which the unit vector goes at all,
        largest first."""
        order = sorted(zip(direction, "xyz", strict=True), key=lambda part: -abs(part[0]))
        parts = [(axis, value) for value, axis in order if abs(value) >= WORD_THRESHOLD]
        return ", ".join(self.templates["direction"][axis][value > 0] for axis, value in parts)

    def read(self, qa: QA, text: str) -> Fields | None:
        """Those fields that the question asks for and the text states, known by their units or
        names; a bare number has the unit that the question names. None where there are none within
        range.

        Angles are in degrees; those in radians are converted. What is stated as a range, or several
        times with different values, does not count. A side ("to the left") gives an axis its sign.
        direction is made a unit vector; one that is far from it (shorter than a half, longer than
        two) does not count.
        """
        asked = PARTS.get(qa.kind, sum(PARTS.values(), ()))
        found = stated(plain.said(text), qa.question if len(asked) == 1 else "") or {}
        return {field: value for field, value in found.items() if field in asked} or None

    def score(self, pairs: Sequence[tuple[Fields | None, Fields]]) -> dict[str, float]:
        """Scores of poses; the answers about one pair of views come one after another.

        A new pose begins where "pair" changes, or where a field repeats.

        auc_5, auc_10, auc_30 (degrees): area under the recall of max(rotation error, direction
        error), in bins of one degree as published (VGGT, `auc`); auc_5_exact and so on: without
        bins. Over all poses of which rotation and direction were asked; what was not answered
        counts as wrong. The direction error ignores the sign of the vector, as published;
        auc_30_signed: with its sign, so that the opposite way is wrong. rotation_error_deg,
        direction_error_deg (sign ignored), direction_error_signed_deg, angle_error_deg,
        distance_error_m, distance_abs_rel (cameras in one place left out): means over what was
        answered. distance_25: share of the distances asked for that are answered to 25 per cent.
        parsed: share of questions whose every field was answered.
        """
        demand_some(pairs)
        answered = [set(truth) - {"pair"} <= set(answer or {}) for answer, truth in pairs]
        errors = [_errors(*sample) for sample in _samples(pairs)]
        means = {name: mean([e[name] for e in errors if name in e]) for name in ERRORS}
        whole = [e for e in errors if {"rotation", "direction"} <= set(e)]
        both = [max(e["rotation"], e["direction"]) for e in whole]
        areas = {f"auc_{t}": auc(both, t) for t in (5, 10, 30)}
        areas |= {f"auc_{t}_exact": auc(both, t, False) for t in (5, 10, 30)}
        signed = [max(e["rotation"], e["direction_signed"]) for e in whole]
        areas["auc_30_signed"] = auc(signed, 30)
        near = [e["distance_near"] for e in errors if "distance_near" in e]
        means["distance_25"] = mean(near)
        return areas | means | {"parsed": sum(answered) / len(pairs)}

    def value(self, truth: Fields) -> Fields:
        return {name: field for name, field in truth.items() if name != "pair"}

    def numbers(self, value: Fields) -> list[float]:
        return np.hstack([value[name] for name in sorted(value)]).tolist()

    def shown(self, value: Fields) -> str:
        match value:
            case {"rotation_angle_deg": angle}:
                return f"turned by {angle:g} degrees"
            case {"yaw_deg": yaw, "pitch_deg": pitch, "roll_deg": roll}:
                return f"yaw {yaw:+g}, pitch {pitch:+g}, roll {roll:+g} degrees"
            case {"direction": direction}:
                vector = ", ".join(f"{part:+.2f}" for part in direction)
                return f"{self.in_words(direction)} ({vector})"
            case {"distance_m": distance}:
                return f"{distance:.2f} m"
        return ""


def true_pose(view1: View, view2: View) -> Fields:
    """All fields of the pose of camera 2 in camera 1's frame, from both world_from_cam."""
    if view1.world_from_cam is None or view2.world_from_cam is None:
        raise ValueError("the pose task needs world_from_cam of both views")
    return fields_of(relative_pose(view1.world_from_cam, view2.world_from_cam))


def fields_of(cam1_from_cam2: np.ndarray) -> Fields:
    """All fields of a pose, 4x4; no direction of cameras in one place."""
    rotation, translation = cam1_from_cam2[:3, :3], cam1_from_cam2[:3, 3]
    yaw, pitch, roll = ypr_from_rotation(rotation)
    distance_m = float(np.linalg.norm(translation))
    pose: Fields = {"rotation_angle_deg": rotation_angle_deg(rotation), "distance_m": distance_m}
    pose |= {"yaw_deg": yaw, "pitch_deg": pitch, "roll_deg": roll}
    pose["pair"] = hashlib.sha1(cam1_from_cam2.tobytes()).hexdigest()[:8]
    if distance_m >= SAME_PLACE_M:
        pose["direction"] = tuple((translation / distance_m).tolist())
    return pose


def auc(errors_deg: Sequence[float], threshold_deg: int, binned: bool = True) -> float:
    """Area under the recall curve up to the threshold, 0..1; NaN without errors.

    binned: errors are counted in bins of one degree, the last one closed, and the cumulative shares
    averaged (the code of VGGT's evaluation); else the exact mean of max(0, 1 - e / threshold).
    """
    errors = np.asarray(errors_deg, float)
    if not len(errors):
        return math.nan
    # Binned scores are a little higher, and published tables have them: so both are told.
    if not binned:
        return float(np.maximum(0, 1 - errors / threshold_deg).mean())
    counts, _ = np.histogram(errors, bins=np.arange(threshold_deg + 1))
    return float((counts.cumsum() / len(errors)).mean())


def _samples(pairs: Sequence[tuple[Fields | None, Fields]]) -> list[tuple[Fields, Fields]]:
    """Answers and truths merged over each pose."""
    merged: list[tuple[Fields, Fields]] = []
    for answer, truth in pairs:
        same = merged and merged[-1][1].get("pair") == truth.get("pair")
        if not same or (set(truth) - {"pair"}) & set(merged[-1][1]):
            merged.append(({}, {}))
        merged[-1][0].update({k: v for k, v in (answer or {}).items() if k in truth})
        merged[-1][1].update(truth)
    return merged


def _errors(answer: Fields, truth: Fields) -> dict[str, float]:
    """Errors of one pose; "rotation", "direction" and "direction_signed" are infinite where they
    were asked and not answered; "distance_near" is 1 where the distance is right to 25 per cent,
    else 0."""
    errors: dict[str, float] = {}
    if "yaw_deg" in truth:
        errors["rotation"] = math.inf
        if answer.keys() >= set(PARTS["rotation"]):
            a, t = (
                rotation_from_ypr(*(pose[f] for f in PARTS["rotation"])) for pose in (answer, truth)
            )
            errors["rotation"] = errors["rotation_error_deg"] = rotation_angle_deg(a.T @ t)
    if "direction" in truth:
        errors["direction"] = errors["direction_signed"] = math.inf
        if "direction" in answer:
            signed = angle_between_deg(answer["direction"], truth["direction"])
            folded = min(signed, 180 - signed)
            errors["direction"] = errors["direction_error_deg"] = folded
            errors["direction_signed"] = errors["direction_error_signed_deg"] = signed
    if "rotation_angle_deg" in truth and "rotation_angle_deg" in answer:
        errors["angle_error_deg"] = abs(answer["rotation_angle_deg"] - truth["rotation_angle_deg"])
    if truth.get("distance_m", 0) >= SAME_PLACE_M:
        off = abs(answer.get("distance_m", math.inf) - truth["distance_m"])
        errors["distance_near"] = float(off <= 0.25 * truth["distance_m"] + 1e-9)
    if "distance_m" in truth and "distance_m" in answer:
        errors["distance_error_m"] = abs(answer["distance_m"] - truth["distance_m"])
        if truth["distance_m"] >= SAME_PLACE_M:
            errors["distance_abs_rel"] = errors["distance_error_m"] / truth["distance_m"]
    return errors


def angle_between_deg(a: Sequence[float], b: Sequence[float]) -> float:
    """Angle between two vectors, 0..180 degrees."""
    return float(np.degrees(np.arctan2(np.linalg.norm(np.cross(a, b)), np.dot(a, b))))
