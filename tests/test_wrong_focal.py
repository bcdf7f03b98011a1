"""What a wrong focal length does to answers: the truth stays, what is seen is a stretched scene."""

from dataclasses import replace

import numpy as np
import pytest

from vlm3.geometry import project, rays, rotation_from_ypr, transform, unproject
from vlm3.mixture import Source
from vlm3.scoring import evaluate, wrong_focal
from vlm3.scoring.evaluate import Evaluation
from vlm3.scoring.predictors import Predictor
from vlm3.scoring.wrong_focal import claimed, lens, stretched
from vlm3.sources.rooms import Rooms
from vlm3.views import Answer, View

RATIO = 1.2
ROOMS = Rooms("homes", "test", 2, grade="near")


@pytest.fixture(scope="module")
def source():
    return lambda task: Source(ROOMS, task, questions=6, focal_px=100.0, origin={"from": "rooms"})


def answered(source, out, answer, ratio=1.0):
    """The folder of an evaluation whose answers are made of the questions."""
    asked = claimed(source, ratio)

    def predict(samples):
        return [[Answer(answer(qa)) for qa in sample.qas] for sample in samples]

    config = Evaluation(source.task, "rooms", "constant", out, samples=4, progress=False)
    evaluate.evaluate(config, asked, Predictor(predict, asked))
    return out


def test_a_longer_lens_shows_a_scene_stretched_along_the_axis_just_as_it_was():
    (view, _) = ROOMS[0]
    uv = np.random.default_rng(0).uniform(0, 90, (50, 2))
    points = unproject(uv, np.linspace(1, 9, 50), view.camera)
    seen = project(points * [1, 1, RATIO], lens(view, RATIO).camera)
    assert np.allclose(seen, project(points, view.camera))


def test_small_turns_look_smaller_through_a_longer_lens_by_as_much():
    (view, _) = ROOMS[0]
    turned = transform(rotation_4x4(yaw=3.0, pitch=-2.0), np.array([0.0, 0.0, 5.0]))
    x, y, _ = rays(project(turned, view.camera), lens(view, RATIO).camera)
    fields = stretched({"yaw_deg": 3.0, "pitch_deg": -2.0, "roll_deg": 1.0}, RATIO, "rotation")
    assert np.degrees(np.arctan(x)) == pytest.approx(fields["yaw_deg"], rel=0.01)
    assert -np.degrees(np.arctan(y)) == pytest.approx(fields["pitch_deg"], rel=0.01)
    assert fields["roll_deg"] == 1.0


def rotation_4x4(yaw: float, pitch: float) -> np.ndarray:
    pose = np.eye(4)
    pose[:3, :3] = rotation_from_ypr(yaw, pitch, 0.0)
    return pose


def test_a_step_forward_looks_longer_and_one_to_the_side_does_not():
    ahead = stretched({"direction": (0.6, 0.0, 0.8)}, RATIO, "direction")["direction"]
    assert ahead[2] / ahead[0] == pytest.approx(RATIO * 0.8 / 0.6)
    assert np.linalg.norm(ahead) == pytest.approx(1)
    beside = {"direction": (1.0, 0.0, 0.0)}
    assert stretched(beside, RATIO, "direction") == beside


@pytest.mark.parametrize(
    ("value", "kind", "then"),
    [
        (2.0, "z", 2.4),
        (None, "z", None),
        ((3.0, 4.0), "match", (3.0, 4.0)),
        (2.0, "width_data", 2.0),
    ],
)
def test_depths_grow_with_the_focal_length_and_matches_and_widths_stay(value, kind, then):
    assert stretched(value, RATIO, kind) == then


@pytest.mark.parametrize("ratio", [0.8, 1.0, 1.2])
def test_the_truth_of_a_claimed_focal_length_is_that_of_the_true_one(ratio, source):
    (view, other) = ROOMS[0]
    asked = claimed(source("pose"), ratio)
    first, second = asked.items[0]
    assert first.camera.fx == ratio * view.camera.fx
    assert first.image is not None
    assert np.array_equal(first.image, view.image)
    assert np.array_equal(first.depth_m, view.depth_m)
    assert np.array_equal(second.world_from_cam, other.world_from_cam)
    truths = [
        [qa.truth for qa in each.sample(0, "", np.random.default_rng(0)).qas]
        for each in (source("pose"), asked)
    ]
    assert truths[0] == truths[1]


