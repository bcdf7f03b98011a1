"""Camera pose: what is asked is true, what is said is read, what is scored is right."""

import math

import numpy as np
import pytest

from tests.conftest import says
from vlm3 import Camera, View, tasks
from vlm3.geometry import (
    invert,
    rotation_angle_deg,
    rotation_from_ypr,
)
from vlm3.tasks.pose import angle_between_deg, auc
from vlm3.tasks.pose_text import PARTS
from vlm3.views import QA

pose = tasks.get("pose")


def test_pose_asks_all_four_questions_and_each_truth_is_the_relative_pose(rng):
    yaw, pitch, roll = 20.0, -10.0, 5.0
    world_from_cam1 = np.eye(4)
    world_from_cam1[:3, :3], world_from_cam1[:3, 3] = rotation_from_ypr(33, 2, -8), (1, 2, 3)
    cam1_from_cam2 = np.eye(4)
    cam1_from_cam2[:3, :3], cam1_from_cam2[:3, 3] = (
        rotation_from_ypr(yaw, pitch, roll),
        (3.0, 0.0, 4.0),
    )
    views = [
        View(np.zeros((2, 2, 3), np.uint8), Camera(1, 1, 1, 1, 2, 2), world_from_cam=p)
        for p in (world_from_cam1, world_from_cam1 @ cam1_from_cam2)
    ]
    qas = pose.ask(views, 4, rng)
    merged = {k: v for qa in qas for k, v in qa.truth.items()}
    assert [merged[k] for k in ("yaw_deg", "pitch_deg", "roll_deg")] == pytest.approx(
        [yaw, pitch, roll]
    )
    assert merged["direction"] == pytest.approx((0.6, 0.0, 0.8))
    assert merged["distance_m"] == pytest.approx(5.0)
    assert merged["rotation_angle_deg"] == pytest.approx(
        rotation_angle_deg(rotation_from_ypr(yaw, pitch, roll))
    )
    assert qas[1].answer == "yaw +20.0, pitch -10.0, roll +5.0 degrees"
    assert qas[2].answer == "forward, right (+0.60, +0.00, +0.80)"
    assert len(pose.ask(views, 4, rng, metric=False)) == 3
    assert len(pose.ask(views, 2, rng)) == 2
    assert len({qa.truth["pair"] for qa in qas}) == 1


def test_questions_about_different_pairs_are_never_one_pose(rng):
    """Of two pairs, one is asked for its rotation, the other for its direction: they never meet."""
    views = []
    for x in (0.0, 1.0, 3.0):
        place = np.eye(4)
        place[0, 3] = x
        views.append(
            View(np.zeros((2, 2, 3), np.uint8), Camera(1, 1, 1, 1, 2, 2), world_from_cam=place)
        )
    first, second = pose.ask(views[:2], 4, rng), pose.ask(views[1:], 4, rng)
    mixed = [(qa.truth, qa.truth) for qa in (first[1], second[2])]
    assert math.isnan(pose.score(mixed)["auc_30"])


def test_two_cameras_in_one_place_have_no_direction(rng):
    view = View(np.zeros((2, 2, 3), np.uint8), Camera(1, 1, 1, 1, 2, 2), world_from_cam=np.eye(4))
    asked = [field for qa in pose.ask([view, view], 4, rng) for field in qa.truth]
    assert "direction" not in asked
    assert "distance_m" in asked


