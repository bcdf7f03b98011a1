"""Who answers: each file of the folder, the baselines' sense, and what vLLM is asked, told by a
stand-in."""

import copy
import sys
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from vlm3 import parallel, tasks
from vlm3.geometry import Camera, project, rays, rotation_from_ypr
from vlm3.mixture import Source
from vlm3.qwen import adapters, decode, model
from vlm3.scoring import predictors
from vlm3.scoring.predictors import constant, mbr, network, opencv, vllm
from vlm3.sources import photos
from vlm3.sources.rooms import Rooms
from vlm3.views import QA, Answer, Sample, View

VIEWS = {name: tasks.get(name).views for name in tasks.NAMES}


def source(task: str, **changes) -> Source:
    return Source(Rooms("small", views=VIEWS[task]), task, 4, 100, **changes)


def sample(found: Source, item: int = 0) -> Sample:
    return found.sample(item, "", np.random.default_rng([0, item]))


def values(found: Source, asked: Sample, answers: list[Answer]) -> list:
    return [found.bound.read(qa, a.text) for qa, a in zip(asked.qas, answers, strict=True)]


# All of them


@pytest.mark.parametrize("name", ["constant", "opencv", "random:tiny", "vllm:tiny"])
@pytest.mark.parametrize("task", ["correspondence", "pose"])
def test_each_answers_all_questions_of_all_samples_in_their_order(name, task, stand_in, few):
    found = predictors.get(name, source(task))
    asked = [sample(found.source, item) for item in (0, 1)]
    answers = found.predict(asked)
    assert [len(each) for each in answers] == [len(each.qas) for each in asked]
    assert all(isinstance(a.text, str) and a.logprob <= 0 for each in answers for a in each)
    assert found.identity
    assert found.predict([]) == []


def test_a_name_is_a_file_of_the_folder_or_a_model():
    assert {"constant", "network", "opencv", "vllm"} <= set(predictors.NAMES)
    with pytest.raises(FileNotFoundError, match="castle"):
        predictors.get("castle", source("depth"))


# The most central of likely answers


def likely(**probabilities: float) -> list[Answer]:
    """Answers by their texts, with _ for a space, best first."""
    said = {text.replace("_", " "): p for text, p in probabilities.items()}
    return [Answer(text, (float(np.log(p)),)) for text, p in said.items()]


@pytest.mark.parametrize(
    ("task", "kind", "answers", "said"),
    [
        ("depth", "z", {"1": 0.3, "6.9": 0.2, "7.0": 0.25, "7.2": 0.2}, "6.9"),
        ("depth", "z", {"far": 0.9, "2.0": 0.05}, "2.0"),
        ("depth", "z", {"far": 0.6, "further": 0.2}, "far"),
        ("correspondence", "match", {"(5, 9)": 0.4, "(50, 90)": 0.3, "(52, 91)": 0.3}, "(50, 90)"),
        (
            "pose",
            "distance",
            {"0.10 metres": 0.4, "0.50 metres": 0.3, "0.52 metres": 0.3},
            "0.50 metres",
        ),
        ("objects", "left_predicate", {"no": 0.4, "yes": 0.35, "Yes": 0.2}, "yes"),
        (
            "objects",
            "direction",
            {"12 o'clock": 0.4, "1 o'clock": 0.3, "3 o'clock": 0.3},
            "12 o'clock",
        ),
    ],
)
def test_the_answer_nearest_to_all_is_said_and_the_most_probable_word(task, kind, answers, said):
    qa = QA(kind, (), "How far?")
    assert mbr.central(tasks.get(task), qa, likely(**answers)).text == said


def test_an_answer_that_leaves_out_a_part_does_not_win_by_being_short():
    whole = "yaw +{}, pitch +0, roll +0 degrees"
    answers = {"yaw +1": 0.3, whole.format(10): 0.25, whole.format(11): 0.25}
    found = mbr.central(
        tasks.get("pose"), QA("rotation", (), "Yaw, pitch, roll?"), likely(**answers)
    )
    assert found.text == whole.format(10)


