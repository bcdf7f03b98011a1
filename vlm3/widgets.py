"""What readers touch. Everything here works in a running notebook and, without a kernel, on the static page."""

import base64
import html
import io
import json
from collections.abc import Mapping
from string import Template
from uuid import uuid4

import ipywidgets
from IPython.display import HTML
from PIL import Image

from vlm3.reference import PixelText
from vlm3.views import View


def slider(frames: Mapping[str, str], description: str, start: int = 0) -> ipywidgets.VBox:
    """A slider over pictures made beforehand: {label: html}. Linked in the browser, so no kernel is needed."""
    knob = ipywidgets.SelectionSlider(
        options=list(frames),
        index=start,
        description=description,
        style={"description_width": "initial"},
        layout={"width": "min(100%, 32em)"},
    )
    stack = ipywidgets.Stack([ipywidgets.HTML(frame) for frame in frames.values()], selected_index=start)
    ipywidgets.jslink((knob, "index"), (stack, "selected_index"))
    return ipywidgets.VBox([knob, stack])


PICKER = Template("""
<figure id="$id" class="vlm3-picker" tabindex="0" style="margin:0;outline-offset:4px">
  <div style="position:relative;cursor:crosshair;touch-action:manipulation">
    <img alt="$alt" src="data:image/webp;base64,$data" style="width:100%;display:block;margin:0">
    <svg viewBox="0 0 $width $height" style="position:absolute;inset:0;width:100%;height:100%" aria-hidden="true">
      <circle r="$radius" fill="none" stroke="#fff" stroke-width="$thick"/>
      <circle r="$radius" fill="none" stroke="#D55E00" stroke-width="$thin"/>
    </svg>
  </div>
  <figcaption aria-live="polite" style="font-size:.95em;margin-top:.5em"></figcaption>
</figure>
<script>
(() => {
  const figure = document.getElementById("$id"), spec = $spec;
  const [width, height] = spec.size, caption = figure.querySelector("figcaption");
  let [column, row] = spec.start;
  const show = () => {
    column = Math.min(Math.max(column, 0), width - 1); row = Math.min(Math.max(row, 0), height - 1);
    const bin = (i, length) => Math.floor((i + 0.5) / length * spec.scale);
    const text = `($${bin(column, width)}, $${bin(row, height)})`;
    for (const circle of figure.querySelectorAll("circle")) {
      circle.setAttribute("cx", column + 0.5); circle.setAttribute("cy", row + 0.5);
    }
    const cell = i => Math.floor(i / spec.depth.step), depth = spec.depth && spec.depth.rows[cell(row)][cell(column)];
    caption.innerHTML = `pixel (column $${column}, row $${row}) &nbsp;→&nbsp; <b>$${text}</b>, $${text.length} tokens` +
      (spec.depth ? `<br>measured depth there: ` + (depth ? `<b>$${depth.toFixed(2)} m</b>` : "unknown") : "");
  };
  figure.querySelector("div").addEventListener("click", event => {
    const box = event.currentTarget.getBoundingClientRect();
    column = Math.floor((event.clientX - box.left) / box.width * width);
    row = Math.floor((event.clientY - box.top) / box.height * height);
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


def pixel_picker(view: View, alt: str, reference: PixelText = PixelText(), depth_step: int = 8) -> HTML:  # noqa: B008
    """Click a pixel (or move with the arrow keys) and read how it is written, and its depth where the view has one.

    The browser computes what `PixelText.encode` does for pixel centres, so no kernel is needed.
    """
    width, height = view.size
    buffer = io.BytesIO()
    Image.fromarray(view.image).save(buffer, "webp", quality=85)
    depth = None
    if view.depth_m is not None:
        coarse = view.depth_m[depth_step // 2 :: depth_step, depth_step // 2 :: depth_step]
        depth = {
            "step": depth_step,
            "rows": [[round(float(z), 2) if z == z else 0 for z in row] for row in coarse],
        }
    spec = {"size": view.size, "scale": reference.scale, "start": [width // 2, height // 2], "depth": depth}
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
            spec=json.dumps(spec),
        )
    )
