"""Who answers without looking: what they learn, from where, and that they never look."""

from dataclasses import replace

import numpy as np
import pytest

from vlm3 import mixture
from vlm3.geometry import Camera, pixel_centres, rays
from vlm3.mixture import Source
from vlm3.scoring import blind, evaluate, predictors
from vlm3.scoring.evaluate import Evaluation
from vlm3.scoring.predictors import Predictor
from vlm3.sources.rooms import Rooms
from vlm3.views import Answer, NothingToAsk, Sample, View

VIEWS = {"depth": 1, "objects": 1, "correspondence": 2, "pose": 2}
WHO = (
    *(("constant", task) for task in VIEWS),
    *(("place", "depth"), ("place", "correspondence"), ("same_place", "correspondence")),
    *(("mean_motion", "pose"), ("boxes", "objects")),
)


@pytest.fixture(autouse=True)
def few(monkeypatch):
    """Lessons are short."""
    monkeypatch.setattr(blind, "LOOKED_AT", 40)


def source(task: str, items=None) -> Source:
    return Source(items or Rooms("small", views=VIEWS[task]), task, 6, 100)


def sample(found: Source, item: int) -> Sample:
    return found.sample(item, "", np.random.default_rng([0, item]))


def scores(found: Source, name: str, items=range(40, 80)) -> dict[str, float]:
    asked = list(blind.seen(found, items))
    answers = predictors.get(name, found).predict(asked)
    task = found.bound
    return task.score(
        [
            (task.read(qa, a.text), task.truth(qa))
            for each, said in zip(asked, answers, strict=True)
            for qa, a in zip(each.qas, said, strict=True)
        ]
    )


# All of them


@pytest.mark.parametrize(("name", "task"), WHO)
def test_what_they_say_can_be_read_and_does_not_depend_on_the_picture(name, task):
    found = source(task)
    asked = [sample(found, item) for item in (50, 51, 52)]
    dark = [
        replace(s, views=tuple(replace(v, image=np.zeros_like(v.image)) for v in s.views))
        for s in asked
    ]
    who = predictors.get(name, found)
    said = who.predict(asked)
    assert who.predict(dark) == said
    assert [len(each) for each in said] == [len(each.qas) for each in asked]
    for each, answers in zip(asked, said, strict=True):
        for qa, answer in zip(each.qas, answers, strict=True):
            assert found.bound.read(qa, answer.text) is not None


@pytest.mark.parametrize(
    ("name", "task"), [("place", "pose"), ("same_place", "depth"), ("boxes", "pose")]
)
def test_they_refuse_tasks_that_name_nothing_of_theirs(name, task):
    with pytest.raises(ValueError, match=f"{name} answers questions about .*, not {task}"):
        predictors.get(name, source(task))


def test_they_learn_from_the_training_split_of_what_they_are_asked_about():
    asked = mixture.load("rooms-test").sources["depth"]
    learned = blind.lessons(asked)
    assert (asked.items.split, learned.items.split) == ("test", "train")
    assert replace(learned, items=asked.items, origin=asked.origin) == asked
    hindsight = source("depth")
    assert blind.lessons(hindsight) is hindsight


def test_lessons_come_from_all_over_a_source():
    assert blind.evenly(3) == [0, 1, 2]
    many = blind.evenly(1000)
    assert (len(many), many[0], many[-1]) == (40, 0, 975)


def test_other_lessons_are_another_identity():
    found = mixture.load("rooms-test").sources["depth"]
    first, same = (predictors.get("place", found).identity for _ in range(2))
    other = predictors.get("place", replace(found, questions=5)).identity
    assert first == same != other


def test_a_finished_evaluation_is_scored_without_lessons(tmp_path):
    def learn(samples):
        learned.append(len(list(samples)))
        return lambda sample: ["2.00"] * len(sample.qas)

    learned, found = [], source("depth")
    config = Evaluation("depth", out=tmp_path, samples=5, progress=False)
    for _ in range(2):
        once = blind.Blind("two metres", learn, found)
        evaluate.evaluate(config, found, Predictor(once.predict, found, once.identity))
    assert learned == [40]


# Place alone


class Slope:
    """Depth is a function of the direction of a ray alone, through lenses of all kinds."""

    def __len__(self) -> int:
        return 40

    def __getitem__(self, item: int) -> View:
        f = (60.0, 80.0, 130.0)[item % 3]
        camera = Camera(f, f, 48, 32 + item % 5, 96, 64)
        slope = rays(pixel_centres(camera), camera)[..., 1]
        return View(np.zeros((64, 96, 3), np.uint8), camera, np.exp(1 - 2 * slope))


