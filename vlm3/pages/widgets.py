"""What readers touch. Everything here works in a running notebook and, without a kernel, on the
static page."""

import base64
import html
import io
import json
from collections.abc import Mapping, Sequence
from string import Template
from uuid import uuid4

import ipywidgets
import numpy as np
from IPython.display import HTML
from PIL import Image

from vlm3.geometry import pixel_centres, unproject
from vlm3.reference import PixelText
from vlm3.views import View


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


PICKER = Template("""
<figure id="$id" class="vlm3-picker" tabindex="0" style="margin:0;outline-offset:4px">
  <div style="position:relative;cursor:crosshair;touch-action:manipulation">
    <img alt="$alt" src="data:image/webp;base64,$data" style="width:100%;display:block;margin:0">
    <svg viewBox="0 0 $width $height" style="position:absolute;inset:0;width:100%;height:100%" aria-hidden="true">
      $marks
      <circle r="$radius" fill="none" stroke="#fff" stroke-width="$thick"/>
      <circle r="$radius" fill="none" stroke="#D55E00" stroke-width="$thin"/>
    </svg>
  </div>
  <figcaption aria-live="polite" style="font-size:.95em;margin-top:.5em"></figcaption>
</figure>
<script>
(() => {
  const figure = document.getElementById("$id"), spec = $spec, caption = figure.querySelector("figcaption");
  const [columns, rows] = spec.cells, {step} = spec;
  let [column, row] = spec.start;
  $told
  const show = () => {
    column = Math.min(Math.max(column, 0), columns - 1); row = Math.min(Math.max(row, 0), rows - 1);
    for (const circle of figure.querySelectorAll("circle")) {
      circle.setAttribute("cx", (column + 0.5) * step); circle.setAttribute("cy", (row + 0.5) * step);
    }
    caption.innerHTML = told(column, row);
  };
  figure.querySelector("div").addEventListener("click", event => {
    const box = event.currentTarget.getBoundingClientRect();
    column = Math.floor((event.clientX - box.left) / box.width * $width / step);
    row = Math.floor((event.clientY - box.top) / box.height * $height / step);
    show();
  });
  figure.addEventListener("keydown", event => {
    const step = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]}[event.key];
    if (!step) return;
    event.preventDefault();
    column += step[0] * (event.shiftKey ? 10 : 1); row += step[1] * (event.shiftKey ? 10 : 1); show();
  });
  show();
})();
</script>
""")
PIXEL = """
  const bin = (i, length) => Math.floor((i + 0.5) / length * spec.scale);
  const about = i => Math.floor(i / spec.depth.step);
  const told = (column, row) => {
    const text = `(${bin(column, columns)}, ${bin(row, rows)})`;
    const depth = spec.depth && spec.depth.rows[about(row)][about(column)];
    return `pixel (column ${column}, row ${row}) &nbsp;→&nbsp; <b>${text}</b>, ${text.length} tokens` +
      (spec.depth ? `<br>measured depth about there: ` + (depth ? `<b>${depth.toFixed(2)} m</b>` : "unknown") : "");
  };
"""
ANSWER = """
  const told = (column, row) => spec.labels.map(
    (label, k) => `${label}: <b>${spec.rows[row][column][k]}</b>`).join("<br>");
"""


