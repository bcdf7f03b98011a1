"""What readers touch. Everything here works in a running notebook and, without a kernel, on the
static page; what compares two views shows a still where there is no JavaScript either.

What the browser runs stands in `browser/`: NAME.html, then NAME.js in a script. A `$word` is filled
in from here; to JavaScript it is a name like any other, so that editors and linters read the files
as they are. Lines that are comments stay behind.
"""

import base64
import html
import json
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from uuid import uuid4

import ipywidgets
import numpy as np
from IPython.display import HTML

from vlm3.geometry import Camera, pixel_centres, unproject
from vlm3.pages.figures import encoded
from vlm3.pages.pairs import Place, frustum, sheet
from vlm3.pages.palette import ANSWER, BLUE, RED, TRUTH
from vlm3.reference import PixelText
from vlm3.views import View

_BROWSER = Path(__file__).parent / "browser"
_START = -0.5, 0.45  # yaw and pitch in radians: from behind, the left and above


def slider(frames: Mapping[str, str], description: str, start: int = 0) -> ipywidgets.VBox:
    """A slider over pictures made beforehand: {label: html}. Linked in the browser, so no kernel is
    needed."""
    knob = ipywidgets.SelectionSlider(
        options=list(frames),
        index=start,
        description=description,
        style={"description_width": "initial"},
        layout={"width": "min(100%, 32em)"},
    )
    stack = ipywidgets.Stack(
        [ipywidgets.HTML(frame) for frame in frames.values()], selected_index=start
    )
    ipywidgets.jslink((knob, "index"), (stack, "selected_index"))
    return ipywidgets.VBox([knob, stack])


def _page(name: str, alt: str, **values: object) -> HTML:
    """The widget of this name, with values filled in; each has an id of its own, as a page may hold
    several."""
    values |= {"id": f"{name}-{uuid4().hex[:8]}", "alt": html.escape(alt)}
    whole = f"{_read(f'{name}.html')}<script>\n{_read(f'{name}.js')}</script>\n"
    return HTML(re.sub(r"\$([a-z]+)", lambda word: str(values[word[1]]), whole))


@cache
def _read(name: str) -> str:
    """A file of `browser/`, without its lines of comments."""
    return re.sub(r"^ *//.*\n", "", (_BROWSER / name).read_text("utf-8"), flags=re.MULTILINE)


def _json(spec: object) -> str:
    """JSON that cannot end the script it stands in."""
    return json.dumps(spec).replace("</", "<\\/")


def pixel_picker(
    view: View, alt: str, reference: PixelText | None = None, depth_step: int = 8
) -> HTML:
    """Click a pixel (or move with the arrow keys) and read how it is written, and the depth about
    there if known.

    reference: how it is written, `PixelText()` if not given. The browser computes what
    `PixelText.encode` does for pixel centres, rounding "floor", so no kernel is needed. Depth is
    one value for depth_step x depth_step pixels, that in their middle.
    """
    reference = reference or PixelText()
    if reference.rounding != "floor":
        raise ValueError(
            f"the picker writes pixels with rounding 'floor' only, got {reference.rounding!r}"
        )
    known = None if view.depth_m is None else _coarse(view.depth_m, depth_step)
    return _picker(view, alt, view.size, 1, "pixel", scale=reference.scale, depth=known)