def test_place_knows_what_the_direction_of_a_pixel_tells_whatever_the_lens():
    found = scores(source("depth", Slope()), "place", range(40))
    assert found["delta_1"] > 0.95
    assert scores(source("depth", Slope()), "constant", range(40))["delta_1"] < 0.6


def test_place_is_better_than_a_constant_in_rooms():
    rooms = source("depth")
    assert scores(rooms, "place")["delta_1"] > scores(rooms, "constant")["delta_1"] + 0.05


# Pairs


def test_the_same_place_is_off_by_how_far_a_point_has_moved():
    found = source("correspondence")
    asked = sample(found, 0)
    moved = np.array([np.subtract(qa.truth, qa.about[0]) for qa in asked.qas])
    shares = moved / found.bound.templates["scale"]
    expected = np.linalg.norm(shares * (560, 420), axis=1).mean()
    assert scores(found, "same_place", [0])["epe_px_all"] == pytest.approx(expected)


class Sideways:
    """Most second cameras stand to the right by a metre or so and have turned; some do not."""

    def __len__(self) -> int:
        return 40

    def __getitem__(self, item: int) -> tuple[View, View]:
        rng, pose = np.random.default_rng(item), np.eye(4)
        pose[:3, 3] = rng.normal((1, 0, 0), 0.05) if item % 4 else rng.normal((0, 0, 1), 0.05)
        image, camera = np.zeros((64, 96, 3), np.uint8), Camera(100, 100, 48, 32, 96, 64)
        return tuple(View(image, camera, world_from_cam=p) for p in (np.eye(4), pose))


def test_the_usual_motion_is_one_that_most_pairs_make():
    found = scores(source("pose", Sideways()), "mean_motion", range(40))
    assert 0.5 < found["auc_30"] < 0.75
    assert found["distance_25"] > 0.9


# Boxes


def test_boxes_tell_sides_for_sure_and_more_of_the_rest_than_a_constant(monkeypatch):
    monkeypatch.setattr(blind, "LOOKED_AT", 200)
    rooms, asked = source("objects"), range(200, 260)
    known, guessed = (scores(rooms, name, asked) for name in ("boxes", "constant"))
    assert known["left_right"] == 1
    assert known["qualitative"] > guessed["qualitative"] + 0.2
    assert known["quantitative"] > guessed["quantitative"] + 0.05


# Other images


def brightness(samples: list[Sample]) -> list[list[Answer]]:
    return [[Answer(f"{s.views[0].image[0, 0, 0]:.2f}") for _ in s.qas] for s in samples]


class Bright:
    """Item k is k grey everywhere; one has no known depth, so that nothing can be asked about."""

    def __len__(self) -> int:
        return 7

    def __getitem__(self, item: int) -> View:
        camera, depth = Camera(100, 100, 48, 32, 96, 64), np.ones((64, 96), np.float32)
        known = np.full_like(depth, np.nan) if item == 3 else depth
        return View(np.full((64, 96, 3), item, np.uint8), camera, known)


@pytest.fixture
def shown(monkeypatch):
    """`shuffled` of one who tells the first pixel."""
    found = source("depth", Bright())
    sees = Predictor(brightness, found, "eyes")
    monkeypatch.setitem(predictors.__dict__, "get", lambda model, source, lessons: sees)
    from vlm3.scoring.predictors import shuffled

    return shuffled.predictor("tiny", found)


def test_shuffled_images_are_those_of_another_item_and_questions_stay(shown):
    plain, others = source("depth", Bright()), []
    for item in (0, 1, 2, 4, 5, 6):
        own, asked = sample(plain, item), sample(shown.source, item)
        assert asked.qas == own.qas
        ((answer, *_),) = shown.predict([asked])
        others.append(int(float(answer.text)))
    assert others == [3, 4, 5, 0, 1, 2]  # one of which has no question of its own
    assert shown.identity == "shuffled eyes"
    with pytest.raises(NothingToAsk):
        sample(shown.source, 3)


def test_shuffled_takes_both_views_of_a_pair_from_there():
    found = source("correspondence")
    asked = sample(predictors.get("shuffled:constant", found).source, 2)
    size = len(found.items)
    other = found.views((2 + size // 2) % size)
    assert all((a.image == b.image).all() for a, b in zip(asked.views, other, strict=True))
    with pytest.raises(ValueError, match="one item"):
        predictors.get("shuffled:constant", source("depth", [Rooms("small", views=1)[0]]))