def test_mbr_says_the_central_one_of_what_the_network_finds_likely(vlm):
    found, greedy = mbr.of(vlm, source("depth")), network.of(vlm, source("depth"))
    asked = sample(found.source)
    assert asked.qas == sample(greedy.source).qas
    task, likely = found.source.bound, decode.likely(vlm, [asked])[0]
    said = [mbr.central(task, *each) for each in zip(asked.qas, likely, strict=True)]
    assert found.predict([asked]) == [said]
    assert found.identity != greedy.identity


# A network


def test_a_network_is_asked_as_it_was_taught(vlm):
    taught = {"depth": {"focal_px": 50.0, "templates": {"scale": 10}}}
    found = network.of(model.VLM(vlm.net, vlm.tokenizer, taught), source("depth"))
    assert (found.source.focal_px, found.source.templates) == (50.0, {"scale": 10})
    unknown = source("depth")
    assert network.of(vlm, unknown).source == unknown
    assert sample(found.source).views[0].camera.fx == pytest.approx(50)


def test_other_weights_have_another_identity_and_the_same_ones_the_same():
    first, second = (predictors.get("random:tiny", source("depth")).identity for _ in range(2))
    assert first == second
    assert network.of(model.new("tiny", seed=1), source("depth")).identity != first


# One answer to everything


@pytest.fixture
def few(monkeypatch):
    """The constant looks at twelve samples only."""
    monkeypatch.setattr(constant, "LOOKED_AT", 12)
    return range(12)


@pytest.mark.parametrize("task", tasks.NAMES)
def test_a_constant_says_one_thing_to_questions_of_one_kind(task, few):
    found = predictors.get("constant", source(task))
    asked = [sample(found.source, item) for item in few]
    said: dict = {}
    for each, answers in zip(asked, found.predict(asked), strict=True):
        for qa, answer, value in zip(
            each.qas, answers, values(found.source, each, answers), strict=True
        ):
            said.setdefault(qa.kind, set()).add(answer.text)
            assert value is not None
    assert said
    assert {len(texts) for texts in said.values()} == {1}


def test_no_other_constant_has_less_absolute_error(few):
    found = predictors.get("constant", source("depth"))
    asked = [sample(found.source, item) for item in few]
    truths = np.array([qa.truth for each in asked for qa in each.qas])
    value, *_ = values(found.source, asked[0], found.predict(asked[:1])[0])
    errors = [np.abs(truths - said).mean() for said in (value, *np.linspace(0.5, 5, 200))]
    assert errors[0] == pytest.approx(min(errors), abs=0.01)


# OpenCV


def camera(width: int, height: int) -> Camera:
    return Camera(600.0, 600.0, width / 2, height / 2, width, height)