def _coarse(depth_m: np.ndarray, step: int) -> dict:
    """Depth in the middle of each step x step pixels, to the centimetre: a page of all would be
    megabytes. 0 where unknown, as JSON has no NaN."""
    rows, columns = (
        np.minimum(np.arange(0, side, step) + step // 2, side - 1) for side in depth_m.shape
    )
    coarse = depth_m[rows][:, columns]
    return {
        "step": step,
        "rows": [[round(float(z), 2) if np.isfinite(z) else 0 for z in row] for row in coarse],
    }


def answer_picker(
    view: View,
    told: Sequence[Sequence[Mapping[str, object]]],
    alt: str,
    step: int,
    right: Sequence[Sequence[bool | None]] | None = None,
) -> HTML:
    """Click a place (or move with the arrow keys) and read what was asked and answered there
    before.

    told: rows of squares of `step` pixels, as `vlm3.terminal.ask.grid` lays them; of each, what to
    read by its label, all with the same labels: {"question": ..., "answer": ...}. right: puts a
    blue dot where True and a red cross where False. Nothing is computed in the browser, so no
    kernel is needed. ValueError where the squares do not fit the view.
    """
    columns, rows = (side // step for side in view.size)
    if len(told) != rows or any(len(row) != columns for row in told):
        size = "x".join(map(str, view.size))
        squares = f"{rows} rows of {columns} squares of {step}"
        raise ValueError(f"a view of {size} pixels has {squares}, not those of `told`")
    texts = [[[html.escape(str(value)) for value in cell.values()] for cell in row] for row in told]
    labels = [html.escape(label) for label in told[0][0]]
    marks = "" if right is None else _marks(right, step)
    return _picker(view, alt, (columns, rows), step, "answer", marks, labels=labels, rows=texts)


def _marks(right: Sequence[Sequence[bool | None]], step: int) -> str:
    """SVG paths: a dot in each square that is True, a cross in each that is False; white below each
    colour, so that they stay visible on any photo."""
    arm, places = step / 8, {True: "", False: ""}
    cross = f"l{2 * arm:g} {2 * arm:g}m0 {-2 * arm:g}l{-2 * arm:g} {2 * arm:g}"
    for row, column in np.ndindex(len(right), len(right[0])):
        x, y, kind = (column + 0.5) * step, (row + 0.5) * step, right[row][column]
        if kind is not None:
            drawn = f"M{x:g} {y:g}h.01" if kind else f"M{x - arm:g} {y - arm:g}{cross}"
            places[bool(kind)] += drawn
    strokes = (True, 2.6, "#fff"), (True, 2, BLUE), (False, 1.4, "#fff"), (False, 0.8, RED)
    return "".join(
        f'<path d="{places[kind]}" fill="none" stroke-linecap="round" stroke="{color}"'
        f' stroke-width="{arm * wide:g}"/>'
        for kind, wide, color in strokes
    )


def _picker(
    view: View,
    alt: str,
    cells: tuple[int, int],
    step: int,
    told: str,
    marks: str = "",
    **spec: object,
) -> HTML:
    """A picture of (columns, rows) cells of step pixels, with a caption for the chosen one, which
    the browser writes by `told`.js."""
    width, height = view.size
    spec |= {"cells": cells, "step": step, "start": [cells[0] // 2, cells[1] // 2]}
    return _page(
        "pick",
        alt,
        data=encoded(view.image, quality=85),
        width=width,
        height=height,
        radius=width / 80,
        thick=width / 150,
        thin=width / 300,
        ring=RED,
        marks=marks,
        told=_read(f"{told}.js"),
        spec=_json(spec),
    )


def point_cloud(view: View, alt: str, step: int = 6) -> HTML:
    """Every step-th pixel of a view with depth as a coloured point in space that one can turn; no
    kernel is needed."""
    pixels = pixel_centres(view.camera)[step // 2 :: step, step // 2 :: step]
    columns, rows = pixels.astype(int).transpose(2, 0, 1)
    known = np.isfinite(view.depth_m[rows, columns])
    points = unproject(pixels[known], view.depth_m[rows, columns][known], view.camera)
    colours = view.image[rows, columns][known]
    return _page(
        "cloud",
        alt,
        xyz=base64.b64encode(points.astype("<f4").tobytes()).decode(),
        rgb=base64.b64encode(colours.tobytes()).decode(),
        centre=json.dumps(np.median(points, axis=0).round(3).tolist()),
        focal=view.camera.fx / view.size[0],
        spacing=step / view.camera.fx,
    )


def follow(
    views: Sequence[View],
    uv1: np.ndarray,
    uv2: Sequence[Place | None],
    truth2: np.ndarray,
    words: Sequence[str],
    alt: str,
) -> HTML:
    """Pick one of N pixels of view 1, and see in view 2 where the answer puts it and where it is.

    uv1, truth2: (N, 2) pixels of their own view; uv2: the answers, None where there is none; words:
    (N,) what is said below the pictures. Answers outside view 2 are drawn at its border.
    """
    gap = round(0.03 * views[0].size[0])
    image, shift = sheet(views, gap), [views[0].size[0] + gap, 0]
    places = [None if b is None else np.clip(b, 0, views[1].size) + shift for b in uv2]
    truths = np.asarray(truth2, float) + shift
    spec = [
        {"a": _rounded(a), "b": _rounded(b), "t": _rounded(t), "words": html.escape(text)}
        for a, b, t, text in zip(uv1, places, truths, words, strict=True)
    ]
    unit = image.shape[1] / 100
    return _page(
        "matches",
        alt,
        data=encoded(image, quality=85),
        width=image.shape[1],
        height=image.shape[0],
        dots="".join(_small(each["a"], unit) for each in spec),
        spec=_json(spec),
        radius=f"{1.2 * unit:.2f}",
        thick=f"{0.7 * unit:.2f}",
        thin=f"{0.35 * unit:.2f}",
        dash=f"{unit:.2f}",
        query=BLUE,
        truth=TRUTH,
        answer=ANSWER,
    )


def _rounded(uv: np.ndarray | None) -> list[float] | None:
    """To a tenth of a pixel, which is finer than one can see, and short."""
    return None if uv is None else [round(float(p), 1) for p in uv]


def _small(uv: Sequence[float], unit: float) -> str:
    """A dot in SVG where one can click; unit: a hundredth of the picture's width."""
    looks = f'r="{0.7 * unit:.2f}" fill="{BLUE}" stroke="#fff" stroke-width="{0.25 * unit:.2f}"'
    return f'<circle cx="{uv[0]}" cy="{uv[1]}" {looks}/>'


def turn_cameras(
    pairs: Mapping[str, tuple[np.ndarray, np.ndarray | None]],
    words: Sequence[str],
    camera: Camera,
    alt: str,
) -> HTML:
    """Camera 1, camera 2 and what the answers say of camera 2, to turn by hand.

    pairs: by name, (truth, answer), both 4x4 cam1_from_cam2, the answer None where there is none;
    words: what is said below each.
    """
    spec = [
        _scene(*poses, camera) | {"words": text}
        for poses, text in zip(pairs.values(), words, strict=True)
    ]
    return _page(
        "cameras",
        alt,
        options="".join(f"<option>{html.escape(name)}</option>" for name in pairs),
        still=_still(spec[0]),
        spec=_json(spec),
        words=html.escape(spec[0]["words"]),
        start=json.dumps(_START),
        truth=TRUTH,
        answer=ANSWER,
    )


def _scene(truth: np.ndarray, answer: np.ndarray | None, camera: Camera) -> dict:
    """Lines in the frame of camera 1, in metres, with their middle and how many units of the
    drawing are a metre."""
    named = [(np.eye(4), "#222", ""), (truth, TRUTH, "")]
    named += [] if answer is None else [(answer, ANSWER, "2 1.2")]
    far = max(float(np.linalg.norm(pose[:3, 3])) for pose, *_ in named)
    size = 0.4 * max(far, 0.2)
    look = 'fill="none" stroke="{}" stroke-width="{}" stroke-linejoin="round" stroke-dasharray="{}"'
    lines = [
        {"points": [[0, 0, 0], pose[:3, 3].tolist()], "style": look.format(color, 0.25, dash)}
        for pose, color, dash in named[1:]
    ]
    lines += [
        {"points": points, "style": look.format(color, 0.6, dash)}
        for pose, color, dash in named
        for points in _outline(pose, camera, size)
    ]
    points = np.concatenate([line["points"] for line in lines])
    middle = (points.min(0) + points.max(0)) / 2
    reach = float(np.linalg.norm(points - middle, axis=1).max())
    for line in lines:
        line["points"] = np.round(line["points"], 4).tolist()
    return {"lines": lines, "middle": middle.round(4).tolist(), "scale": round(31 / reach, 4)}


def _outline(pose: np.ndarray, camera: Camera, size_m: float) -> list[list[list[float]]]:
    """The rim, four edges and the roof of a camera."""
    apex, rim, roof = frustum(pose, camera, size_m)
    lines = [[*rim, rim[0]], *([apex, corner] for corner in rim), [rim[0], roof, rim[1]]]
    return [np.array(line).tolist() for line in lines]


def _still(scene: dict) -> str:
    """What the browser draws first."""
    yaw, pitch = _START
    turn = np.array(
        [
            [np.cos(yaw), 0, np.sin(yaw)],
            [np.sin(pitch) * np.sin(yaw), np.cos(pitch), -np.sin(pitch) * np.cos(yaw)],
        ]
    )
    paths = []
    for line in scene["lines"]:
        at = (np.array(line["points"]) - scene["middle"]) @ turn.T * scene["scale"]
        paths.append(f'<path d="M{"L".join(f"{x:.2f},{y:.2f}" for x, y in at)}" {line["style"]}/>')
    return "".join(paths)
