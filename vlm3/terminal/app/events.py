"""What the page does when somebody clicks, drops or types."""

from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import gradio as gr

from vlm3.terminal.app import answers, maps, photos, visits
from vlm3.terminal.app.examples import EXAMPLES, Example
from vlm3.terminal.app.page import Page, laid_out
from vlm3.terminal.app.visits import Host, Visit

_OURS = {"api_visibility": "private"}  # for this page, not for programs
_FIRST, *_ = EXAMPLES


@cache
def _example(name: str) -> Example:
    return EXAMPLES[name]()


def page(host: Host, keep_minutes: float) -> gr.Blocks:
    """The page of a model; photos of a visitor are forgotten after keep_minutes."""
    shown = visits.pointed(Visit("depth", _example(_FIRST).photos))
    with gr.Blocks(title="vlm3", analytics_enabled=False) as blocks:
        parts = laid_out(host.model, keep_minutes, shown)
        blocks.load(lambda: _example(_FIRST).photos, None, parts.inputs.photos, **_OURS)
        ask = _asking(host, parts)
        _task_and_photos(host, parts, ask, _whole(host, parts))
    return blocks


def _asking(host: Host, parts: Page) -> Callable[[Callable], Any]:
    """All ways to ask about the photos; returns what makes an event one more."""
    inputs, outputs = parts.inputs, parts.outputs
    ask = partial(
        _on,
        lambda *given: visits.answered(host, Visit(*given)),
        inputs,
        outputs,
        show_progress="minimal",
        show_progress_on=outputs.answer,
    )
    pointed = outputs.first.select(
        _pointed, [inputs.task, inputs.boxes], [inputs.at, inputs.boxes], **_OURS
    )
    for event in (pointed.then, parts.send.click, inputs.at.submit, inputs.question.submit):
        ask(event)
    for event in (inputs.focal.blur, inputs.focal.submit, inputs.boxes.blur):
        _redraw(parts, event)
    return ask


def _on(fn: Callable, inputs: Any, outputs: Any, event: Callable, **how: Any) -> Any:
    return event(fn, inputs, outputs, **how, **_OURS)


def _redraw(parts: Page, event: Callable) -> None:
    event(
        lambda *given: visits.pointed(Visit(*given)),
        parts.inputs,
        parts.outputs,
        show_progress="hidden",
        **_OURS,
    )


def _whole(host: Host, parts: Page) -> Any:
    """The depth of the whole photo; returns what can be cancelled."""
    mapping = parts.mapping
    inputs = [mapping.detail, *parts.inputs]
    drawn = partial(_grown, host)
    whole = mapping.start.click(drawn, inputs, mapping.shown, show_progress="hidden", **_OURS)
    mapping.stop.click(None, cancels=[whole], **_OURS)
    return whole


def _task_and_photos(host: Host, parts: Page, ask: Callable[[Callable], Any], whole: Any) -> None:
    """What takes the place of what was there before, and ends what was asked of it."""
    inputs, outputs, mapping = parts.inputs, parts.outputs, parts.mapping
    changing = [parts.drops[1], outputs.second, *inputs[3:6], mapping.group]
    fitted = inputs.task.input(_fitting, inputs.task, changing, cancels=[whole], **_OURS)
    _redraw(parts, fitted.then)
    news = [inputs.photos, inputs.focal, inputs.at, inputs.boxes, *outputs, mapping.shown]
    for place, drop in enumerate(parts.drops):
        took = partial(_dropped, host, place)
        drop.upload(took, [drop, *inputs], [drop, *news], cancels=[whole], **_OURS)
    for name, button in zip(EXAMPLES, parts.examples, strict=True):
        taken = partial(_exemplified, name)
        ask(button.click(taken, inputs, news, cancels=[whole], **_OURS).then)


def _pointed(task: str, boxes: str, event: gr.EventData) -> tuple[Any, Any]:
    """The pixel, or the boxes with one more."""
    found = ", ".join(f"{number:g}" for number in event.found)
    if visits.subject(task) == "boxes":
        return gr.skip(), "\n".join(filter(None, (boxes.strip(), found)))
    return found, gr.skip()


def _fitting(task: str) -> list[dict]:
    """What is on the page for a task."""
    subject, two = visits.subject(task), visits.wanted(task) > 1
    pixels, boxes = subject == "pixels", subject == "boxes"
    wanted = two, two, pixels, boxes, task == "objects", task == "depth"
    return [gr.update(visible=each) for each in wanted]


def _dropped(host: Host, place: int, path: str, *given: Any) -> list:
    """A photo took a place; the drop is free again."""
    try:
        visit = visits.dropped(Visit(*given), place, photos.read(Path(path), host.calibrate))
    except ValueError as error:
        return [None, *[gr.skip()] * 6, answers.fault(error), gr.skip()]
    return [None, *_news(visit)]


def _exemplified(name: str, *given: Any) -> list:
    found = _example(name)
    new = {"photos": found.photos, "focal": "", "at": found.at, "boxes": found.boxes}
    return _news(Visit(*given)._replace(**new))


def _news(visit: Visit) -> list:
    """All that changes with a photo."""
    return [visit.photos, visit.focal, visit.at, visit.boxes, *visits.pointed(visit), ""]


def _grown(host: Host, detail: str, *given: Any) -> Iterator[str]:
    """The map as it grows; at its end the cloud and the files."""
    try:
        ((view, _),) = visits.opened(Visit(*given)._replace(task="depth"))
        yield answers.waiting("Asking about the first pixels ...")
        for grown in maps.growing(host, view, maps.strides(view.size, detail)):
            yield maps.shown(grown)
        yield maps.finished(grown, view)
    except (ValueError, OSError, ArithmeticError) as error:
        yield answers.fault(error)
