(() => {
  const figure = document.getElementById("$id"), spec = $spec,
    caption = figure.querySelector("figcaption");
  const [columns, rows] = spec.cells, {step} = spec;
  let [column, row] = spec.start;
  // Here comes pixel.js or answer.js, which defines what is told of a cell.
  $told
  const show = () => {
    column = Math.min(Math.max(column, 0), columns - 1);
    row = Math.min(Math.max(row, 0), rows - 1);
    for (const circle of figure.querySelectorAll("circle")) {
      circle.setAttribute("cx", (column + 0.5) * step);
      circle.setAttribute("cy", (row + 0.5) * step);
    }
    caption.innerHTML = told(column, row);
  };
  // The page shows the picture as large as it likes, so a click is taken as a part of its width.
  figure.querySelector("div").addEventListener("click", event => {
    const box = event.currentTarget.getBoundingClientRect();
    column = Math.floor((event.clientX - box.left) / box.width * $width / step);
    row = Math.floor((event.clientY - box.top) / box.height * $height / step);
    show();
  });
  figure.addEventListener("keydown", event => {
    const step = {
      ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]
    }[event.key];
    if (!step) return;
    event.preventDefault();
    column += step[0] * (event.shiftKey ? 10 : 1);
    row += step[1] * (event.shiftKey ? 10 : 1);
    show();
  });
  show();
})();