def test_the_camera_frame_form_is_right_where_the_other_form_errs():
    """Same camera centre, yaw wrong by 10 degrees: only the rotation is off, not the direction.

    The other form feeds world-to-camera matrices to a formula for camera-to-world ones, and blames
    the direction.
    """
    w2c = []
    for yaw, centre in ((0, (0, 0, 0)), (30, (1, 0, 0)), (40, (1, 0, 0))):
        c2w = np.eye(4)
        c2w[:3, :3], c2w[:3, 3] = rotation_from_ypr(yaw, 0, 0), centre
        w2c.append(invert(c2w))
    first, truth, answer = w2c
    ours = [(first @ invert(other))[:3, 3] for other in (truth, answer)]
    other_form = [(invert(first) @ other)[:3, 3] for other in (truth, answer)]
    assert angle_between_deg(*ours) == pytest.approx(0, abs=1e-6)
    assert angle_between_deg(*other_form) == pytest.approx(10)


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("12.5 degrees", {"rotation_angle_deg": 12.5}),
        ("<think>30 degrees</think>12.5\u00b0", {"rotation_angle_deg": 12.5}),
        (
            "yaw +12.3, pitch -1.0, roll +0.2 degrees",
            {"yaw_deg": 12.3, "pitch_deg": -1.0, "roll_deg": 0.2},
        ),
        (
            "Yaw: 12.3\u00b0, Pitch: \u22121.0\u00b0, Roll: 0.2\u00b0",
            {"yaw_deg": 12.3, "pitch_deg": -1, "roll_deg": 0.2},
        ),
        (
            "yaw = 12.3, pitch = -1.0, roll = 0.5",
            {"yaw_deg": 12.3, "pitch_deg": -1, "roll_deg": 0.5},
        ),
        ("Yaw is about 12.3 degrees", {"yaw_deg": 12.3}),
        ("yaw, pitch, roll = 1.2,-3.4,5.6", {"yaw_deg": 1.2, "pitch_deg": -3.4, "roll_deg": 5.6}),
        ("left, forward (-0.60, +0.00, +0.80)", {"direction": (-0.6, 0.0, 0.8)}),
        ("It moved 0.85 metres.", {"distance_m": 0.85}),
        ("85 cm", {"distance_m": 0.85}),
        (
            "Turned by 9 degrees (yaw 1, pitch 2, roll 3), right [1, 0, 0], 2 m",
            {
                "rotation_angle_deg": 9,
                "yaw_deg": 1,
                "pitch_deg": 2,
                "roll_deg": 3,
                "direction": (1, 0, 0),
                "distance_m": 2,
            },
        ),
        ("190 degrees", None),
        ("yaw 200", None),
        ("(0.0, 0.0, 0.0)", None),
        ("(300, 2, 5)", None),
        ("12", None),
        ("1 m or 2 m", None),
        ("", None),
    ],
)
def test_pose_is_read_from_what_models_print(text, fields):
    found = says(pose, text)
    assert (found or {}).keys() == (fields or {}).keys()
    for field, value in (fields or {}).items():
        assert found[field] == pytest.approx(value)


ASKED = {
    "angle": "By what angle, in degrees, is camera 2 rotated against camera 1?",
    "rotation": "What are yaw, pitch and roll of camera 2, in degrees?",
    "direction": "In which direction from camera 1 is camera 2?",
    "distance": "How many metres are the two cameras apart?",
}


def read(part, text):
    return pose.read(QA(part, (), ASKED[part]), text)


@pytest.mark.parametrize(
    ("part", "text", "value"),
    [
        ("angle", "41", 41),
        ("angle", "41\u00b0", 41),
        ("angle", "**41.0 deg**", 41),
        ("angle", "$41^\\circ$", 41),
        ("angle", "about 0.7156 rad", 41),
        ("angle", "Angle (rad): 0.7156", 41),
        ("angle", "41 degrees (0.716 rad)", 41),
        ("angle", "41 degrees, 3 m", 41),
        ("angle", "camera 2 is turned by 41 degrees", 41),
        ("angle", "41 m", None),
        ("angle", "41 gon", None),
        ("angle", "41%", None),
        ("angle", "30 to 41 degrees", None),
        ("angle", "41 \u00b1 2", None),
        ("angle", "at most 41 degrees", None),
        ("angle", "4.1e1", None),
        ("angle", "41\u00b020'", None),
        ("angle", "0.2\u03c0", None),
        ("angle", "41 or 50 degrees", None),
        ("angle", "yaw 41 degrees", None),
        ("angle", "41 degrees of yaw", None),
        ("angle", "-41", None),
        ("angle", "200 degrees", None),
        ("distance", "0.7", 0.7),
        ("distance", "70 cm", 0.7),
        ("distance", "0", 0),
        ("distance", "2'6\"", 0.762),
        ("distance", "0.7 units", None),
        ("distance", "0.7 degrees", None),
        ("distance", "0.5-0.7 m", None),
        ("distance", "0.7 \u00b1 0.1 m", None),
        ("distance", "-0.7 m", None),
        ("direction", "0.7", None),
        ("rotation", "41 degrees", None),
    ],
)
def test_one_number_is_read_in_the_unit_that_the_question_names(part, text, value):
    found = read(part, text)
    assert found == (None if value is None else {PARTS[part][0]: pytest.approx(value, abs=0.02)})


