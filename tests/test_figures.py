"""What figures and widgets put on a page."""

import base64
import json
import re

import matplotlib.pyplot as plt
import numpy as np
import pytest
from myst_nb.ext.glue import GLUE_PREFIX, extract_glue_data_cell
from nbformat.v4 import new_code_cell, new_output

from vlm3 import QA, Box, Camera, View
from vlm3.focal import unify_pair
from vlm3.pages import figures, widgets
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


def test_the_slider_starts_at_the_frame_it_shows():
    box = widgets.slider({"a": "<i>1</i>", "b": "<i>2</i>"}, "letter", start=1)
    knob, stack = box.children
    assert (knob.index, stack.selected_index) == (1, 1)
    assert [child.value for child in stack.children] == ["<i>1</i>", "<i>2</i>"]


def test_two_pickers_on_a_page_do_not_share_an_id():
    view = View(
        np.zeros((8, 16, 3), np.uint8),
        Camera(9, 9, 8, 4, 16, 8),
        np.full((8, 16), np.nan, np.float32),
    )
    first, second = (widgets.pixel_picker(view, "a picture").data for _ in range(2))
    assert first != second
    assert 'alt="a picture"' in first
    assert "NaN" not in first


@pytest.fixture
def pair():
    return unify_pair(photos.motorcycle(), focal_px=200)


def texts(ax) -> list[str]:
    return [text.get_text() for text in ax.texts]


def test_a_depth_map_names_its_unit_and_its_points(pair):
    ax = figures.depth_map(pair.view1, [(30, 40)], ["2.41 m"])
    assert texts(ax) == ["2.41 m"]
    assert any("(m)" in other.get_ylabel() for other in ax.figure.axes)


def test_right_matches_are_blue_and_wrong_ones_carry_their_error(pair):
    truth = pair.uv2[:2]
    ax = figures.matches(pair[:2], pair.uv1[:2], truth + [[0, 0], [30, 40]], truth)
    assert texts(ax) == ["50 px"]
    assert {line.get_color() for line in ax.lines} >= {figures.BLUE, figures.RED}


def test_a_frustum_opens_the_way_the_camera_looks(pair):
    back = np.diag([-1.0, 1.0, -1.0, 1.0])
    ax = figures.frusta({"forward": np.eye(4), "backward": back}, pair.view1.camera, size_m=1.0)
    forward, backward = (
        np.array(line.get_data_3d())[1] for line in ax.lines
    )  # z is drawn as the second axis
    assert forward.max() == pytest.approx(1.0)
    assert backward.min() == pytest.approx(-1.0)


def test_boxes_say_their_name_and_distance_or_the_given_words(pair):
    box = Box(5, 5, 40, 40, "lamp", (0.0, 3.0, 4.0))
    view = View(pair.view1.image, pair.view1.camera, boxes=(box,))
    assert texts(figures.boxes(view)) == ["lamp, 5.00 m"]
    assert texts(figures.boxes(view, ["left of it"])) == ["left of it"]


def test_the_question_and_the_answer_stand_below_the_picture(pair):
    qa = QA("", (), "How deep is it, in metres?", "2.41", 2.41)
    ax = figures.asked(plt.subplots()[1], "depth", pair[:1], qa) or plt.gca()
    assert texts(ax) == [qa.question, qa.answer]


def test_a_point_cloud_holds_a_point_for_every_known_pixel_it_takes(pair):
    page = widgets.point_cloud(pair.view1, "a cloud", step=5).data
    rgb = base64.b64decode(re.search(r'read\("([^"]*)", Uint8Array', page)[1])
    assert len(rgb) == 3 * np.isfinite(pair.view1.depth_m[2::5, 2::5]).sum()
    assert 'aria-label="a cloud"' in page


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
