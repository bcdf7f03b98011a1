"""What figures and tables put on a page."""

import base64
import io
import json

import matplotlib.pyplot as plt
import numpy as np
import pytest
from myst_nb.ext.glue import GLUE_PREFIX, extract_glue_data_cell
from nbformat.v4 import new_code_cell, new_output
from PIL import Image

from vlm3 import QA, Box, Camera, View
from vlm3.focal import unify_pair
from vlm3.pages import figures
from vlm3.sources import photos


def glued(monkeypatch, **values):
    """What myst_nb finds in a cell that glued these values."""
    outputs = []
    monkeypatch.setattr(
        figures,
        "display",
        lambda data, raw, metadata: outputs.append(
            new_output("display_data", data, metadata=metadata)
        ),
    )
    figures.glue(**values)
    cell = new_code_cell()
    cell.outputs = outputs
    return {key: output["data"] for key, output in extract_glue_data_cell(cell)}


def test_myst_nb_reads_what_glue_writes(monkeypatch):
    found = glued(monkeypatch, error_px=np.float64(0.25), tokens=12, rounding="floor")
    texts = {key: data["text/plain"] for key, data in found.items()}
    assert texts == {"error_px": "0.25", "tokens": "12", "rounding": "'floor'"}


def test_a_glued_figure_is_a_picture_and_is_closed(monkeypatch):
    figure = plt.figure()
    found = glued(monkeypatch, picture=figure)
    assert found["picture"]["image/png"].startswith("iVBOR")
    assert figure.number not in plt.get_fignums()
    assert GLUE_PREFIX == "application/papermill.record/"


def test_pictures_carry_their_alt_text_escaped():
    assert 'alt="&lt;f&gt; &quot;x&quot;"' in figures.img(np.zeros((4, 4, 3), np.uint8), '<f> "x"')


def test_an_encoded_picture_is_the_picture_and_closes_a_figure():
    image = np.random.default_rng(0).integers(0, 255, (4, 6, 4), np.uint8)
    data = base64.b64decode(figures.encoded(image, "png"))
    np.testing.assert_array_equal(Image.open(io.BytesIO(data)), image)
    figure = plt.figure()
    assert figures.encoded(figure).startswith("UklGR")  # "RIFF", as WebP begins
    assert figure.number not in plt.get_fignums()


def test_tables_escape_their_cells():
    assert "&lt;b&gt;" in figures.table([{"x": "<b>"}]).data


def test_views_to_scale_are_drawn_in_proportion_to_their_pixels():
    views = [
        View(np.zeros((h, w, 3), np.uint8), Camera(9, 9, 1, 1, w, h))
        for w, h in ((40, 30), (80, 20))
    ]
    axes = figures.to_scale(views, ["a", "b"])
    axes[0].figure.canvas.draw()
    widths = [ax.get_window_extent().width for ax in axes]
    assert widths[1] / widths[0] == pytest.approx(2, rel=0.05)


@pytest.fixture
def pair():
    return unify_pair(photos.motorcycle(), focal_px=200)


def texts(ax) -> list[str]:
    return [text.get_text() for text in ax.texts]


def test_a_depth_map_names_its_unit_and_its_points(pair):
    ax = figures.depth_map(pair.view1, [(30, 40)], ["2.41 m"])
    assert texts(ax) == ["2.41 m"]
    assert any("(m)" in other.get_ylabel() for other in ax.figure.axes)


def test_answered_maps_have_the_colours_of_the_truth():
    depth_m = np.linspace(2, 4, 96, dtype=np.float32).reshape(8, 12)
    view = View(np.zeros((8, 12, 3), np.uint8), Camera(9, 9, 6, 4, 12, 8), depth_m)
    axes = figures.depth_maps([view], [np.array([[1.0, 5.0], [2.0, np.nan]])], [4])
    truth, found = (ax.images[-1] for ax in axes[1:])
    assert truth.get_clim() == found.get_clim() == (2, 4)
    assert list(truth.get_extent()) == [0, 12, 8, 0]
    assert list(found.get_extent()) == [0, 8, 8, 0]  # two squares of 4 pixels, not stretched to 12
    assert (axes[2].get_xlim(), axes[2].get_ylim()) == ((0, 12), (8, 0))


