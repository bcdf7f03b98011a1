(() => {
  const figure = document.getElementById("$id"), matches = $spec, r = $radius;
  const all = (name, values) => figure.querySelectorAll(name).forEach(
    e => Object.entries(values).forEach(([key, value]) => e.setAttribute(key, value)));
  let chosen = 0;
  const show = i => {
    chosen = (i + matches.length) % matches.length;
    const {a, b, t, words} = matches[chosen];
    all(".query", {cx: a[0], cy: a[1]});
    all(".truth", {cx: t[0], cy: t[1]});
    all(".cross", {
      d: b ? `M${b[0] - r},${b[1] - r}l${2 * r},${2 * r}m0,${-2 * r}l${-2 * r},${2 * r}` : ""
    });
    all(".way", {d: b ? `M${a}L${b}L${t}` : ""});
    figure.querySelector("figcaption").innerHTML =
      `<b>${chosen + 1} of ${matches.length}</b>&ensp;${words}`;
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
