// What a visitor points at: a click, two corners or a dragged box, or arrow keys and Enter.
let corner = null, held = null, cursor = null, focused = false;
const area = () => element.querySelector(".vlm3-picture");
const size = () => [Number(area().dataset.width), Number(area().dataset.height)];
const within = uv => uv.map((x, k) => Math.min(Math.max(x, 0), size()[k]));
const place = event => {
  const frame = area().querySelector("img").getBoundingClientRect(), [width, height] = size();
  return within([
    (event.clientX - frame.left) / frame.width * width,
    (event.clientY - frame.top) / frame.height * height]);
};
const look = wide => `fill="none" stroke="#fff" stroke-width="${wide}"`;
const pending = drawn => { area().querySelector(".vlm3-pending").innerHTML = drawn; };
const ring = ([u, v]) => {
  const unit = Math.max(...size()) / 100;
  return `<circle cx="${u}" cy="${v}" r="${1.4 * unit}" ${look(0.9 * unit)}/>
    <path d="M${u - 2.6 * unit} ${v}h${5.2 * unit}M${u} ${v - 2.6 * unit}v${5.2 * unit}"
    stroke="#111" stroke-width="${0.3 * unit}"/>`;
};
const frame = (a, b) => {
  const unit = Math.max(...size()) / 100, dash = `stroke-dasharray="${unit} ${unit}"`;
  const sides = `x="${Math.min(a[0], b[0])}" y="${Math.min(a[1], b[1])}"
    width="${Math.abs(a[0] - b[0])}" height="${Math.abs(a[1] - b[1])}"`;
  return `<rect ${sides} ${look(0.6 * unit)}/>
    <rect ${sides} fill="none" stroke="#111" ${dash} stroke-width="${0.3 * unit}"/>`;
};
const apart = (a, b) => Math.hypot(a[0] - b[0], a[1] - b[1]) > Math.max(...size()) / 60;
const say = found => trigger("select", {found});
const pixel = uv => {
  cursor = uv;
  pending(ring(uv));
  // The lower right border belongs to no pixel.
  say(uv.map((x, k) => Math.min(Math.round(10 * x) / 10, size()[k] - 0.1)));
};
const box = (a, b) => {
  pending(frame(a, b));
  corner = null;
  const ends = [0, 1].map(k => [a[k], b[k]].map(Math.round).sort((x, y) => x - y));
  say([ends[0][0], ends[1][0], ends[0][1], ends[1][1]]);
};
const point = uv => {
  if (area().dataset.subject === "pixels") pixel(uv);
  else if (corner && apart(corner, uv)) box(corner, uv);
  else { corner = cursor = uv; pending(ring(uv)); }
};
const subject = event => area()?.dataset.subject && area().contains(event.target);
element.addEventListener("pointerdown", event => {
  if (subject(event) && event.button === 0) held = place(event);
});
element.addEventListener("pointermove", event => {
  if (!area() || area().dataset.subject !== "boxes") return;
  const from = held ?? corner, to = place(event);
  if (from && apart(from, to)) pending(frame(from, to));
});
element.addEventListener("pointerup", event => {
  if (!held) return;
  const from = held, to = place(event);
  held = null;
  if (area().dataset.subject === "boxes" && apart(from, to)) box(from, to);
  else point(to);
});
element.addEventListener("pointercancel", () => { held = null; });
element.addEventListener("keydown", event => {
  if (!subject(event)) return;
  const [width, height] = size(), step = Math.max(width, height) / (event.shiftKey ? 200 : 40);
  const way = {
    ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]
  }[event.key];
  cursor ??= [width / 2, height / 2];
  if (way) {
    cursor = within(cursor.map((x, k) => x + step * way[k]));
    pending((corner ? frame(corner, cursor) : "") + ring(cursor));
  } else if (event.key === "Enter" || event.key === " ") point(cursor);
  else if (event.key === "Escape") { corner = null; pending(""); }
  else return;
  event.preventDefault();
});
element.addEventListener("focusin", () => { focused = true; });
element.addEventListener("focusout", event => { focused = !event.relatedTarget && focused; });
// A new picture takes the place of the old one, and would lose the keys with it.
watch("value", () => {
  corner = held = null;
  if (focused && document.activeElement === document.body) area()?.focus({preventScroll: true});
});
