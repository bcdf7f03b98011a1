"""Released label files: every format is read with the words of the file, every fault is named with
file and entry."""

import json
import string

import numpy as np
import pytest
from PIL import Image

from tests.conftest import photo_file, position_image, says
from vlm3 import tasks
from vlm3.geometry import Camera
from vlm3.scoring.evaluate import Evaluation, evaluate, pairs, predictions
from vlm3.sources import released
from vlm3.tasks.pose_text import PARTS

correspondence, depth = tasks.get("correspondence"), tasks.get("depth")
objects, pose = tasks.get("objects"), tasks.get("pose")

SIZE = {"width": 30, "height": 20}
INTRINSICS = {"fx": 40.0, "fy": 41.0, "cx": 14.5, "cy": 9.5}
CAMERA = Camera(40.0, 41.0, 15.0, 10.0, 30, 20)  # the file counts from pixel centres
DEPTH = {
    "image": "a.png",
    "image_size": SIZE,
    "intrinsics_after_focal_normalization_to_1000": INTRINSICS,
    "samples": [
        {
            "pixel_coord_resized": [3, 4],
            "pixel_coord_normalized_2000": [200, 400],
            "depth_meters": 2.5036,
        },
        {
            "pixel_coord_resized": [29, 0],
            "pixel_coord_normalized_2000": [1933, 0],
            "depth_meters": 127.9,
        },
    ],
}
LISTED = {
    "image": "a.png",
    "intrinsics": [40.0, 41.0, 14.5, 9.5, 30, 20],
    "pixel_coords": [[3, 4], [29, 0]],
    "depth": [2.5036, 127.9],
}
MATCHES = {
    "image_1": "a.png",
    "image_2": "b.png",
    "prompt_template": "Where is ({x1}, {y1}) now, as (x, y)? {z}",
    "correspondences": [{"img1_norm_1000": [440.0, 59.971], "img2_norm_1000": [338.096, 52.013]}],
}
POSE = {
    "image_1": "a.png",
    "image_2": "b.png",
    "image_1_size_resized": SIZE,
    "intrinsics_1_resized": INTRINSICS,
    "ground_truth_pose": {
        "rotation_angle_deg": 89.65,
        "yaw_deg": 89.6,
        "pitch_deg": 2.6,
        "roll_deg": 6.07,
        "translation_unit_vector": "(-0.69, +0.02, +0.72)",
        "translation_distance_m": 1.98,
    },
    "qa_pairs": [
        {
            "question_id": "rotation_angle",
            "question": "How far turned?",
            "answer": "Rotation angle: 89.7 degrees",
        },
        {
            "question_id": "euler_natural",
            "question": "Which way?",
            "answer": "Yaw=+89.6\u00b0, Pitch=+2.6\u00b0, Roll=+6.1\u00b0",
        },
        {
            "question_id": "translation_direction",
            "question": "Whither?",
            "answer": "left, unit vector (-0.69, +0.02, +0.72).",
        },
        {
            "question_id": "translation_distance",
            "question": "How far?",
            "answer": "Translation distance: 1.98 meters",
        },
    ],
}
OBJECTS = {
    "image": "a.png",
    "qa_info": {
        "category": "small_predicate",
        "class": ["lamp", "television"],
        "type": "qualitative",
    },
    "prompt": "Is bounding box region (0, 39, 652, 999) smaller than "
    "bounding box region (6, 380, 228, 562)?",
    "answer": "Incorrect, bounding box region (0, 39, 652, 999) is not smaller.",
}
BENCH = {
    "id": "7",
    "image_info": {"file_path": "a.png", "width": 1024, "height": 768},
    "qa_info": {"category": "height_data", "class": ["lamp"], "type": "quantitative"},
    "rle": [],
    "text_q": "How tall is Region [0]?",
    "bbox": [[0, 30, 668, 767], [6, 292, 233, 768]],
    "conversations": [
        {"from": "human", "value": "<image>\n How tall is <mask>?"},
        {"from": "gpt", "value": "Region [0] is 45.0 inches."},
    ],
}
ALL = {
    "depth": DEPTH,
    "listed": LISTED,
    "correspondence": MATCHES,
    "pose": POSE,
    "objects": OBJECTS,
    "bench": BENCH,
}