def test_boxes_say_their_name_and_distance_or_the_given_words(pair):
    box = Box(5, 5, 40, 40, "lamp", (0.0, 3.0, 4.0))
    view = View(pair.view1.image, pair.view1.camera, boxes=(box,))
    assert texts(figures.boxes(view)) == ["lamp, 5.00 m"]
    assert texts(figures.boxes(view, ["left of it"])) == ["left of it"]


def test_the_question_and_the_answer_stand_below_the_picture(pair):
    qa = QA("", (), "How deep is it, in metres?", "2.41", 2.41)
    ax = figures.asked(plt.subplots()[1], "depth", pair[:1], qa) or plt.gca()
    assert texts(ax) == [qa.question, qa.answer]


def test_the_stream_has_a_mark_for_every_sample_in_the_row_of_its_source():
    ax = figures.stream(["big", "small", "big", "big"])
    assert [label.get_text() for label in ax.get_yticklabels()] == ["big", "small"]
    assert [list(line.get_xdata()) for line in ax.lines] == [[0, 2, 3], [1]]


def test_passes_stand_where_they_belong_and_what_was_never_seen_does_not_stand():
    ax = figures.passes({"uniform": {"big": 0.5, "small": 200}, "size": {"big": 1, "small": 0}})
    uniform, size, one = ax.lines
    assert list(uniform.get_xdata()) == [0.5, 200]
    np.testing.assert_array_equal(size.get_xdata(), [1, np.nan])
    assert list(one.get_xdata()) == [1, 1]
    assert ax.get_xscale() == "log"
    assert uniform.get_marker() != size.get_marker()
    assert [text.get_text() for text in ax.figure.legends[0].get_texts()] == ["uniform", "size"]


@pytest.mark.parametrize(
    "found",
    [
        None,
        {"results": {}},
        {"results": {"train": {"rungs": []}}},
        {"results": {"train": {"rungs": [{"rung": "a product of matrices"}]}}},
    ],
)
def test_what_no_gpu_has_measured_is_said_in_one_line(tmp_path, found):
    if found:
        (tmp_path / "gpu.json").write_text(json.dumps(found))
    assert (
        figures.on_gpu(tmp_path / "gpu.json", "train").data.count("Not measured on a GPU yet") == 1
    )


def test_what_a_gpu_measured_is_shown_and_what_did_not_fit_is_said(tmp_path):
    rungs = [
        {"rung": "a product of matrices", "tflops": 1.0},
        {
            "task": "depth",
            "rung": "whole <recipe>",
            "samples_per_s": 8.476,
            "tokens_per_s": 11834.6,
            "mfu": 0.4,
            "memory_gb": 61.2,
        },
        {"task": "depth", "rung": "not compiled", "out_of_memory": True},
        {"task": "depth", "rung": "fused head", "failed": "RuntimeError: no compiler"},
    ]
    recorded = {"device": "NVIDIA H100", "date": "2026-11-26", "command": "python gpu.py"}
    (tmp_path / "gpu.json").write_text(
        json.dumps(recorded | {"results": {"train": {"rungs": rungs}}})
    )
    shown = figures.on_gpu(tmp_path / "gpu.json", "train").data
    for text in (
        "whole &lt;recipe&gt;",
        ">8.48<",
        ">11,835<",
        ">40%<",
        ">61<",
        "out of memory",
        ">failed<",
        "NVIDIA H100",
    ):
        assert text in shown
    assert "product" not in shown


@pytest.mark.parametrize(
    ("part", "rung", "texts"),
    [
        (
            "waiting",
            {"task": "depth", "workers": 8, "seconds": 1.5, "wait_share": 0.0123},
            (">1.50<", ">1.2%<", ">8<"),
        ),
        (
            "answer",
            {
                "rung": "all at once",
                "dtype": "bfloat16",
                "questions": 100,
                "questions_per_s": 51.26,
                "times_faster": 12.3,
                "same_texts": 0.97,
            },
            (">51.3<", ">97%<", ">12.3<", "bfloat16"),
        ),
    ],
)
def test_waits_and_answers_of_a_gpu_are_shown(tmp_path, part, rung, texts):
    recorded = {"device": "NVIDIA H100", "date": "2026-11-26", "command": "python gpu.py"}
    (tmp_path / "gpu.json").write_text(
        json.dumps(recorded | {"results": {part: {"rungs": [rung]}}})
    )
    shown = figures.on_gpu(tmp_path / "gpu.json", part).data
    assert all(text in shown for text in texts)