def test_a_bare_number_counts_only_where_the_question_names_its_unit():
    assert pose.read(QA("distance", (), "How far is it?"), "0.7") is None
    assert pose.read(QA("distance", (), "How far is it?"), "0.7 m") == {"distance_m": 0.7}
    assert pose.read(QA("angle", (), "How far did it turn?"), "41") is None
    assert says(pose, "41") is None


EVERYTHING = (
    "Turned by 41 degrees: yaw +40.0, pitch -3.0, roll +1.0 degrees; right (0.6, 0.0, 0.8), 0.7 m"
)


@pytest.mark.parametrize("part", PARTS)
def test_only_what_a_question_asks_for_comes_from_its_answer(part):
    whole = says(pose, EVERYTHING)
    assert set(whole) == {field for fields in PARTS.values() for field in fields}
    assert read(part, EVERYTHING) == {field: whole[field] for field in PARTS[part]}
    assert pose.read(QA("", (), ASKED[part]), EVERYTHING) == whole  # nobody knows its kind


YPR = (14.5, -3.0, 0.5)
WORDINGS = [
    "yaw {0}, pitch {1}, roll {2}",
    "Yaw={0}\u00b0, Pitch={1}\u00b0, Roll={2}\u00b0",
    "**Yaw**: {0} deg\n**Pitch**: {1} deg\n**Roll**: {2} deg",
    "yaw \u2248 {0}\u00b0; pitch \u2248 {1}\u00b0; roll \u2248 {2}\u00b0",
    "a yaw of {0}, a pitch of {1} and a roll of {2} degrees",
    "yaw, pitch, roll = {0}, {1}, {2}",
    "(yaw, pitch, roll) = ({0}, {1}, {2})",
    "yaw, pitch and roll are {0}\u00b0, {1}\u00b0 and {2}\u00b0",
    '{{"yaw": {0}, "pitch": {1}, "roll": {2}}}',
    '{{"yaw_deg": {0}, "pitch_deg": {1}, "roll_deg": {2}}}',
    "{0} yaw, {1} pitch, {2} roll",
    "Yaw angle: `{0}` degrees. Pitch angle: `{1}` degrees. Roll angle: `{2}` degrees.",
    "- Yaw: {0}\n- Pitch: {1}\n- Roll: {2}",
    "\\text{{yaw}} = {0}^\\circ, \\text{{pitch}} = {1}^\\circ, \\text{{roll}} = {2}^\\circ",
    "| yaw | {0} |\n| pitch | {1} |\n| roll | {2} |",
    "<think>yaw 50, pitch 50, roll 50</think>yaw {0}, pitch {1}, roll {2}",
    "yaw {0} rad, pitch {1} rad, roll {2} rad",
    "yaw {0}, pitch {1}, roll {2} radians",
    "In radians: yaw {0}, pitch {1}, roll {2}",
    "yaw, pitch, roll (rad): {0}, {1}, {2}",
]
NUMBERS = {
    "{:+.1f}": True,
    "{:.1f}": True,
    "{:.2f}": True,
    "{:.3e}": False,
    "{:.1f} \u00b1 1": False,
    "{:.1f}\u00b11": False,
    "{:.1f} to 30": False,
    "{:.1f}-30": False,
    "{:.1f}/2": False,
    "{:.1f} or 30": False,
    "<{:.1f}": False,
    "about {:.1f}": True,
    "at most {:.1f}": False,
    "2 x {:.1f}": False,
    "{:.1f}%": False,
    "{:.1f} gon": False,
    "not {:.1f}": False,
}