def read(folder, content, name="labels.json", **options):
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return released.labels(path, **options)


def refused(folder, entry):
    with pytest.raises(ValueError, match=r"labels\.json:2: ") as error:
        read(folder, [DEPTH, entry])
    return str(error.value)


@pytest.mark.parametrize("entry", [DEPTH, LISTED], ids=["vlm3", "depthlm"])
def test_depth_has_metres_as_truth_and_the_prompt_that_is_given(entry, tmp_path):
    (found,) = read(tmp_path, entry, prompt="Depth at <{x}|{y}>? {}")
    assert (found.task, found.images, found.cameras) == ("depth", (tmp_path / "a.png",), (CAMERA,))
    assert found.qas[0] == ("z", ((200, 400),), "Depth at <200|400>? {}", "2.50", 2.5036)
    assert found.qas[1] == ("z", ((1933, 0),), "Depth at <1933|0>? {}", "127.90", 127.9)
    assert read(tmp_path, entry)[0].qas[0].question == ""  # whoever asks words it
    assert depth.score([(says(depth, qa.answer), qa.truth) for qa in found.qas])["delta_1"] == 1


def test_an_image_may_be_called_image_path(tmp_path):
    entry = {**LISTED, "image_path": "b.png"}
    del entry["image"]
    assert read(tmp_path, entry)[0].images == (tmp_path / "b.png",)


def test_correspondences_fill_the_prompt_of_the_file_with_whole_numbers(tmp_path):
    (found,) = read(tmp_path, MATCHES)
    assert (found.task, found.images) == (
        "correspondence",
        (tmp_path / "a.png", tmp_path / "b.png"),
    )
    assert found.qas == (
        (
            "match",
            ((440, 60),),
            "Where is (440, 60) now, as (x, y)? {z}",
            "(338, 52)",
            (338.096, 52.013),
        ),
    )
    assert says(correspondence, found.qas[0].answer) == (338, 52)


def test_pose_has_four_questions_whose_truth_is_what_they_ask_for(tmp_path):
    (found,) = read(tmp_path, POSE)
    assert found.task == "pose"
    assert found.cameras == (CAMERA, None)
    assert [qa.question for qa in found.qas] == [
        "How far turned?",
        "Which way?",
        "Whither?",
        "How far?",
    ]
    assert [qa.truth for qa in found.qas] == [
        {"rotation_angle_deg": 89.65},
        {"yaw_deg": 89.6, "pitch_deg": 2.6, "roll_deg": 6.07},
        {"direction": (-0.69, 0.02, 0.72)},
        {"distance_m": 1.98},
    ]
    assert [qa.kind for qa in found.qas] == list(PARTS)
    for qa in found.qas:
        assert set(says(pose, qa.answer)) >= set(qa.truth)
        assert set(pose.read(qa, qa.answer)) == set(qa.truth)


def test_objects_come_with_category_answer_and_names_and_are_judged(tmp_path):
    (found,) = read(tmp_path, OBJECTS)
    assert found.qas == (
        (
            "small_predicate",
            ((0, 39, 652, 999), (6, 380, 228, 562)),
            OBJECTS["prompt"],
            OBJECTS["answer"],
            ("small_predicate", OBJECTS["answer"], ("lamp", "television")),
        ),
    )
    assert objects.judge(found.qas[0], "No, the lamp is larger than the television.")
    assert not objects.judge(found.qas[0], "Yes.")


def test_regions_of_the_benchmark_become_boxes_in_words(tmp_path):
    (found,) = read(tmp_path, BENCH)
    box = "bounding box region (0, 39, 652, 999)"
    asked, answer = f"How tall is {box}?", f"{box} is 45.0 inches."
    truth = ("height_data", answer, ("lamp",))
    assert found.qas == (("height_data", ((0, 39, 652, 999),), asked, answer, truth),)
    assert objects.truth(found.qas[0]).value == pytest.approx(1.143)
    turns = [
        {"value": "<image>\n How tall is <mask>?"},
        {"value": "45.0 inches."},
        {"value": "And <mask>?"},
        {"value": "1.0 meters."},
    ]
    (longer,) = read(tmp_path, {**BENCH, "conversations": turns})
    assert [qa.question for qa in longer.qas] == [
        f"How tall is {box}?",
        "And bounding box region (6, 380, 228, 999)?",
    ]


