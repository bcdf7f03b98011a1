"""Lessons of the authors' checkpoints, out of a user's own copy of their release.

The release (facebookresearch/VLM3) is one notebook and label files of samples, which hold the
prompts: depth in a string that the notebook assigns to PROMPT_TEMPLATE, with {nx} and {ny};
correspondence in `prompt_template` with {x1} and {y1}, and what asks for thoughts in
`thinking_format_instruction`; pose in `qa_pairs`, one `question` for each `question_id`. Questions
about objects are each written out in their files, so objects get the sizes of images and boxes
alone. What is not said there is the release's interface: focal lengths, the scale of coordinates,
how they are rounded, and how long answers may be.
"""

import ast
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

from vlm3 import disk
from vlm3.qwen import files

FOUND_IN = {
    "inference.ipynb": "depth",
    "sample_data/pixel_corr_labels.json": "correspondence",
    "sample_data/pose_labels.json": "pose",
}
_STRETCHED = {"fit": "stretch"}  # the hub's processor rounds each side by itself
_DEPTH = _STRETCHED | {"focal_px": 1000.0, "tokens": 256}
_MATCHES = _STRETCHED | {"longest_px": 1024, "tokens": 2048}  # with thoughts
_POSE = _STRETCHED | {"focal_px": 750.0, "tokens": 512}
_OBJECTS = _STRETCHED | {"focal_px": 1000.0, "tokens": 512}
# By question_id: the task's name for it.
_PARTS = {
    "rotation_angle": "angle",
    "euler_natural": "rotation",
    "translation_direction": "direction",
    "translation_distance": "distance",
}


def lessons(folder: Path) -> dict[str, dict]:
    """By task, those whose files are in a copy of the release.

    FileNotFoundError where none is, ValueError, naming the file, for one that is not as published.
    """
    found = {}
    for name, task in FOUND_IN.items():
        if (path := folder / name).exists():
            with files.reading(path):
                found[task] = _MADE[task](path)
    if not found:
        wanted = ", ".join(FOUND_IN)
        raise FileNotFoundError(
            f"{folder} holds neither taught.json nor a copy of the release ({wanted})"
        )
    return found | {"objects": _OBJECTS | {"templates": {"scale": 1000, "rounding": "nearest"}}}


def _depth(notebook: Path) -> dict:
    asked = _wording(_assigned(notebook, "PROMPT_TEMPLATE"), {"nx": "x", "ny": "y"})
    # Label files hold depth for some data sets and range for others, under the same words.
    kinds = {kind: {"questions": [asked]} for kind in ("z", "range")}
    return _DEPTH | {"templates": _plain(2000) | kinds}


def _correspondence(path: Path) -> dict:
    label = _labels(path, "prompt_template")[0]
    asked = _wording(label["prompt_template"], {"x1": "x", "y1": "y"})
    thoughts = label.get("thinking_format_instruction", "")
    asked += _wording(thoughts) if thoughts else ""
    return _MATCHES | {"templates": _plain(1000) | {"match": {"questions": [asked]}}}


def _pose(path: Path) -> dict:
    asked = {}
    for pair in (pair for label in _labels(path, "qa_pairs") for pair in label["qa_pairs"]):
        if (part := _PARTS.get(pair["question_id"])) is not None:
            asked.setdefault(part, {"questions": [_wording(pair["question"])]})
    return _POSE | {"templates": {"note": ""} | asked}


def _plain(scale: int) -> dict:
    """A question is the authors' words alone; their labels round a pixel's index."""
    return {"note": "", "scale": scale, "rounding": "nearest"}


def _wording(text: object, gaps: Mapping[str, str] = MappingProxyType({})) -> str:
    """A template of theirs as one of ours: its gaps renamed, all other braces meant as they
    stand."""
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"expected the text of a question, got {text!r}")
    if lacking := [name for name in gaps if f"{{{name}}}" not in text]:
        raise ValueError(f"a question lacks {{{lacking[0]}}}: {text[:80]!r}")
    marks = {name: f"\0{ours}\0" for name, ours in gaps.items()}
    for name, mark in marks.items():
        text = text.replace(f"{{{name}}}", mark)
    # What was escaped for str.format stays so; what was not, and so was replaced, is now.
    if "{{" not in text and "}}" not in text:
        text = text.replace("{", "{{").replace("}", "}}")
    for mark in marks.values():
        text = text.replace(mark, f"{{{mark[1:-1]}}}")
    return text


def _assigned(notebook: Path, name: str) -> object:
    """The literal that a notebook's code assigns to a name."""
    for cell in json.loads(disk.text(notebook)).get("cells", ()):
        if cell.get("cell_type") == "code":
            for target, value in _assignments("".join(cell["source"])):
                if target == name:
                    return ast.literal_eval(value)
    raise ValueError(f"no code in it assigns {name}")


def _assignments(code: str) -> Iterator[tuple[str, ast.expr]]:
    """(name, value) of all plain assignments; none of code that is no Python."""
    lines = ["" if line.lstrip().startswith(("%", "!")) else line for line in code.splitlines()]
    try:
        tree = ast.parse("\n".join(lines))
    except SyntaxError:
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            yield from ((t.id, node.value) for t in node.targets if isinstance(t, ast.Name))


def _labels(path: Path, key: str) -> list[dict]:
    """The labels of a file, one or a list of them, each of which must have a key."""
    found = json.loads(disk.text(path))
    labels = found if isinstance(found, list) else [found]
    if not labels or not all(isinstance(label, dict) and key in label for label in labels):
        raise ValueError(f"expected labels with {key}")
    return labels


_MADE = {"depth": _depth, "correspondence": _correspondence, "pose": _pose}