@pytest.mark.parametrize("wording", WORDINGS)
@pytest.mark.parametrize("form", NUMBERS)
def test_yaw_pitch_and_roll_are_the_true_ones_or_none_in_any_notation(wording, form):
    factor = math.pi / 180 if "rad" in wording else 1
    text = wording.format(*(form.format(angle * factor) for angle in YPR))
    found = read("rotation", text) or {}
    for field, angle in zip(PARTS["rotation"], YPR, strict=True):
        assert found.get(field) in (None, pytest.approx(angle, abs=0.06 / factor))
        assert NUMBERS[form] or field not in found
        assert (
            field in found
            or not NUMBERS[form]
            or "{0} yaw" in wording
            or "about" in form
            and "yaw, pitch" in wording
        )
    assert "rotation_angle_deg" not in (says(pose, text) or {})


@pytest.mark.parametrize(
    ("text", "yaw"),
    [
        ("yaw 9 degrees to the left", -9),
        ("yaw 9\u00b0 (right)", 9),
        ("yaw 9 leftwards", -9),
        ("yaw -9 left", -9),
        ("yaw +9 right", 9),
        ("yaw +9 to the left", None),
        ("left yaw 9", None),
        ("yaw left 9", None),
        ("yaw 9 clockwise", None),
        ("yaw 9 up", None),
        ("yaw 9, left, pitch 2", None),
        ("yaw 9. To the left. Pitch 2", None),
        ("yaw minus 9", None),
        ("yaw - 9", None),
        ("yaw 9 right or left", None),
        ("yaw unknown, turned by 9 degrees", None),
        ("yaw 9. yaw 11", None),
        ("yaw 9, yaw 9", 9),
        ("yaw of camera 2 is 9", 9),
        ("yaw 9 rad and 3 degrees", None),
        ("yaw 300", None),
    ],
)
def test_a_side_gives_an_axis_its_sign_or_makes_it_unclear(text, yaw):
    assert (read("rotation", text) or {}).get("yaw_deg") == yaw


def test_a_distance_is_near_within_a_quarter_and_what_was_not_said_is_not():
    truth = {"distance_m": 2.0, "pair": "a"}
    pairs = [(said, truth) for said in ({"distance_m": 1.5}, {"distance_m": 2.6}, None)]
    assert pose.score(pairs)["distance_25"] == pytest.approx(1 / 3)
    in_one_place = ({"distance_m": 0.0}, {"distance_m": 0.0, "pair": "b"})
    assert math.isnan(pose.score([in_one_place])["distance_25"])


def test_pose_scores_of_a_case_worked_by_hand():
    truth = {
        "yaw_deg": 10.0,
        "pitch_deg": 0.0,
        "roll_deg": 0.0,
        "direction": (0.0, 0.0, 1.0),
        "distance_m": 2.0,
    }
    off = {**truth, "yaw_deg": 14.5, "distance_m": 1.5}
    turned = {**truth, "direction": (0.0, math.sin(math.radians(20)), -math.cos(math.radians(20)))}
    found = pose.score(
        [(off, truth), (turned, truth), (None, truth)]
    )  # errors 4.5, 20 (signed 160), none
    assert found["rotation_error_deg"] == pytest.approx(4.5 / 2)
    assert found["direction_error_deg"] == pytest.approx(20 / 2)
    assert found["direction_error_signed_deg"] == pytest.approx(160 / 2)
    assert found["auc_30_exact"] == pytest.approx(((1 - 4.5 / 30) + (1 - 20 / 30)) / 3)
    assert found["auc_30"] == pytest.approx(
        (26 / 30 + 10 / 30) / 3, abs=1e-6
    )  # 4.5 is in the fifth bin, 20 in the 21st
    assert found["auc_30_signed"] == pytest.approx((26 / 30) / 3, abs=1e-6)  # the second is wrong
    assert found["auc_5"] == pytest.approx((1 / 5) / 3)
    assert found["auc_10_exact"] == pytest.approx((1 - 4.5 / 10) / 3)
    assert found["distance_error_m"] == pytest.approx(0.5 / 2)
    assert found["distance_abs_rel"] == pytest.approx(0.25 / 2)
    assert found["parsed"] == pytest.approx(2 / 3)


