(() => {
  const canvas = document.querySelector("#$id canvas"), pen = canvas.getContext("2d"),
    {width, height} = canvas;
  const read = (text, type) => new type(Uint8Array.from(atob(text), c => c.charCodeAt(0)).buffer);
  const xyz = read("$xyz", Float32Array), rgb = read("$rgb", Uint8Array), n = rgb.length / 3;
  const [cx, cy, cz] = $centre, order = Array.from({length: n}, (_, i) => i),
    depth = new Float32Array(n);
  let yaw = 0, pitch = 0, zoom = 1, held = null;
  const draw = () => {
    const [sy, cyaw, sp, cp] = [Math.sin(yaw), Math.cos(yaw), Math.sin(pitch), Math.cos(pitch)],
      at = [];
    // The cloud turns about its middle, which stays cz in front of the camera.
    for (let i = 0; i < n; i++) {
      const x = xyz[3 * i] - cx, y = xyz[3 * i + 1] - cy, z = xyz[3 * i + 2] - cz;
      const u = cyaw * x + sy * z, w = cyaw * z - sy * x;
      depth[i] = cp * w + sp * y + cz;
      at.push(u, cp * y - sp * w);
    }
    // A canvas forgets what is behind what, so far points are drawn before near ones.
    order.sort((a, b) => depth[b] - depth[a]);
    pen.clearRect(0, 0, width, height);
    const scale = zoom * $focal * width;
    for (const i of order) {
      // Too near the camera, or behind it.
      if (depth[i] <= 0.05) continue;
      // A dot is as large as the gap to its neighbours, which grows with the depth in the photo.
      const s = scale / depth[i], dot = Math.max(2, 1.3 * s * $spacing * xyz[3 * i + 2]);
      pen.fillStyle = `rgb(${rgb[3 * i]},${rgb[3 * i + 1]},${rgb[3 * i + 2]})`;
      pen.fillRect(
        width / 2 + at[2 * i] * s - dot / 2, height / 2 + at[2 * i + 1] * s - dot / 2, dot, dot);
    }
  };
  canvas.addEventListener("pointerdown", e => {
    held = [e.clientX, e.clientY];
    canvas.setPointerCapture(e.pointerId);
  });
  canvas.addEventListener("pointerup", () => { held = null; });
  canvas.addEventListener("pointermove", e => {
    if (!held) return;
    yaw += (e.clientX - held[0]) / 200;
    pitch += (e.clientY - held[1]) / 200;
    held = [e.clientX, e.clientY];
    draw();
  });
  const closer = factor => { zoom = Math.min(Math.max(zoom * factor, 0.3), 6); draw(); };
  const wheel = e => { e.preventDefault(); closer(e.deltaY < 0 ? 1.1 : 1 / 1.1); };
  // Not passive: the page itself must not scroll.
  canvas.addEventListener("wheel", wheel, {passive: false});
  canvas.addEventListener("keydown", e => {
    const turn = {
      ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, -0.1], ArrowDown: [0, 0.1]
    }[e.key];
    if (turn) { yaw += turn[0]; pitch += turn[1]; draw(); }
    else if (e.key === "+") closer(1.1);
    else if (e.key === "-") closer(1 / 1.1);
    else return;
    e.preventDefault();
  });
  draw();
})();
