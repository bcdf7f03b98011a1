"""What figures and widgets put on a page."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from myst_nb.ext.glue import GLUE_PREFIX, extract_glue_data_cell
from nbformat.v4 import new_code_cell, new_output

from vlm3 import Camera, View, figures, widgets


def glued(monkeypatch, **values):
    """What myst_nb finds in a cell that glued these values."""
    outputs = []
    monkeypatch.setattr(figures, "display", lambda data, raw, metadata: outputs.append(
        new_output("display_data", data, metadata=metadata)))  # fmt: skip
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
    views = [View(np.zeros((h, w, 3), np.uint8), Camera(9, 9, 1, 1, w, h)) for w, h in ((40, 30), (80, 20))]
    axes = figures.to_scale(views, ["a", "b"])
    axes[0].figure.canvas.draw()
    widths = [ax.get_window_extent().width for ax in axes]
    assert widths[1] / widths[0] == pytest.approx(2, rel=0.05)
    plt.close(axes[0].figure)


def test_the_slider_starts_at_the_frame_it_shows():
    box = widgets.slider({"a": "<i>1</i>", "b": "<i>2</i>"}, "letter", start=1)
    knob, stack = box.children
    assert (knob.index, stack.selected_index) == (1, 1)
    assert [child.value for child in stack.children] == ["<i>1</i>", "<i>2</i>"]


def test_two_pickers_on_a_page_do_not_share_an_id():
    view = View(np.zeros((8, 16, 3), np.uint8), Camera(9, 9, 8, 4, 16, 8), np.full((8, 16), np.nan, np.float32))
    first, second = (widgets.pixel_picker(view, "a picture").data for _ in range(2))
    assert first != second
    assert 'alt="a picture"' in first
    assert "NaN" not in first