def test_a_distance_of_nothing_but_rounding_has_no_relative_error():
    found = pose.score(
        [({"distance_m": 0.5}, {"distance_m": 1e-16}), ({"distance_m": 3.0}, {"distance_m": 2.0})]
    )
    assert found["distance_error_m"] == pytest.approx((0.5 + 1) / 2)
    assert found["distance_abs_rel"] == pytest.approx(0.5)


def test_four_answers_about_one_pose_are_one_sample():
    parts = [
        {"rotation_angle_deg": 8.0},
        {"yaw_deg": 8.0, "pitch_deg": 0.0, "roll_deg": 0.0},
        {"direction": (1.0, 0.0, 0.0)},
        {"distance_m": 1.0},
    ]
    perfect, silent = [(part, part) for part in parts], [(None, part) for part in parts]
    assert pose.score(perfect * 3)["auc_30"] == 1.0
    assert pose.score(perfect + silent)["auc_30"] == 0.5
    assert pose.score([perfect[0], perfect[1], silent[2], perfect[3]])["auc_30"] == 0.0


def test_auc_is_the_published_sum_over_bins_and_the_exact_one_its_limit():
    errors = np.random.default_rng(2).uniform(0, 50, 400)
    bins = [
        sum(e < limit or e == limit == 30 for e in errors) / len(errors) for limit in range(1, 31)
    ]
    assert auc(errors, 30) == pytest.approx(sum(bins) / 30)
    grid = np.linspace(0, 30, 30_001)
    recall = (errors[:, None] <= grid).mean(0)
    assert auc(errors, 30, binned=False) == pytest.approx(np.trapezoid(recall, grid) / 30, abs=1e-4)
    assert auc([30.0], 30) == pytest.approx(1 / 30)


def test_rotation_errors_equal_those_of_quaternions():
    """VGGT's own formula: arccos(1 - 2 (1 - <q, q'>^2)) of the unit quaternions."""
    draw = np.random.default_rng(3)
    for _ in range(50):
        ypr = draw.uniform([-180, -85, -180], [180, 85, 180], (2, 3))
        quaternions = [quaternion(*angles) for angles in ypr]
        inner = float(np.dot(*quaternions))
        expected = math.degrees(math.acos(1 - 2 * max(1 - inner**2, 1e-15)))
        poses = [
            dict(zip(("yaw_deg", "pitch_deg", "roll_deg"), angles, strict=True)) for angles in ypr
        ]
        assert pose.score([tuple(poses)])["rotation_error_deg"] == pytest.approx(expected, abs=1e-4)


def quaternion(yaw_deg: float, pitch_deg: float, roll_deg: float) -> np.ndarray:
    """Unit quaternion (w, x, y, z) of Ry(yaw) Rx(pitch) Rz(roll), as the product of three
    half-angle ones."""
    (cy, sy), (cx, sx), (cz, sz) = (
        (math.cos(math.radians(a) / 2), math.sin(math.radians(a) / 2))
        for a in (yaw_deg, pitch_deg, roll_deg)
    )

    def times(a, b):
        w, v = a[0] * b[0] - a[1:] @ b[1:], a[0] * b[1:] + b[0] * a[1:] + np.cross(a[1:], b[1:])
        return np.array([w, *v])

    return times(
        times(np.array([cy, 0, sy, 0]), np.array([cx, sx, 0, 0])), np.array([cz, 0, 0, sz])
    )
