"""What readers touch where two views are compared. Without a kernel, and without JavaScript a still
is left to see."""

import base64
import html
import io
import json
from collections.abc import Mapping, Sequence
from string import Template
from uuid import uuid4

import numpy as np
from IPython.display import HTML
from PIL import Image

from vlm3.geometry import Camera, rays, transform
from vlm3.pages.figures import BLUE
from vlm3.pages.pairs import ANSWER, TRUTH, Place
from vlm3.views import View

MATCHES = Template("""
<figure id="$id" class="vlm3-matches" tabindex="0" style="margin:0;outline-offset:4px">
  <div style="position:relative;cursor:pointer;touch-action:manipulation">
    <img alt="$alt" src="data:image/webp;base64,$data" style="width:100%;display:block;margin:0">
    <svg viewBox="0 0 $width $height" style="position:absolute;inset:0;width:100%;height:100%" aria-hidden="true">
      $dots
      <g fill="none" stroke-linecap="round">
        <path class="way" stroke="#fff" stroke-width="$thick"/>
        <path class="way" stroke="$answer" stroke-width="$thin" stroke-dasharray="$dash"/>
        <circle class="query" r="$radius" stroke="#fff" stroke-width="$thick"/>
        <circle class="query" r="$radius" stroke="$query" stroke-width="$thin"/>
        <circle class="truth" r="$radius" stroke="#fff" stroke-width="$thick"/>
        <circle class="truth" r="$radius" stroke="$truth" stroke-width="$thin"/>
        <path class="cross" stroke="#fff" stroke-width="$thick"/>
        <path class="cross" stroke="$answer" stroke-width="$thin"/>
      </g>
    </svg>
  </div>
  <figcaption aria-live="polite" style="font-size:.95em;margin-top:.5em"></figcaption>
  <p style="font-size:.85em;margin:.3em 0 0">Click a point of image 1, or step with the arrow keys.
    Ring: the truth. Cross: the answer.</p>
</figure>
<script>
(() => {
  const figure = document.getElementById("$id"), matches = $spec, r = $radius;
  const all = (name, values) => figure.querySelectorAll(name).forEach(
    e => Object.entries(values).forEach(([key, value]) => e.setAttribute(key, value)));
  let chosen = 0;
  const show = i => {
    chosen = (i + matches.length) % matches.length;
    const {a, b, t, words} = matches[chosen];
    all(".query", {cx: a[0], cy: a[1]}); all(".truth", {cx: t[0], cy: t[1]});
    all(".cross", {d: b ? `M$${b[0] - r},$${b[1] - r}l$${2 * r},$${2 * r}m0,$${-2 * r}l$${-2 * r},$${2 * r}` : ""});
    all(".way", {d: b ? `M$${a}L$${b}L$${t}` : ""});
    figure.querySelector("figcaption").innerHTML = `<b>$${chosen + 1} of $${matches.length}</b>&ensp;$${words}`;
  };
  figure.querySelector("div").addEventListener("click", event => {
    const box = event.currentTarget.getBoundingClientRect(), far = m =>
      Math.hypot(m.a[0] - (event.clientX - box.left) / box.width * $width,
                 m.a[1] - (event.clientY - box.top) / box.height * $height);
    show(matches.indexOf(matches.reduce((best, m) => far(m) < far(best) ? m : best)));
  });
  figure.addEventListener("keydown", event => {
    const step = {ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1}[event.key];
    if (step) { event.preventDefault(); show(chosen + step); }
  });
  show(0);
})();
</script>
""")


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
    height, gap = max(view.size[1] for view in views), round(0.03 * views[0].size[0])
    sheet = np.zeros(
        (height, views[0].size[0] + gap + views[1].size[0], 4), np.uint8
    )  # clear where no view is
    shift = views[0].size[0] + gap
    for view, left in zip(views, (0, shift), strict=True):
        sheet[: view.size[1], left : left + view.size[0], :3] = view.image
        sheet[: view.size[1], left : left + view.size[0], 3] = 255
    places = [None if b is None else np.clip(b, 0, views[1].size) + [shift, 0] for b in uv2]
    truths = np.asarray(truth2, float) + [shift, 0]
    spec = [
        {
            "a": _rounded(a),
            "b": None if b is None else _rounded(b),
            "t": _rounded(t),
            "words": html.escape(text),
        }
        for a, b, t, text in zip(uv1, places, truths, words, strict=True)
    ]
    unit = sheet.shape[1] / 100
    small = '<circle cx="{}" cy="{}" r="{:.2f}" fill="{}" stroke="#fff" stroke-width="{:.2f}"/>'
    return HTML(
        MATCHES.substitute(
            id=f"matches-{uuid4().hex[:8]}",
            alt=html.escape(alt),
            data=_webp(sheet),
            width=sheet.shape[1],
            height=height,
            dots="".join(small.format(*each["a"], 0.7 * unit, BLUE, 0.25 * unit) for each in spec),
            spec=_json(spec),
            radius=f"{1.2 * unit:.2f}",
            thick=f"{0.7 * unit:.2f}",
            thin=f"{0.35 * unit:.2f}",
            dash=f"{unit:.2f}",
            query=BLUE,
            truth=TRUTH,
            answer=ANSWER,
        )
    )


