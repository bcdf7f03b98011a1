"""How a model was taught is how it is asked: by a file, by a copy of the authors' release, or in
words of ours; and a released checkpoint is never asked in other ones by accident."""

import json
import logging
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from tests import hub
from tests.conftest import ROOT
from vlm3 import tasks
from vlm3.mixture import Mixture, Source
from vlm3.qwen import files, lessons, model, release
from vlm3.qwen.lessons import Lesson
from vlm3.scoring import predictors
from vlm3.scoring.evaluate import Evaluation, evaluate, predictions
from vlm3.sources.released import Released
from vlm3.terminal import ask, cli
from vlm3.views import View

TAUGHT = ("depth", "correspondence", "pose", "objects")
THOUGHTS = "<think>abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ,;:!?+-*=_~^</think>"


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A user's copy of the release."""
    return hub.release(tmp_path_factory.mktemp("copy") / "VLM3")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A folder named like a released checkpoint, whose answer is longer than ours are."""
    return hub.checkpoint(tmp_path_factory.mktemp("hub") / "VLM3-depth", THOUGHTS + "2.5")


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    Image.new("RGB", (300, 200), (127, 127, 127)).save(path)
    return path


def mixture(tmp_path, copy, name, task):
    path = tmp_path / f"{name}.toml"
    arguments = f"{{ path = '{copy / 'sample_data' / name}.json' }}"
    path.write_text(
        f'[sources.released]\nfrom = "vlm3.sources.released:Released"\ntask = "{task}"\n'
        f"arguments = {arguments}\n"
    )
    return str(path)


def test_a_copy_of_the_release_holds_all_that_its_checkpoints_were_taught(copy):
    found = {task: lessons.lesson(lessons.read(copy), task) for task in tasks.NAMES}
    sizes = {task: (told.focal_px, told.longest_px, told.fit) for task, told in found.items()}
    assert sizes["depth"] == (1000, 0, "stretch")
    assert sizes["correspondence"][1:] == (1024, "stretch")
    assert sizes["pose"] == (750, 0, "stretch")
    longest = {"depth": 256, "correspondence": 2048, "pose": 512, "objects": 512}
    assert {task: found[task].tokens for task in longest} == longest
    scales = {task: found[task].task(task).reference for task in ("depth", "correspondence")}
    assert (scales["depth"].scale, scales["correspondence"].scale) == (2000, 1000)
    assert {each.rounding for each in scales.values()} == {"nearest"}


def test_questions_are_the_authors_to_the_letter(copy):
    taught, rng = lessons.read(copy), np.random.default_rng(0)
    view = View(np.zeros((100, 200, 3), np.uint8), None)
    depth = lessons.lesson(taught, "depth").task("depth")
    (asked,) = depth.unanswered([view], rng, [(20.5, 59.5)])
    assert asked.question == "Metres to 200, 1180? Think, then answer."
    matches = lessons.lesson(taught, "correspondence").task("correspondence")
    (asked,) = matches.unanswered([view, view], rng, [(20.5, 59.5)])
    assert asked.question == "Find (100, 590) of {image one} again. Think {first}."
    pose = lessons.lesson(taught, "pose").task("pose")
    said = {qa.kind: qa.question for qa in pose.unanswered([view, view], rng)}
    assert said["rotation"] == "Turned how?"
    assert said["distance"] == "Gone how far?"


@pytest.mark.parametrize("template", ["Say {{x}} of {nx}, {ny}", "Say {x} of {nx}, {ny}"])
def test_braces_that_are_no_gap_stay_whether_or_not_they_were_escaped(template, tmp_path):
    code = f"PROMPT_TEMPLATE = {template!r}"
    cells = {"cells": [{"cell_type": "code", "source": [code]}]}
    (tmp_path / "inference.ipynb").write_text(json.dumps(cells))
    depth = lessons.lesson(release.lessons(tmp_path), "depth").task("depth")
    view = View(np.zeros((10, 10, 3), np.uint8), None)
    (asked,) = depth.unanswered([view], np.random.default_rng(0), [(1.5, 2.5)])
    assert asked.question == "Say {x} of 200, 400"


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("inference.ipynb", '{"cells": []}', "inference.ipynb .* no code in it assigns PROMPT_"),
        (
            "inference.ipynb",
            json.dumps({"cells": [{"cell_type": "code", "source": ["PROMPT_TEMPLATE = 'x'"]}]}),
            "inference.ipynb .* a question lacks {nx}",
        ),
        ("sample_data/pose_labels.json", "[]", "pose_labels.json .* expected labels with qa_pairs"),
        ("sample_data/pixel_corr_labels.json", "{", "pixel_corr_labels.json .*"),
    ],
)
def test_a_release_that_is_not_as_published_is_refused_with_its_file(
    name, content, complaint, tmp_path
):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=complaint):
        lessons.read(tmp_path)


def test_an_empty_folder_is_no_release(tmp_path):
    with pytest.raises(FileNotFoundError, match="neither taught.json nor a copy of the release"):
        lessons.read(tmp_path)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[dept]\ntokens = 3", "tables named after tasks .*depth.*, not 'dept'"),
        ("depth = 3", "not 'depth'"),
        ("[depth]\ntoken = 3", "depth: unknown token: a lesson has focal_px, "),
        ("[depth]\ntokens = 0", "depth: tokens is a number of at least 1, got 0"),
        ("[depth]\nfocal_px = true", "focal_px is a number of at least 1, got True"),
        ("[depth]\nfit = 'squeeze'", "fit is one of pad, crop, stretch, got 'squeeze'"),
        ("[depth.templates]\nnotes = ''", "the templates of depth have no notes"),
        ("[depth.templates]\nscale = 0", "scale must be a positive whole number, got 0"),
        ("[depth", "not lessons in TOML"),
    ],
)
def test_lessons_that_cannot_be_are_refused_with_their_file(text, complaint, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=f"mine.toml.*{complaint}"):
        lessons.read(path)


@pytest.mark.parametrize("name", ["facebook/VLM3-corr", "runs/VLM3-pose/", "VLM3-object"])
def test_a_released_checkpoint_without_lessons_is_refused_with_the_ways_out(name, vlm):
    with pytest.raises(ValueError, match="--lessons PATH, .* --lessons FILE, .* --lessons words"):
        lessons.demand(name)
    lessons.demand(name, "words")
    asked = model.VLM(vlm.net, vlm.tokenizer, name=name)
    with pytest.raises(ValueError, match=f"^{name} answers well in the words"):
        asked.lesson("pose")


def test_lessons_without_the_task_of_a_released_checkpoint_are_refused_before_it_is_loaded(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(files, "snapshot_download", lambda *_, **__: pytest.fail("downloaded"))
    path = tmp_path / "mine.toml"
    path.write_text("[depth]\ntokens = 9")
    lessons.demand("facebook/VLM3-depth", str(path))
    with pytest.raises(ValueError, match="no lesson of correspondence, which facebook/VLM3-corr"):
        model.load("facebook/VLM3-corr", lessons=path)
    with pytest.raises(FileNotFoundError, match="no lessons at .*gone: say a file of yours"):
        model.load("facebook/VLM3-corr", lessons=tmp_path / "gone")


def test_lessons_of_one_task_leave_those_that_a_model_has_of_others(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("[correspondence]\ntokens = 9")
    plain, told = model.load("tiny"), model.load("tiny", lessons=path)
    assert told.lesson("depth") == plain.lesson("depth")
    assert told.taught["correspondence"] == {"tokens": 9}


def test_a_name_that_only_looks_alike_is_asked_as_any_other():
    for name in ("me/VLM3-depths", "facebook/VLM3", "tiny", "random:4b"):
        lessons.demand(name)


def test_the_terminal_and_an_evaluation_refuse_it_before_anything_is_downloaded(
    photo, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(files, "snapshot_download", lambda *_, **__: pytest.fail("downloaded"))
    said = ["vlm3", "ask", "depth", str(photo), "--focal-px", "300", "--at", "9,9"]
    monkeypatch.setattr(sys, "argv", [*said, "--model", "facebook/VLM3-depth"])
    with pytest.raises(SystemExit, match="2"):
        cli.main()
    assert "vlm3: facebook/VLM3-depth answers well in the words" in capsys.readouterr().err
    for name in ("facebook/VLM3-depth", "vllm:facebook/VLM3-depth", "mbr:facebook/VLM3-depth"):
        with pytest.raises(ValueError, match="ways out"):
            evaluate(Evaluation(source="rooms-validation", model=name, out=tmp_path / "out"))


def test_a_checkpoint_of_the_release_answers_a_photo_in_its_own_way(
    photo, checkpoint, copy, monkeypatch, capsys
):
    said = ["vlm3", "ask", "depth", str(photo), "--focal-px", "1000", "--at", "30,50", "--json"]
    monkeypatch.setattr(sys, "argv", [*said, "--model", str(checkpoint), "--lessons", str(copy)])
    with pytest.raises(SystemExit, match="0"):
        cli.main()
    (answer,) = json.loads(capsys.readouterr().out)["answers"]
    assert answer["depth_m"] == 2.5
    assert answer["text"] == THOUGHTS + "2.5"


def test_cut_off_where_ours_are_its_answer_would_say_nothing(checkpoint, copy, tmp_path):
    taught = lessons.read(copy)
    taught["depth"]["tokens"] = lessons.LONGEST
    (tmp_path / "short.json").write_text(json.dumps(taught))
    view = Source([View(np.full((64, 64, 3), 127, np.uint8), None)], "depth").items[0]
    found = [
        ask.depth(model.load(checkpoint, lessons=path), _known(view), [(9, 9)])[0].value
        for path in (copy, tmp_path / "short.json")
    ]
    assert found == [2.5, None]


def _known(view):
    from vlm3.sources.photo import Camera

    return View(view.image, Camera(1000, 1000, 32, 32, 64, 64))


def test_its_label_files_are_evaluated_in_its_words_and_sizes(checkpoint, copy, tmp_path):
    source = mixture(tmp_path, copy, "depth_labels", "depth")
    asked = Evaluation(
        "depth", source, str(checkpoint), tmp_path / "out", lessons=str(copy), progress=False
    )
    scores = evaluate(asked)
    assert (scores["delta_1"], scores["parsed"], scores["questions"]) == (0.5, 1, 2)
    (record,) = predictions(tmp_path / "out")
    assert [answer["question"] for answer in record["answers"]] == [
        "Metres to 200, 599? Think, then answer.",
        "Metres to 1600, 1198? Think, then answer.",
    ]
    with pytest.raises(ValueError, match="begun with another configuration.*asked"):
        evaluate(Evaluation("depth", source, str(checkpoint), asked.out, lessons="words"))


def test_images_arrive_as_the_authors_program_shows_them(copy):
    labels = {"depth_labels": "depth", "pixel_corr_labels": "correspondence"}
    shown = {}
    for name, task in labels.items():
        items = Released(copy / "sample_data" / f"{name}.json")
        source = predictors.as_taught(Source(items, task), lessons.read(copy))
        views = source.sample(0, "", np.random.default_rng(0)).views
        shown[task] = [view.size for view in views]
    # 250x167 and 1024x683, each side rounded to a multiple of 32 by itself
    assert shown == {"depth": [(256, 160)], "correspondence": [(1024, 672)] * 2}


def test_matches_are_read_in_the_units_of_the_release(copy, tmp_path):
    folder = hub.checkpoint(tmp_path / "VLM3-corr", "<think>abc</think>(12, 34)")
    found = ask.correspondence(
        model.load(folder, lessons=copy), *[_known(View(_grey(), None))] * 2, [(9.5, 9.5)]
    )
    # index / size in thousandths, of a picture 1024 wide, taken back to 64
    expected = np.array([12, 34]) / 1000 * 64 + 0.5 * 64 / 1024
    assert found[0].value == pytest.approx(expected, abs=1e-6)


def _grey():
    return np.full((64, 64, 3), 127, np.uint8)


def test_vllm_may_answer_as_long_and_sees_the_same_images(copy, tmp_path, monkeypatch):
    engines = []

    class Engine:
        def __init__(self, **settings):
            self.asked, self.settings = [], settings
            engines.append(self)

        def get_tokenizer(self):
            return SimpleNamespace(convert_tokens_to_ids={"<|im_end|>": 7, "<|image_pad|>": 9}.get)

        def generate(self, prompts, params, use_tqdm=True):
            self.asked, self.params = prompts, params
            steps = [{5: SimpleNamespace(logprob=-0.5)}]
            said = SimpleNamespace(text="<think>a</think>(338, 52)", token_ids=[5], logprobs=steps)
            sizes = [[i.size for i in p["multi_modal_data"]["image"]] for p in prompts]
            blocks = [sum(w * h for w, h in each) // 32**2 for each in sizes]
            return [SimpleNamespace(outputs=[said], prompt_token_ids=[9] * n) for n in blocks]

    module = SimpleNamespace(LLM=Engine, SamplingParams=SimpleNamespace, __version__="0")
    monkeypatch.setitem(sys.modules, "vllm", module)
    source = mixture(tmp_path, copy, "pixel_corr_labels", "correspondence")
    asked = Evaluation("correspondence", source, "vllm:facebook/VLM3-corr", lessons=str(copy))
    scores = evaluate(Evaluation(**{**vars(asked), "out": tmp_path / "out", "progress": False}))
    (engine,) = engines
    assert engine.params.max_tokens == 2048
    assert [image.size for image in engine.asked[0]["multi_modal_data"]["image"]] == [
        (1024, 672)
    ] * 2
    assert "Find (440, 60) of {image one} again. Think {first}." not in engine.asked[0]["prompt"]
    assert "Find (440, 60) of {image one} again." in engine.asked[0]["prompt"]
    assert scores["epe_px"] < 1


def test_the_licence_of_a_checkpoint_is_told_when_it_is_loaded(checkpoint, caplog, tmp_path):
    with caplog.at_level(logging.WARNING, "vlm3"):
        files.tell_licence("facebook/VLM3-depth", tmp_path)
        (tmp_path / "README.md").write_text("---\nlicense: cc-by-nc-4.0\n---\nlicense: mit\n")
        files.tell_licence("me/model", tmp_path)
        (tmp_path / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
        files.tell_licence("me/free", tmp_path)
    assert [record.getMessage() for record in caplog.records] == [
        "facebook/VLM3-depth: licence FAIR CC-BY-NC, for non-commercial use only",
        "me/model: licence cc-by-nc-4.0, for non-commercial use only",
    ]


def test_a_plain_qwen_of_the_hub_is_told_what_an_answer_looks_like(checkpoint, monkeypatch):
    monkeypatch.setattr(files, "snapshot_download", lambda *_, **__: str(checkpoint))
    vlm = model.load("Qwen/Qwen3-VL-4B-Instruct")
    assert vlm.lesson("depth").tokens == lessons.LONGEST
    assert "number alone" in vlm.task("depth").templates["note"]
    assert vlm.task("correspondence").templates["scale"] == 1000
    assert model.load("Qwen/Qwen3-VL-4B-Thinking").lesson("pose").tokens == 2048
    assert model.load("me/other").taught == {}


def test_words_of_ours_fit_every_task():
    assert lessons.read("words").keys() <= set(tasks.NAMES)


def test_a_model_that_learns_from_a_source_is_asked_with_its_sizes():
    view = View(np.zeros((32, 64, 3), np.uint8), None)
    source = Source([view], "correspondence", longest_px=128, fit="crop")
    taught = Mixture({"some": source}).taught
    assert lessons.lesson(taught, "correspondence").sizing == source.sizing
    assert Lesson(**Mixture({"a": Source([view], "depth", 3, 500)}).taught["depth"]).fit == "pad"


def test_where_pictures_have_one_size_a_photo_needs_no_focal_length(
    photo, copy, tmp_path, monkeypatch, capsys
):
    folder = hub.checkpoint(tmp_path / "VLM3-corr", "<think>abc</think>(12, 34)")
    said = ["vlm3", "ask", "correspondence", str(photo), str(photo), "--at", "30,50", "--json"]
    monkeypatch.setattr(sys, "argv", [*said, "--model", str(folder), "--lessons", str(copy)])
    with pytest.raises(SystemExit, match="0"):
        cli.main()
    told = json.loads(capsys.readouterr().out)
    assert told["photos"][0]["focal_from"].endswith("noted_or_any")
    # thousandths of the picture, whatever its lens
    assert told["answers"][0]["match"] == pytest.approx([0.012 * 300, 0.034 * 200], abs=0.3)


def test_the_guide_shows_what_a_copy_of_the_release_comes_to(copy):
    page = (ROOT / "book" / "guide" / "released.md").read_text()
    found = [lessons.lesson(lessons.read(copy), task) for task in TAUGHT]
    sizes = [f"longest side {t.longest_px}" if t.longest_px else f"{t.focal_px:g}" for t in found]
    assert f"| {' | '.join(sizes)} |" in page
    assert f"| `fit` | {' | '.join(told.fit for told in found)} |" in page
    tokens = [f"{t.tokens}, with thoughts" if t.tokens > 2000 else str(t.tokens) for t in found]
    assert f"| `tokens` | {' | '.join(tokens)} |" in page
