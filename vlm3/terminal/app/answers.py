"""What was answered, as HTML: a large line where there is one answer, and a table of all."""

import html
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from vlm3.tasks.task import Task
from vlm3.terminal import shown

SURE = "sure: the probability that the model gives to depths within a factor of 1.25 of its answer"
LIKELY = "sure: the probability that the model gives to just these words"
BLIND = "without looking: what it says to the same question about a grey picture"
MEASURED = "measured: known for this example, and not shown to the model"


class Row(NamedTuple):
    """about: what was asked; value: what the answer comes to, "-" for nothing; sure: in per cent;
    text: in the model's words; blind: the value without the photo, "" where that was not asked;
    truth: where it is known."""

    about: str
    value: str
    sure: str
    text: str
    blind: str = ""
    truth: str = ""


def rows(
    task: Task, facts: Mapping[str, Any], blind: Mapping[str, Any] | None, truths: Sequence[str]
) -> list[Row]:
    """Of what `vlm3 ask --json` prints: a row for each answer. truths: by answer, if known."""
    found = facts["answers"]
    others = [_value(task, a) for a in blind["answers"]] if blind else [""] * len(found)
    known = [*truths, *[""] * (len(found) - len(truths))]
    return [
        Row(_about(a), _value(task, a), _sure(a), a["text"], other, truth)
        for a, other, truth in zip(found, others, known, strict=True)
    ]


def _about(answer: Mapping[str, Any]) -> str:
    if "pixel" in answer:
        return f"pixel {_point(answer['pixel'])}"
    words = answer.get("question") or answer.get("about") or answer.get("kind") or ""
    return re.sub(r"\{(\d+)\}", r"[\1]", words)  # the numbers that stand at the boxes


def _value(task: Task, answer: Mapping[str, Any]) -> str:
    if "depth_m" in answer:
        return "-" if answer["depth_m"] is None else f"{answer['depth_m']:.2f} m"
    if "match" in answer:
        return "-" if answer["match"] is None else _point(answer["match"])
    return shown.value(task, answer["value"])


def _sure(answer: Mapping[str, Any]) -> str:
    share = answer.get("sure", answer["probability"])
    return "-" if share is None else f"{100 * share:.0f} %"


def _point(uv: Sequence[float]) -> str:
    return f"({uv[0]:.1f}, {uv[1]:.1f})"


HEADS = {
    "about": "asked",
    "value": "answer",
    "sure": "sure",
    "blind": "without looking",
    "truth": "measured",
    "text": "in its words",
}
WORDS = {  # of the one answer that is written large
    "depth_m": "{} away, straight ahead of the camera",
    "match": "{} in the second photo",
}


def card(found: Sequence[Row], kind: str, note: str = "", links: str = "") -> str:
    """kind: "depth_m", "match" or "value", by what the answers hold; links: to files of it."""
    told = [name for name in HEADS if any(getattr(row, name) for row in found)]
    notes = [SURE if kind == "depth_m" else LIKELY]
    notes += [BLIND] * ("blind" in told) + [MEASURED] * ("truth" in told) + [note] * bool(note)
    small = "".join(f"<li>{html.escape(words)}</li>" for words in notes)
    shown = _one(found[0], told, kind) if len(found) == 1 else _table(found, told)
    return (
        f'<div class="vlm3-answer" role="status">{shown}{links}'
        f'<ul class="vlm3-notes">{small}</ul></div>'
    )


def _one(row: Row, told: Sequence[str], kind: str) -> str:
    value = f"<strong>{html.escape(row.value)}</strong>"
    large = WORDS.get(kind, "{}").format(value)
    if row.value == "-":
        large = f"No answer can be read in what it says: {html.escape(row.text)}"
    facts = "".join(
        f"<dt>{HEADS[name]}</dt><dd>{html.escape(getattr(row, name))}</dd>"
        for name in told
        if name != "value"
    )
    return f'<p class="vlm3-large">{large}</p><dl>{facts}</dl>'


def _table(found: Sequence[Row], told: Sequence[str]) -> str:
    """What was asked stands on a line of its own: the columns are narrow."""
    told = [name for name in told if name not in ("about", "text")]
    head = "".join(f'<th scope="col">{HEADS[name]}</th>' for name in told)
    lines = "".join(
        f'<tr><th scope="rowgroup" colspan="{len(told)}">{html.escape(row.about)}</th></tr>'
        f"<tr>{''.join(f'<td>{html.escape(getattr(row, name))}</td>' for name in told)}</tr>"
        for row in found
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table>"


def fault(error: object) -> str:
    """An error, in the words of the package."""
    words = " ".join(str(error).split())
    return f'<div class="vlm3-fault" role="alert">{html.escape(words)}</div>'


def waiting(words: str) -> str:
    return f'<div class="vlm3-none" role="status">{html.escape(words)}</div>'