def test_columns_stored_as_strings_read_the_same(tmp_path):
    strings = BENCH | {
        key: repr(BENCH[key]) for key in ("image_info", "qa_info", "bbox", "conversations")
    }
    assert read(tmp_path, strings) == read(tmp_path, BENCH)
    as_json = BENCH | {
        key: json.dumps(BENCH[key]) for key in ("image_info", "qa_info", "bbox", "conversations")
    }
    assert read(tmp_path, as_json) == read(tmp_path, BENCH)


def test_one_object_a_list_and_lines_read_the_same(tmp_path):
    each = [read(tmp_path, entry)[0] for entry in ALL.values()]
    assert read(tmp_path, list(ALL.values())) == each
    assert read(tmp_path, "\n".join(map(json.dumps, ALL.values())) + "\n", "labels.jsonl") == each


def test_images_are_read_when_asked_for_and_no_sooner(tmp_path):
    (found,) = read(tmp_path, {**MATCHES, "image_1": "images/a.png", "image_2": "images/a.png"})
    with pytest.raises(FileNotFoundError, match=r"a\.png"):
        found.sample()
    (tmp_path / "images").mkdir()
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    Image.fromarray(image).save(tmp_path / "images" / "a.png")
    sample = found.sample()
    assert (sample.task, sample.source, sample.qas) == ("correspondence", "released", found.qas)
    assert [np.array_equal(view.image, image) for view in sample.views] == [True, True]
    (one,) = read(tmp_path, {**DEPTH, "image": "a.png"}, root=tmp_path / "images")
    assert one.sample().views[0].camera == CAMERA
    (half,) = read(
        tmp_path, {**DEPTH, "image": "images/a.png", "image_size": {"width": 15, "height": 10}}
    )
    assert half.sample().views[0].size == (15, 10)  # as its question means it
    (wrong,) = read(
        tmp_path, {**DEPTH, "image": "images/a.png", "image_size": {"width": 15, "height": 12}}
    )
    with pytest.raises(ValueError, match=r"a\.png: photo is 30x20, its label says 15x12"):
        wrong.sample()


MIXTURE = """
[sources.mine]
from = "vlm3.sources.released:Released"
arguments = {{ path = '{path}' }}
task = "{task}"
templates = {templates}
"""
EVALUATED = {  # entries, what differs in the units of their text, scores of one answer to all
    "depth": ((DEPTH, LISTED), "{}", {"delta_1": 0.5, "questions": 4}),
    "correspondence": ((MATCHES,), "{ scale = 1000 }", {"pck_1": 1, "questions": 1}),
    "pose": ((POSE,), "{}", {"auc_5_exact": 0.99, "distance_error_m": 0, "questions": 4}),
    "objects": ((OBJECTS, BENCH), "{}", {"qualitative": 1, "quantitative": 1, "questions": 2}),
}


@pytest.mark.parametrize("task", EVALUATED)
def test_a_mixture_that_names_a_file_is_evaluated_on_its_own_questions(task, tmp_path):
    entries, templates, expected = EVALUATED[task]
    path, config = tmp_path / "labels.json", tmp_path / "mine.toml"
    found = read(tmp_path, list(entries))
    for name in ("a", "b"):
        Image.fromarray(position_image(30, 20)).save(tmp_path / f"{name}.png")
    config.write_text(MIXTURE.format(path=path, task=task, templates=templates))
    out = tmp_path / "out"
    scores = evaluate(Evaluation(task, str(config), "constant", out, progress=False))
    assert {name: scores[name] for name in expected} == pytest.approx(expected, abs=0.01)
    assert scores["parsed"] == 1
    asked = [answer["question"] for record in predictions(out) for answer in record["answers"]]
    pixels = ["(200, 400)", "(1933, 0)"] * 2  # files about depth have no words of their own
    words = [qa.question for each in found for qa in each.qas]
    pairs = zip(asked, pixels if task == "depth" else words, strict=True)
    assert all((said in a) if task == "depth" else (said == a) for a, said in pairs)