@pytest.mark.parametrize("ratio", [0.8, 1.2])
def test_matches_are_those_of_the_true_cameras(ratio, source):
    true, wrong = (claimed(source("correspondence"), r).items[0] for r in (1.0, ratio))
    assert np.array_equal(true.uv1, wrong.uv1)
    assert np.array_equal(true.uv2, wrong.uv2)
    sample = claimed(source("correspondence"), ratio).sample(0, "", np.random.default_rng(0))
    scale = ratio * true.view1.camera.fx / 100  # from the unified image back to the photo
    for qa in sample.qas:
        places = np.array([qa.about[0], qa.truth]) / 2000
        uv1, uv2 = (p * view.size * scale for p, view in zip(places, sample.views, strict=True))
        nearest = np.hypot(*(true.uv1 - uv1).T).argmin()
        assert np.allclose(true.uv2[nearest], uv2, atol=0.5)


@pytest.mark.parametrize("ratio", [0.0, -1.0, float("nan"), float("inf")])
def test_a_ratio_that_no_lens_has_is_refused(ratio, source):
    with pytest.raises(ValueError, match="ratio"):
        claimed(source("depth"), ratio)


def test_evaluations_of_different_ratios_are_not_taken_for_each_other(source, tmp_path):
    answered(source("depth"), tmp_path, lambda qa: qa.answer)
    with pytest.raises(ValueError, match="focal_ratio"):
        answered(source("depth"), tmp_path, lambda qa: qa.answer, RATIO)


def test_who_looks_at_the_image_alone_loses_depth_once_the_lens_is_a_quarter_off(source, tmp_path):
    right = answered(source("depth"), tmp_path, lambda qa: qa.answer)
    worth = {r: wrong_focal.expected(right, r)["delta_1"] for r in (0.7, 0.9, 1.0, 1.1, 1.3)}
    assert worth == {0.7: 0, 0.9: 1, 1.0: 1, 1.1: 1, 1.3: 0}
    assert wrong_focal.expected(right, 1.3, perfect=True)["abs_rel"] == pytest.approx(0.3)
    guessed = answered(source("depth"), tmp_path / "guessed", lambda qa: "3.00")
    assert wrong_focal.expected(guessed, 1.3, perfect=True)["delta_1"] == 0


def test_correspondence_does_not_care_for_the_lens(source, tmp_path):
    right = answered(source("correspondence"), tmp_path, lambda qa: qa.answer)
    assert wrong_focal.expected(right, 1.3) == wrong_focal.expected(right, 1.0)
    assert wrong_focal.gains(right) == {}


def test_a_gain_is_how_many_times_too_large_answers_are(source, tmp_path):
    large = answered(source("depth"), tmp_path / "z", lambda qa: f"{1.5 * qa.truth:.3f}")
    assert wrong_focal.gains(large) == {"z": pytest.approx(1.5, rel=1e-3)}

    def halved(qa):
        yaw, pitch, roll = (qa.truth.get(f"{n}_deg", 0) / 2 for n in ("yaw", "pitch", "roll"))
        return f"yaw {yaw:+.3f}, pitch {pitch:+.3f}, roll {roll:+.3f} degrees"

    small = answered(source("pose"), tmp_path / "pose", halved)
    found = wrong_focal.gains(small)
    assert [found[f"{n}_deg"] for n in ("yaw", "pitch", "roll")] == pytest.approx(
        [0.5] * 3, abs=0.01
    )


def test_what_is_measured_has_the_blind_answers_and_the_foreseen_ones_beside_it(source, tmp_path):
    asked = replace(source("depth"), items=[ROOMS[k] for k in range(3)], origin={})
    config = Evaluation("depth", "rooms", "constant", tmp_path, samples=3, progress=False)
    found = wrong_focal.measured(config, asked, (0.8, 1.0))
    assert found["scores"] == ["delta_1"]
    assert found["blind"].keys() == {"constant", "place"}
    assert found["ratios"].keys() == {"0.8", "1.0"}
    true = found["ratios"]["1.0"]
    assert true["model"] == found["blind"]["constant"] == true["expected"]
    assert true["perfect"] == {"delta_1": 1.0}
    widest = [
        max(int(size.split("x")[0]) for size in each["sizes"]) for each in found["ratios"].values()
    ]
    assert widest[0] > widest[1]  # too short a focal length makes the picture larger


def test_a_view_and_a_pair_are_claimed_as_what_they_are(source):
    view = ROOMS[0][0]
    only = wrong_focal.Claimed([view], RATIO)[0]
    assert isinstance(only, View)
    assert only.camera.fy == RATIO * view.camera.fy
    pair = claimed(source("correspondence"), 1.0).items[0]
    again = wrong_focal.Claimed([pair], RATIO, matched=True)[0]
    assert again.view2.camera.fx == RATIO * pair.view2.camera.fx
    assert np.array_equal(again.uv2, pair.uv2)