def pixel_picker(
    view: View, alt: str, reference: PixelText = PixelText(), depth_step: int = 8
) -> HTML:
    """Click a pixel (or move with the arrow keys) and read how it is written, and the depth about
    there if known.

    The browser computes what `PixelText.encode` does for pixel centres, rounding "floor", so no
    kernel is needed. Depth is one value for depth_step x depth_step pixels, that in their middle.
    """
    if reference.rounding != "floor":
        raise ValueError(
            f"the picker writes pixels with rounding 'floor' only, got {reference.rounding!r}"
        )
    width, height = view.size
    depth = None
    if view.depth_m is not None:
        rows, columns = (
            np.minimum(np.arange(0, n, depth_step) + depth_step // 2, n - 1)
            for n in (height, width)
        )
        coarse = view.depth_m[rows][:, columns]
        depth = {
            "step": depth_step,
            "rows": [[round(float(z), 2) if z == z else 0 for z in row] for row in coarse],
        }
    return _picker(view, alt, (width, height), 1, PIXEL, scale=reference.scale, depth=depth)


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
        raise ValueError(
            f"a view of {size} pixels has {rows} rows of {columns} squares of {step}, not those of `told`"
        )
    texts = [[[html.escape(str(value)) for value in cell.values()] for cell in row] for row in told]
    labels = [html.escape(label) for label in told[0][0]]
    marks = "" if right is None else _marks(right, step)
    return _picker(view, alt, (columns, rows), step, ANSWER, marks, labels=labels, rows=texts)


def _marks(right: Sequence[Sequence[bool | None]], step: int) -> str:
    """SVG paths: a dot in each square that is True, a cross in each that is False."""
    arm, places = step / 8, {True: "", False: ""}
    for row, column in np.ndindex(len(right), len(right[0])):
        x, y, kind = (column + 0.5) * step, (row + 0.5) * step, right[row][column]
        if kind is not None:
            cross = f"M{x - arm:g} {y - arm:g}l{2 * arm:g} {2 * arm:g}m0 {-2 * arm:g}l{-2 * arm:g} {2 * arm:g}"
            places[bool(kind)] += f"M{x:g} {y:g}h.01" if kind else cross
    dots, crosses = (
        f'<path d="{path}" fill="none" stroke-linecap="round"'
        for path in (places[True], places[False])
    )
    drawn = (
        (dots, 2.6, "#fff"),
        (dots, 2, "#0072B2"),
        (crosses, 1.4, "#fff"),
        (crosses, 0.8, "#D55E00"),
    )
    return "".join(
        f'{path} stroke="{color}" stroke-width="{arm * wide:g}"/>' for path, wide, color in drawn
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
    """A picture of (columns, rows) cells of step pixels, with a caption that the browser writes for
    the chosen one."""
    width, height = view.size
    buffer = io.BytesIO()
    Image.fromarray(view.image).save(buffer, "webp", quality=85)
    spec |= {"cells": cells, "step": step, "start": [cells[0] // 2, cells[1] // 2]}
    return HTML(
        PICKER.substitute(
            id=f"pick-{uuid4().hex[:8]}",
            alt=html.escape(alt),
            data=base64.b64encode(buffer.getvalue()).decode(),
            width=width,
            height=height,
            radius=width / 80,
            thick=width / 150,
            thin=width / 300,
            marks=marks,
            told=told,
            spec=json.dumps(spec),
        )
    )


CLOUD = Template("""
<figure id="$id" class="vlm3-cloud" style="margin:0">
  <canvas width="900" height="600" tabindex="0" role="img" aria-label="$alt"
    style="width:100%;background:#f6f6f6;cursor:grab;touch-action:none"></canvas>
  <figcaption style="font-size:.95em">Drag to turn, or use the arrow keys; wheel or + and - to come closer.</figcaption>
</figure>
<script>
(() => {
  const canvas = document.querySelector("#$id canvas"), pen = canvas.getContext("2d"), {width, height} = canvas;
  const read = (text, type) => new type(Uint8Array.from(atob(text), c => c.charCodeAt(0)).buffer);
  const xyz = read("$xyz", Float32Array), rgb = read("$rgb", Uint8Array), n = rgb.length / 3;
  const [cx, cy, cz] = $centre, order = Array.from({length: n}, (_, i) => i), depth = new Float32Array(n);
  let yaw = 0, pitch = 0, zoom = 1, held = null;
  const draw = () => {
    const [sy, cyaw, sp, cp] = [Math.sin(yaw), Math.cos(yaw), Math.sin(pitch), Math.cos(pitch)], at = [];
    for (let i = 0; i < n; i++) {
      const x = xyz[3 * i] - cx, y = xyz[3 * i + 1] - cy, z = xyz[3 * i + 2] - cz;
      const u = cyaw * x + sy * z, w = cyaw * z - sy * x;
      depth[i] = cp * w + sp * y + cz; at.push(u, cp * y - sp * w);
    }
    order.sort((a, b) => depth[b] - depth[a]);
    pen.clearRect(0, 0, width, height);
    const scale = zoom * $focal * width;
    for (const i of order) {
      if (depth[i] <= 0.05) continue;
      const s = scale / depth[i], dot = Math.max(2, 1.3 * s * $spacing * xyz[3 * i + 2]);
      pen.fillStyle = `rgb($${rgb[3 * i]},$${rgb[3 * i + 1]},$${rgb[3 * i + 2]})`;
      pen.fillRect(width / 2 + at[2 * i] * s - dot / 2, height / 2 + at[2 * i + 1] * s - dot / 2, dot, dot);
    }
  };
  canvas.addEventListener("pointerdown", e => {
    held = [e.clientX, e.clientY]; canvas.setPointerCapture(e.pointerId);
  });
  canvas.addEventListener("pointerup", () => { held = null; });
  canvas.addEventListener("pointermove", e => {
    if (!held) return;
    yaw += (e.clientX - held[0]) / 200; pitch += (e.clientY - held[1]) / 200; held = [e.clientX, e.clientY]; draw();
  });
  const closer = factor => { zoom = Math.min(Math.max(zoom * factor, 0.3), 6); draw(); };
  const wheel = e => { e.preventDefault(); closer(e.deltaY < 0 ? 1.1 : 1 / 1.1); };
  canvas.addEventListener("wheel", wheel, {passive: false});
  canvas.addEventListener("keydown", e => {
    const turn = {ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, -0.1], ArrowDown: [0, 0.1]}[e.key];
    if (turn) { yaw += turn[0]; pitch += turn[1]; draw(); } else if (e.key === "+") closer(1.1);
    else if (e.key === "-") closer(1 / 1.1); else return;
    e.preventDefault();
  });
  draw();
})();
</script>
""")


def point_cloud(view: View, alt: str, step: int = 6) -> HTML:
    """Every step-th pixel of a view with depth as a coloured point in space that one can turn; no
    kernel is needed."""
    pixels = pixel_centres(view.camera)[step // 2 :: step, step // 2 :: step]
    columns, rows = pixels.astype(int).transpose(2, 0, 1)
    known = np.isfinite(view.depth_m[rows, columns])
    points = unproject(pixels[known], view.depth_m[rows, columns][known], view.camera)
    colours = view.image[rows, columns][known]
    return HTML(
        CLOUD.substitute(
            id=f"cloud-{uuid4().hex[:8]}",
            alt=html.escape(alt),
            xyz=base64.b64encode(points.astype("<f4").tobytes()).decode(),
            rgb=base64.b64encode(colours.tobytes()).decode(),
            centre=json.dumps(np.median(points, axis=0).round(3).tolist()),
            focal=view.camera.fx / view.size[0],
            spacing=step / view.camera.fx,
        )
    )