def test_sentences_about_objects_are_scored_as_the_values_that_they_state(tmp_path):
    """Also by the constant, which says the middle length and not the most frequent sentence."""
    tall = [f"Region [0] is {inches} inches." for inches in (30.0, 30.0, 45.0, 50.0, 60.0)]
    turns = [[{"value": "How tall is <mask>?"}, {"value": answer}] for answer in tall]
    read(tmp_path, [{**BENCH, "conversations": turn} for turn in turns])
    Image.fromarray(position_image(30, 20)).save(tmp_path / "a.png")
    config, out = tmp_path / "mine.toml", tmp_path / "out"
    path = tmp_path / "labels.json"
    config.write_text(MIXTURE.format(path=path, task="objects", templates="{}"))
    evaluate(Evaluation("objects", str(config), "constant", out, progress=False))
    values, truths = zip(*pairs(out), strict=True)
    assert values == pytest.approx([45 * 0.0254] * 5)
    metres = [inches * 0.0254 for inches in (30, 30, 45, 50, 60)]
    assert [truth.value for truth in truths] == pytest.approx(metres)
    assert {truth.names for truth in truths} == {("lamp",)}


@pytest.mark.parametrize("kind", ["jpg", "png", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("task", ALL)
def test_photos_are_read_as_stored_whatever_exif_says_because_labels_count_stored_pixels(
    task, orientation, kind, tmp_path
):
    stored = position_image(30, 20)
    entry = json.loads(json.dumps(ALL[task]).replace(".png", f".{kind}"))
    for name in ("a", "b"):
        photo_file(tmp_path / f"{name}.{kind}", stored, orientation)
    (found,) = read(tmp_path, entry)
    for view in found.sample().views:
        assert view.image.shape == stored.shape
        assert np.abs(view.image.astype(int) - stored).max() < 6  # JPEG


@pytest.mark.parametrize(
    "place", ["../outside.png", "x/../../outside.png", "/etc/passwd", "link.png"]
)
@pytest.mark.parametrize("task", ALL)
def test_no_path_leaves_the_folder(task, place, tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "link.png").symlink_to(tmp_path / "outside.png")
    key = "image_2" if "image_2" in ALL[task] else "image"
    changed = (
        {"image_info": {**BENCH["image_info"], "file_path": place}}
        if task == "bench"
        else {key: place}
    )
    message = refused(folder, {**ALL[task], **changed})
    assert "leaves the folder" in message
    assert place in message


@pytest.mark.parametrize("image", [None, 7, "", ["a.png"], "a.png\0", "\ud800"])
def test_an_image_that_is_no_path_is_quoted(image, tmp_path):
    assert repr(image) in refused(tmp_path, {**DEPTH, "image": image})


@pytest.mark.parametrize(
    ("task", "key"),
    [
        ("depth", "image"),
        ("depth", "samples"),
        ("listed", "depth"),
        ("listed", "intrinsics"),
        ("correspondence", "image_1"),
        ("correspondence", "prompt_template"),
        ("pose", "ground_truth_pose"),
        ("pose", "image_2"),
        ("objects", "answer"),
        ("bench", "bbox"),
        ("bench", "image_info"),
        ("bench", "conversations"),
        ("bench", "qa_info"),
    ],
)
def test_a_missing_entry_is_named(task, key, tmp_path):
    entry = {name: value for name, value in ALL[task].items() if name != key}
    message = refused(tmp_path, entry)
    assert f"'{key}' is missing" in message or "one of samples" in message


BAD = [
    None,
    True,
    7,
    -1.0,
    "text",
    "",
    [],
    {},
    [None],
    [[1, 2, 3]],
    [{}],
    {"a": 1},
    10**400,
    "[" * 300,
    "(" * 300,
    "1 +",
    [float("nan")] * 2,
]


@pytest.mark.parametrize("bad", BAD, ids=lambda value: repr(value)[:20])
@pytest.mark.parametrize("task", ALL)
def test_whatever_stands_in_place_of_an_entry_is_read_or_refused_by_name(task, bad, tmp_path):
    for key in ALL[task]:
        message = complaint(tmp_path, [DEPTH, {**ALL[task], key: bad}])
        may_be_read = key in FREE or bad is None
        assert "labels.json:2: " in message or (message == "" and may_be_read), key


FREE = {
    "id",
    "rle",
    "text_q",
    "image",
    "image_1",
    "image_2",
    "image_size",
    "prompt",
    "answer",
    "prompt_template",
}


def complaint(folder, entries):
    try:
        read(folder, entries)
    except ValueError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    "depth_m", [0, -1.0, "2.0", None, True, float("nan"), float("inf"), 10**400]
)
def test_a_depth_that_is_no_positive_number_is_refused(depth_m, tmp_path):
    refused(tmp_path, {**DEPTH, "samples": [{**DEPTH["samples"][0], "depth_meters": depth_m}]})
    refused(tmp_path, {**LISTED, "depth": [1.0, depth_m]})


@pytest.mark.parametrize(
    "pixel", [[2000, 0], [-1, 0], [1], [1, 2, 3], ["1", 2], None, [float("nan"), 1]]
)
def test_a_pixel_outside_the_image_is_refused(pixel, tmp_path):
    refused(
        tmp_path,
        {**DEPTH, "samples": [{**DEPTH["samples"][0], "pixel_coord_normalized_2000": pixel}]},
    )
    refused(tmp_path, {**LISTED, "pixel_coords": [[1, 1], pixel]})
    refused(
        tmp_path,
        {**MATCHES, "correspondences": [{"img1_norm_1000": pixel, "img2_norm_1000": [1, 1]}]},
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"bbox": [[0, 0, 1]]},
        {"bbox": []},
        {"image_info": {**BENCH["image_info"], "width": 0}},
        {"text_q": "Region [9]?"},
        {"conversations": BENCH["conversations"][:1]},
        {"conversations": []},
        {"qa_info": {"category": 7}},
        {"qa_info": []},
        {"conversations": "__import__('os')"},
        {"conversations": "\0"},
    ],
    ids=str,
)
def test_a_benchmark_entry_that_does_not_fit_together_is_refused(changes, tmp_path):
    refused(tmp_path, {**BENCH, **changes})


