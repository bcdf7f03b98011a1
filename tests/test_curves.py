"""Pictures of fine-tuning show what packing and the log say."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from tests.conftest import position_image
from vlm3 import QA, Camera, Sample, View
from vlm3.pages import curves
from vlm3.qwen import packing


@pytest.fixture(scope="module")
def sample():
    view = View(np.zeros((32, 64, 3), np.uint8), Camera(9, 9, 32, 16, 64, 32))
    return Sample(
        (view,),
        (QA("", (), "How deep is it?", "2.41", 2.41), QA("", (), "How deep is that?", "7", 7.0)),
        "depth",
        "test",
    )


def spelled(packed, tokenizer, role: str) -> str:
    return tokenizer.decode(packed.ids[curves.roles(packed, tokenizer) == role])


@pytest.mark.parametrize("layout", packing.LAYOUTS)
def test_roles_are_those_of_the_sample(vlm, sample, layout):
    packed = packing.pack(sample, vlm.tokenizer, layout)
    assert spelled(packed, vlm.tokenizer, "image") == "<|image_pad|>" * 2
    assert spelled(packed, vlm.tokenizer, "answer, supervised") == "2.41<|im_end|>7<|im_end|>"
    assert spelled(packed, vlm.tokenizer, "after the answer") == "\n\n"
    assert "that?" in spelled(packed, vlm.tokenizer, "question")


def test_turns_of_a_chat_number_its_questions_and_leave_the_images_to_all(vlm, sample):
    packed = packing.pack(sample, vlm.tokenizer, "chat")
    numbers = curves.turns(packed, vlm.tokenizer)
    parts = [vlm.tokenizer.decode(packed.ids[numbers == k]) for k in range(3)]
    assert parts[0].endswith("<|vision_end|>")
    assert parts[1].startswith("How deep is it?")
    assert parts[2].startswith("<|im_start|>user\nHow deep is that?")
    tree = packing.pack(sample, vlm.tokenizer)
    np.testing.assert_array_equal(curves.turns(tree, vlm.tokenizer), tree.branches)


def test_a_sample_is_drawn_token_by_token_with_the_pixels_of_its_image_in_order(vlm, sample):
    packed = packing.pack(sample, vlm.tokenizer)
    image = position_image(64, 32)
    ax = curves.tokens(packed, vlm.tokenizer, [image])
    assert len(ax.images) == 2
    assert len(ax.patches) == len(packed) - 2
    np.testing.assert_array_equal(ax.images[1].get_array(), image[:, 32:])
    assert {"shared", "branch 1", "branch 2"} <= {text.get_text() for text in ax.texts}


def test_only_in_a_chat_does_a_question_see_another(vlm, sample):
    seen = {}
    for layout in packing.LAYOUTS:
        ax = plt.subplots()[1]
        curves.mask(packing.pack(sample, vlm.tokenizer, layout), vlm.tokenizer, ax)
        seen[layout] = set(np.unique(ax.images[0].get_array()).tolist())
    assert seen == {"isolated": {0, 1, 2}, "chat": {0, 1, 2, 3}}


RECORDS = [
    {"step": k, "loss": 8.0 - k, "losses": {"depth": 8.0 - k} | ({"pose": 4.0} if k % 2 else {})}
    for k in range(1, 7)
]


def test_losses_have_a_line_per_task_over_the_steps_that_saw_it():
    ax = curves.losses(RECORDS, over=2)
    lines = {line.get_label(): line for line in ax.lines if not line.get_label().startswith("_")}
    assert list(lines["pose"].get_xdata()) == [1, 3, 5]
    assert list(lines["depth"].get_ydata()) == [7, 6.5, 5.5, 4.5, 3.5, 2.5]
    assert lines["depth"].get_linestyle() != lines["pose"].get_linestyle()


def test_looking_has_a_panel_per_task_with_its_images_and_with_others():
    seen = [
        r
        | {"validation": {"losses": {"depth": 1.0, "pose": 2.0}}}
        | {"shuffled": {"losses": {"depth": 1.5, "pose": 2.0}}}
        for r in RECORDS[::2]
    ]
    before = curves.looking(RECORDS)  # the first validation is still to come
    assert [len(line.get_xdata()) for line in before.lines] == [0, 0]
    depth, pose = curves.looking(sorted(RECORDS[1::2] + seen, key=lambda r: r["step"])).figure.axes
    assert (depth.get_title(), pose.get_title()) == ("depth", "pose")
    others, own = depth.lines
    assert (list(own.get_xdata()), list(own.get_ydata())) == ([1, 3, 5], [1.0] * 3)
    assert list(others.get_ydata()) == [1.5] * 3
    assert others.get_linestyle() != own.get_linestyle()


def test_live_losses_redraw_one_picture_and_end_with_the_last_step(monkeypatch):
    drawn = []

    class Handle:
        def update(self, figure):
            drawn.append(figure)

    monkeypatch.setattr(
        curves, "display", lambda figure, display_id: drawn.append(figure) or Handle()
    )
    live = curves.Live(steps=6, drawings=2)
    for record in RECORDS:
        live(record)
    assert [len(figure.axes[0].lines[0].get_xdata()) for figure in drawn] == [3, 6]
    assert not plt.get_fignums()


def test_runs_that_are_one_lie_on_one_line():
    ax = curves.same({"whole": RECORDS, "end": RECORDS[3:]})
    whole, end = ax.lines
    assert list(end.get_xdata()) == [4, 5, 6]
    assert set(end.get_ydata()) < set(whole.get_ydata())
    assert (whole.get_linestyle(), end.get_marker()) == ("-", "o")


def test_shares_fill_their_bars():
    ax = curves.shares(
        {"token": {"depth": 0.25, "pose": 0.75}, "answer": {"depth": 0.5, "pose": 0.5}}
    )
    assert [bar.get_width() for bar in ax.patches] == [25, 50, 75, 50]
    assert max(bar.get_x() + bar.get_width() for bar in ax.patches) == pytest.approx(100)
    assert "50" in {text.get_text() for text in ax.texts}
