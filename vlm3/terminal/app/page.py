"""What is on the page. `events` says what answers to what; all of gradio stands in the two."""

import html
from pathlib import Path
from typing import NamedTuple

import gradio as gr

from vlm3 import tasks
from vlm3.terminal.app import maps, visits
from vlm3.terminal.app.examples import EXAMPLES

_BROWSER = Path(__file__).parent / "browser"
WORDS = {
    "depth": "How far is it?",
    "correspondence": "Where is it in a second photo?",
    "pose": "How did the camera move?",
    "objects": "How large, how far apart?",
    "skills": "What is there?",
}
HEAD = (
    "<h1>A picture, a question, an answer in numbers</h1><p>Click a place in the photo and read "
    "how far it is. Then take another question, or a photo of your own.</p>"
)
FOOT = (
    "<p>The model {model} answers. Photos stay in the memory of the computer that serves this "
    "page, for {minutes:g} minutes; none is kept as a file, and none is sent elsewhere.</p>"
)


class Inputs(NamedTuple):
    """What a `Visit` is made of, in its order."""

    task: gr.Radio
    photos: gr.State
    focal: gr.Textbox
    at: gr.Textbox
    boxes: gr.Textbox
    question: gr.Textbox
    blind: gr.Checkbox


class Outputs(NamedTuple):
    """What a `Shown` goes to, in its order."""

    first: gr.HTML
    second: gr.HTML
    answer: gr.HTML


class Mapping(NamedTuple):
    """All about the depth of a whole photo."""

    group: gr.Column
    detail: gr.Radio
    start: gr.Button
    stop: gr.Button
    shown: gr.HTML


class Page(NamedTuple):
    """drops: where photos are dropped; examples: a button each, in their order."""

    drops: list[gr.File]
    examples: list[gr.Button]
    inputs: Inputs
    send: gr.Button
    outputs: Outputs
    mapping: Mapping


def laid_out(model: str, keep_minutes: float, shown: visits.Shown) -> Page:
    """The page, inside of gr.Blocks. shown: what stands on it at first."""
    gr.HTML(HEAD, elem_classes="vlm3-head")
    task = gr.Radio(
        [(WORDS.get(name, name), name) for name in ordered(tasks.NAMES)],
        value="depth",
        label="What do you want to know?",
    )
    # nothing at first, and again after a while: a photo of an example would be asked unseen
    photos = gr.State((None, None), time_to_live=round(60 * keep_minutes))
    with gr.Row():
        with gr.Column(scale=3):
            drops, examples = _ways_in()
            script = (_BROWSER / "picture.js").read_text("utf-8")
            first = gr.HTML(shown.first, js_on_load=script, elem_id="first")
            second = gr.HTML(shown.second, js_on_load=None, elem_id="second", visible=False)
        with gr.Column(scale=2):
            answer = gr.HTML(shown.answer, elem_id="answer")
            inputs = Inputs(task, photos, *_typed())
            send = gr.Button("Ask", variant="primary")
    mapping = _mapping()
    foot = FOOT.format(model=html.escape(model), minutes=keep_minutes)
    gr.HTML(foot, elem_classes="vlm3-head")
    return Page(drops, examples, inputs, send, Outputs(first, second, answer), mapping)


def ordered(names: tuple[str, ...]) -> list[str]:
    """Tasks, those of the book first."""
    return sorted(names, key=lambda name: [*WORDS, name].index(name))


def _ways_in() -> tuple[list[gr.File], list[gr.Button]]:
    with gr.Row():
        drops = [
            gr.File(label="Your photo", height=130, elem_id="drop-1"),
            gr.File(label="Second photo", height=130, elem_id="drop-2", visible=False),
        ]
    for drop in drops:  # gr.File's own way leaves an empty file behind for each photo
        drop.preprocess = lambda sent: sent and sent.path
    with gr.Row():
        return drops, [gr.Button(f"Example: {name}", size="sm") for name in EXAMPLES]


def _typed() -> tuple[gr.Textbox, gr.Textbox, gr.Textbox, gr.Textbox, gr.Checkbox]:
    focal = gr.Textbox(
        "",
        label="Focal length",
        placeholder="from the photo's EXIF data",
        info="Only where the photo does not tell it: 1000 (pixels), or 26 mm (on 35 mm film).",
    )
    at = gr.Textbox("", label="Pixel", placeholder="300, 200", info="From the left, from the top.")
    boxes = gr.Textbox(
        "",
        label="Boxes",
        lines=2,
        placeholder="110, 150, 430, 470",
        info="Left, top, right, bottom; a line for each object. Empty it to start again.",
        visible=False,
    )
    question = gr.Textbox(
        "",
        label="Question",
        placeholder="How far is {1} from {2}?",
        info="{1} is the first box. Leave it empty for the questions of the book.",
        visible=False,
    )
    blind = gr.Checkbox(True, label="Ask without the photo, too: does it see, or does it guess?")
    return focal, at, boxes, question, blind


def _mapping() -> Mapping:
    with gr.Column() as group:
        with gr.Row():
            detail = gr.Radio(
                [*maps.DETAILS], value="medium", label="The depth of the whole photo", scale=3
            )
            start = gr.Button("Draw the map")
            stop = gr.Button("Stop")
        return Mapping(group, detail, start, stop, gr.HTML("", elem_id="map"))
