(() => {
  const figure = document.getElementById("$id"), svg = figure.querySelector("svg"), pairs = $spec;
  let chosen = 0, [yaw, pitch] = $start, zoom = 1, held = null;
  // Without perspective, as `_still` in widgets.py draws it first: parallel edges stay parallel.
  const draw = () => {
    const [sy, cy, sp, cp] = [Math.sin(yaw), Math.cos(yaw), Math.sin(pitch), Math.cos(pitch)];
    const {middle: [mx, my, mz], scale, lines} = pairs[chosen], s = scale * zoom;
    const at = ([x, y, z]) => {
      const u = cy * (x - mx) + sy * (z - mz), w = cy * (z - mz) - sy * (x - mx);
      return [(s * u).toFixed(2), (s * (cp * (y - my) - sp * w)).toFixed(2)];
    };
    svg.innerHTML = lines.map(
      ({points, style}) => `<path d="M${points.map(at).join("L")}" ${style}/>`).join("");
    figure.querySelector("[aria-live]").textContent = pairs[chosen].words;
  };
  svg.addEventListener("pointerdown", e => {
    held = [e.clientX, e.clientY];
    svg.setPointerCapture(e.pointerId);
  });
  for (const name of ["pointerup", "pointercancel"])
    svg.addEventListener(name, () => { held = null; });
  svg.addEventListener("pointermove", e => {
    if (!held) return;
    yaw += (e.clientX - held[0]) / 150;
    pitch += (e.clientY - held[1]) / 150;
    held = [e.clientX, e.clientY];
    draw();
  });
  svg.addEventListener("keydown", e => {
    const turn = {
      ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, -0.1], ArrowDown: [0, 0.1]
    }[e.key];
    if (turn) { yaw += turn[0]; pitch += turn[1]; }
    else if (e.key === "+") zoom *= 1.1;
    else if (e.key === "-") zoom /= 1.1;
    else return;
    e.preventDefault();
    draw();
  });
  figure.querySelector("select").addEventListener("change", e => {
    chosen = e.target.selectedIndex;
    draw();
  });
  draw();
})();
