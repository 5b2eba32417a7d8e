// Shows the values of figures under the pointer and by keyboard; titles and tables have the same values.
"use strict";

function showText(figure, text) {
  const line = figure.querySelector(".reading");
  if (line) line.textContent = text;
}

for (const figure of document.querySelectorAll("figure.heatmap, figure.plot")) {
  let resting = "";
  figure.addEventListener("pointermove", (event) => {
    // Scrolling under a resting pointer fires events, too; they must not replace the cell chosen by keyboard.
    const place = `${event.screenX} ${event.screenY}`;
    if (place === resting) return;
    resting = place;
    const part = event.target.closest(".cell, .point, .block");
    const title = part && part.querySelector("title");
    if (title) showText(figure, title.textContent);
  });
}

for (const grid of document.querySelectorAll("svg[data-grid]")) {
  const cells = Array.from(grid.querySelectorAll(".cell"));
  const side = Number(grid.dataset.grid);
  const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: side, ArrowUp: -side };
  let at = 0;
  const show = () => {
    grid.querySelector(".cell.here")?.classList.remove("here");
    cells[at].classList.add("here");
    showText(grid.closest("figure"), cells[at].querySelector("title").textContent);
  };
  grid.addEventListener("keydown", (event) => {
    if (!(event.key in steps)) return;
    event.preventDefault();
    const next = at + steps[event.key];
    const sideways = Math.abs(steps[event.key]) === 1;
    if (next < 0 || next >= cells.length) return;
    if (sideways && Math.floor(next / side) !== Math.floor(at / side)) return;
    at = next;
    show();
  });
  grid.addEventListener("focus", show);
}