def picture(rng: np.random.Generator, width: int = 640, height: int = 480) -> np.ndarray:
    """Blots of all sizes, which SIFT likes."""
    image = np.zeros((height, width))
    for size in (4, 8, 16, 32):
        coarse = rng.random((height // size, width // size))
        image += size * np.kron(coarse, np.ones((size, size)))
    return np.repeat((255 * image / image.max()).astype(np.uint8)[..., None], 3, -1)


def turned(view: View, yaw_deg: float) -> View:
    """A far picture, seen by a camera that turned to the right on the spot."""
    K = view.camera.K
    image = cv2.warpPerspective(
        view.image, K @ rotation_from_ypr(yaw_deg, 0, 0).T @ np.linalg.inv(K), view.size
    )
    return View(image, view.camera, world_from_cam=view.world_from_cam)


def test_opencv_finds_how_two_photographs_were_taken():
    found = Source([photos.motorcycle()], "pose", 4, 500.0)
    asked = sample(found)
    (answers,) = opencv.predictor("", found).predict([asked])
    pairs = list(zip(values(found, asked, answers), (qa.truth for qa in asked.qas), strict=True))
    scores = found.bound.score(pairs)
    assert scores["rotation_error_deg"] < 1
    assert scores["direction_error_signed_deg"] < 10
    assert scores["angle_error_deg"] < 1
    assert [bool(a.text) for a in answers] == [True, True, True, False]  # two views have no scale


def test_opencv_follows_most_pixels_from_one_photograph_to_the_other():
    found = Source([photos.motorcycle()], "correspondence", 100, 500.0)
    asked = sample(found)
    (answers,) = opencv.predictor("", found).predict([asked])
    pairs = list(zip(values(found, asked, answers), (qa.truth for qa in asked.qas), strict=True))
    assert found.bound.score(pairs)["pck_5"] > 0.5


def test_opencv_follows_a_camera_that_turns_on_the_spot(rng):
    """Nothing says how deep anything is, and all the same each pixel has its place."""
    view1 = View(picture(rng), camera(640, 480), world_from_cam=np.eye(4))
    view2 = turned(view1, 5.0)
    found = opencv.motion(view1, view2)
    uv1 = np.array([[320.0, 240.0], [400.0, 100.0], [300.0, 400.0]])
    expected = project(rays(uv1, view1.camera) @ rotation_from_ypr(5.0, 0, 0), view1.camera)
    for uv, place in zip(uv1, expected, strict=True):
        assert opencv.moved(uv, found, view1, view2) == pytest.approx(place, abs=3)


def test_opencv_answers_nothing_about_views_without_features():
    bare = View(np.full((96, 128, 3), 90, np.uint8), camera(128, 96), world_from_cam=np.eye(4))
    for task, question in (
        ("pose", "?"),
        ("correspondence", "Find pixel (3, 4) of image 1 again in image 2."),
    ):
        asked = Sample((bare, bare), (QA("", (), question),) * 2, task, "")
        (answers,) = opencv.predictor("", source(task)).predict([asked])
        assert [a.text for a in answers] == ["", ""]


def test_opencv_says_the_same_again_and_in_the_words_of_the_templates():
    changes = {"angle": {"answer": "{value:.3f} degrees"}}
    found = source("pose", templates=changes)
    asked = Sample(
        sample(Source([photos.motorcycle()], "pose", 4, 300.0)).views, sample(found).qas, "pose", ""
    )
    first, second = (opencv.predictor("", found).predict([asked]) for _ in range(2))
    assert first == second
    assert len(first[0][0].text.split()[0].split(".")[1]) == 3


@pytest.mark.parametrize("task", ["depth", "objects"])
def test_opencv_refuses_what_it_cannot_solve_and_names_what_it_can(task):
    with pytest.raises(ValueError, match=f"opencv answers correspondence and pose, not {task}"):
        predictors.get("opencv", source(task))


# vLLM, which is not here


class StandIn:
    """Takes what vLLM's LLM takes, notes it, and says "2.50" at once; its processor cuts images
    into 32 x 32."""

    def __init__(self, shrunk: int = 1, **settings):
        self.settings, self.shrunk, self.asked, self.calls = settings, shrunk, [], 0

    def get_tokenizer(self):
        return SimpleNamespace(convert_tokens_to_ids={"<|im_end|>": 7, "<|image_pad|>": 9}.get)

    def generate(self, prompts, params, use_tqdm=True, lora_request=None):
        self.asked += prompts
        self.adapter = lora_request
        self.params, self.calls = params, self.calls + 1
        return [self.reply(each["multi_modal_data"]["image"]) for each in prompts]

    def reply(self, images):
        blocks = sum(image.width * image.height for image in images) // 32**2 // self.shrunk
        steps = [
            {5: SimpleNamespace(logprob=-0.5), 6: SimpleNamespace(logprob=-2.0)},
            {7: SimpleNamespace(logprob=-0.1)},
        ]
        said = SimpleNamespace(text="2.50", token_ids=[5, 7], logprobs=steps)
        return SimpleNamespace(outputs=[said], prompt_token_ids=[1] + [9] * blocks + [2])


@pytest.fixture
def stand_in(monkeypatch):
    """A module like vLLM, whose engines are kept in `made`."""
    made = []

    def engine(**settings):
        made.append(StandIn(**settings))
        return made[-1]

    module = SimpleNamespace(
        LLM=engine, SamplingParams=SimpleNamespace, __version__="0.0", made=made
    )
    monkeypatch.setitem(sys.modules, "vllm", module)
    return module


def test_vllm_is_given_each_image_as_it_is_before_the_question(stand_in):
    found = predictors.get("vllm:some/model", source("correspondence"))
    asked = [sample(found.source, item) for item in (0, 1)]
    answers = found.predict(asked)
    (engine,) = stand_in.made
    assert engine.calls == 1
    assert len(engine.asked) == 8
    for request, (each, qa) in zip(
        engine.asked, [(s, qa) for s in asked for qa in s.qas], strict=True
    ):
        images = "<|vision_start|><|image_pad|><|vision_end|>" * 2
        assert (
            request["prompt"]
            == f"<|im_start|>user\n{images}{qa.question}<|im_end|>\n<|im_start|>assistant\n"
        )
        for image, view in zip(request["multi_modal_data"]["image"], each.views, strict=True):
            assert np.array_equal(np.asarray(image), view.image)
    assert answers[0][0] == Answer("2.50", (-0.5, -0.1))


def test_vllm_is_told_to_keep_prefixes_sizes_and_to_be_greedy_to_the_end_of_the_turn(stand_in):
    predictors.get("vllm:some/model", source("depth")).predict([sample(source("depth"))])
    (engine,) = stand_in.made
    assert engine.settings["model"] == "some/model"
    assert engine.settings["enable_prefix_caching"]
    limits = engine.settings["mm_processor_kwargs"]["size"]
    assert limits["shortest_edge"] <= 32**2 < 2048**2 <= limits["longest_edge"]
    assert engine.settings["limit_mm_per_prompt"]["image"] == 2
    assert (engine.params.temperature, engine.params.stop_token_ids) == (0.0, [7])
    assert engine.params.logprobs is not None


def test_images_that_vllm_resized_are_told(stand_in, monkeypatch):
    monkeypatch.setattr(stand_in, "LLM", lambda **settings: StandIn(shrunk=2, **settings))
    found = predictors.get("vllm:some/model", source("depth"))
    with pytest.raises(
        ValueError,
        match=r"vLLM made 6 tokens of images of \[\(128, 96\)\] pixels, not 12: it resized",
    ):
        found.predict([sample(found.source)])


def test_vllm_follows_the_lessons_of_a_folder_and_knows_its_weights_again(stand_in, vlm, tmp_path):
    identities = []
    for seed in (0, 1):
        taught = {"depth": {"focal_px": 50.0, "templates": {"scale": 10}}}
        folder = tmp_path / str(seed)
        model.save(model.VLM(model.new(vlm.net.config, seed).net, vlm.tokenizer, taught), folder)
        found = predictors.get(f"vllm:{folder}", source("depth"))
        assert (found.source.focal_px, found.source.templates) == (50.0, {"scale": 10})
        identities.append(found.identity)
        assert predictors.get(f"vllm:{folder}", source("depth")).identity == found.identity
    assert len(set(identities)) == 2


def test_vllm_puts_an_adapter_on_its_base_and_asks_as_it_was_taught(
    stand_in, vlm, tmp_path, monkeypatch
):
    requests = SimpleNamespace(LoRARequest=lambda name, number, path: (name, number, path))
    monkeypatch.setitem(sys.modules, "vllm.lora.request", requests)
    base, adapter = tmp_path / "base", tmp_path / "adapter"
    model.save(vlm, base)
    net, taught = adapters.put(copy.deepcopy(vlm.net), 9, seed=0), {"depth": {"focal_px": 321.0}}
    adapters.save(net, net.state_dict(), str(base), taught, adapter)
    found = predictors.get(f"vllm:{adapter}", source("depth"))
    engine = stand_in.made[-1]
    assert engine.settings["model"] == str(base)
    assert (engine.settings["enable_lora"], engine.settings["max_lora_rank"]) == (True, 16)
    assert found.source.focal_px == 321
    found.predict([sample(source("depth"))])
    assert engine.adapter == ("adapter", 1, str(adapter))


def test_without_vllm_or_a_model_one_line_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(
        ValueError,
        match="vllm:some/model needs vLLM and a GPU .pip install vllm.; without, take some",
    ):
        predictors.get("vllm:some/model", source("depth"))
    with pytest.raises(ValueError, match="vllm needs a model"):
        predictors.get("vllm", source("depth"))


def test_vllm_runs_in_one_process(stand_in, monkeypatch):
    monkeypatch.setattr(parallel, "place", lambda: SimpleNamespace(num_processes=2))
    with pytest.raises(ValueError, match="one process"):
        vllm.predictor("some/model", source("depth"))