def test_a_pose_question_of_another_kind_is_quoted(tmp_path):
    pairs = [{"question_id": "mood", "question": "?", "answer": "!"}]
    assert "'mood' is none of rotation_angle" in refused(tmp_path, {**POSE, "qa_pairs": pairs})
    assert "missing" in refused(
        tmp_path, {**POSE, "ground_truth_pose": {"translation_unit_vector": "(0, 0, 1)"}}
    )


@pytest.mark.parametrize(
    "content", ["", "{", "7", "null", "[]", "[7]", "{}", '"text"', "[" * 100_000, "1" * 5000]
)
@pytest.mark.parametrize("name", ["labels.json", "labels.jsonl"])
def test_a_file_without_labels_is_refused_by_name(name, content, tmp_path):
    with pytest.raises(ValueError, match=name.replace(".", r"\.")):
        read(tmp_path, content, name)


def test_a_line_that_is_no_label_is_refused_with_its_number(tmp_path):
    good = json.dumps(DEPTH)
    for bad in ("{", "", "[]"):
        with pytest.raises(ValueError, match=r"labels\.jsonl:2: "):
            read(tmp_path, f"{good}\n{bad}\n{good}", "labels.jsonl")


def test_a_file_that_is_absent_or_not_utf8_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone\.json"):
        released.labels(tmp_path / "gone.json")
    (tmp_path / "odd.json").write_bytes(b"\xff\xfe" + string.printable.encode("utf-16"))
    with pytest.raises(ValueError, match=r"odd\.json: not a text file"):
        released.labels(tmp_path / "odd.json")