def _rounded(uv: np.ndarray) -> list[float]:
    return [round(float(p), 1) for p in uv]


def _json(spec: object) -> str:
    """JSON that cannot end the script it stands in."""
    return json.dumps(spec).replace("</", "<\\/")


def _webp(image: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "webp", quality=85)
    return base64.b64encode(buffer.getvalue()).decode()


CAMERAS = Template("""
<figure id="$id" class="vlm3-cameras" style="margin:0">
  <label style="font-size:.95em">Pair: <select aria-label="pair of cameras">$options</select></label>
  <svg viewBox="-50 -33 100 66" tabindex="0" role="img" aria-label="$alt"
    style="width:100%;display:block;background:#f6f6f6;cursor:grab;touch-action:none;outline-offset:2px">$still</svg>
  <figcaption style="font-size:.95em;margin-top:.5em"><span aria-live="polite">$words</span><br>
    <small>Drag to turn, or use the arrow keys; + and - to come closer. Black: camera 1.
    <b style="color:$truth">Full line: where camera 2 is.</b>
    <b style="color:$answer">Dashed: where the answers put it.</b></small></figcaption>
</figure>
<script>
(() => {
  const figure = document.getElementById("$id"), svg = figure.querySelector("svg"), pairs = $spec;
  let chosen = 0, [yaw, pitch] = $start, zoom = 1, held = null;
  const draw = () => {
    const [sy, cy, sp, cp] = [Math.sin(yaw), Math.cos(yaw), Math.sin(pitch), Math.cos(pitch)];
    const {middle: [mx, my, mz], scale, lines} = pairs[chosen], s = scale * zoom;
    const at = ([x, y, z]) => {
      const u = cy * (x - mx) + sy * (z - mz), w = cy * (z - mz) - sy * (x - mx);
      return [(s * u).toFixed(2), (s * (cp * (y - my) - sp * w)).toFixed(2)];
    };
    svg.innerHTML = lines.map(({points, style}) => `<path d="M$${points.map(at).join("L")}" $${style}/>`).join("");
    figure.querySelector("[aria-live]").textContent = pairs[chosen].words;
  };
  svg.addEventListener("pointerdown", e => { held = [e.clientX, e.clientY]; svg.setPointerCapture(e.pointerId); });
  for (const name of ["pointerup", "pointercancel"]) svg.addEventListener(name, () => { held = null; });
  svg.addEventListener("pointermove", e => {
    if (!held) return;
    yaw += (e.clientX - held[0]) / 150; pitch += (e.clientY - held[1]) / 150; held = [e.clientX, e.clientY]; draw();
  });
  svg.addEventListener("keydown", e => {
    const turn = {ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, -0.1], ArrowDown: [0, 0.1]}[e.key];
    if (turn) { yaw += turn[0]; pitch += turn[1]; } else if (e.key === "+") zoom *= 1.1;
    else if (e.key === "-") zoom /= 1.1; else return;
    e.preventDefault(); draw();
  });
  figure.querySelector("select").addEventListener("change", e => { chosen = e.target.selectedIndex; draw(); });
  draw();
})();
</script>
""")
START = (-0.5, 0.45)  # yaw and pitch in radians: from behind, the left and above


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
    options = "".join(f"<option>{html.escape(name)}</option>" for name in pairs)
    return HTML(
        CAMERAS.substitute(
            id=f"cameras-{uuid4().hex[:8]}",
            alt=html.escape(alt),
            options=options,
            still=_still(spec[0]),
            spec=_json(spec),
            words=html.escape(spec[0]["words"]),
            start=json.dumps(START),
            truth=TRUTH,
            answer=ANSWER,
        )
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
        for points in _frustum(pose, camera, size)
    ]
    points = np.concatenate([line["points"] for line in lines])
    middle = (points.min(0) + points.max(0)) / 2
    reach = float(np.linalg.norm(points - middle, axis=1).max())
    for line in lines:
        line["points"] = np.round(line["points"], 4).tolist()
    return {"lines": lines, "middle": middle.round(4).tolist(), "scale": round(31 / reach, 4)}


def _frustum(pose: np.ndarray, camera: Camera, size_m: float) -> list[list[list[float]]]:
    """The rim, four edges, and a roof on the upper side, so that one sees which way is up."""
    (w, h), apex = camera.size, pose[:3, 3]
    corners = np.array([[0, 0], [w, 0], [w, h], [0, h], [w / 2, -0.35 * h]])
    *rim, roof = transform(pose, rays(corners, camera) * size_m)
    lines = [[*rim, rim[0]], *([apex, corner] for corner in rim), [rim[0], roof, rim[1]]]
    return [np.array(line).tolist() for line in lines]


def _still(scene: dict) -> str:
    """What the browser draws first."""
    yaw, pitch = START
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
