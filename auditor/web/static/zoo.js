// The zoo plot: a tooltip at the pointer, a box that enlarges, and changes without loading the page anew.
// The server draws every state of the plot, and its address describes it; so links and the back button work.
"use strict";

const zoo = document.querySelector("#zoo");
let latest = 0;

function plotWidth() {
  const frame = zoo.querySelector(".frame");
  return frame ? Math.max(320, Math.min(2400, Math.round(frame.clientWidth))) : null;
}

async function show(address, remember = true) {
  const turn = ++latest;
  const shared = new URL(address, location.href);
  const drawn = new URL(shared);
  if (plotWidth()) drawn.searchParams.set("width", plotWidth());
  let page;
  try {
    const answer = await fetch(drawn);
    if (!answer.ok) throw new Error(answer.statusText);
    page = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("#zoo");
  } catch {
    location.assign(shared);  // shows what is wrong
    return;
  }
  if (turn !== latest || !page) return;
  const { name } = document.activeElement;
  const open = zoo.querySelector("#values")?.open;
  zoo.replaceChildren(...page.childNodes);
  if (name) zoo.querySelector(`[name="${name}"]`)?.focus();
  if (open) zoo.querySelector("#values")?.setAttribute("open", "");
  if (remember) history.pushState(null, "", shared);
  start();
}

function formAddress(form, without = []) {
  const query = new URLSearchParams(new FormData(form));
  for (const [name, value] of Array.from(query)) if (!value || without.includes(name)) query.delete(name, value);
  return `/zoo${query.size ? "?" : ""}${query}`;
}

function start() {
  const form = zoo.querySelector("form.choices");
  const figure = zoo.querySelector("figure.zoo");
  form?.addEventListener("submit", (event) => {
    event.preventDefault();
    show(formAddress(form));
  });
  form?.addEventListener("change", ({ target }) => {
    const ends = { x: ["x_from", "x_to"], y: ["y_from", "y_to"], by: ["hide"] };
    if (target.name === "setting") show(formAddress(form, ["x_from", "x_to", "y_from", "y_to", "hide"]));
    else if (target.localName === "select") show(formAddress(form, ends[target.name]));
  });
  if (!figure) return;
  for (const link of figure.querySelectorAll("a.key, a.all")) {
    link.addEventListener("click", (event) => {
      event.preventDefault();
      show(link.href);
    });
  }
  highlight(figure, form.elements.find);
  addBox(figure);
  addTooltip(figure);
  figure.dataset.ready = "";
}

// Dims the points whose names do not contain the text, while it is typed; the server names those found on submit.
function highlight(figure, field) {
  field.addEventListener("input", () => {
    const text = field.value.trim().toLowerCase();
    d3.select(figure).select("svg").classed("searched", Boolean(text));
    d3.select(figure).selectAll(".point").classed("found", function () {
      return Boolean(text) && this.dataset.label.split("\n")[0].toLowerCase().includes(text);
    });
  });
}

function addBox(figure) {
  const [left, right, top, bottom] = ["left", "right", "top", "bottom"].map((side) => Number(figure.dataset[side]));
  const ends = { x: figure.dataset.x.split(" ").map(Number), y: figure.dataset.y.split(" ").map(Number) };
  const across = (at) => ends.x[0] + ((at - left) / (right - left)) * (ends.x[1] - ends.x[0]);
  const up = (at) => ends.y[0] + ((bottom - at) / (bottom - top)) * (ends.y[1] - ends.y[0]);
  const brush = d3.brush().extent([[left, top], [right, bottom]]).on("end", ({ selection }) => {
    if (!selection) return;
    const [[x0, y0], [x1, y1]] = selection;
    if (x1 - x0 < 8 || y1 - y0 < 8) return;
    const address = new URL(location.href);
    const range = { x_from: across(x0), x_to: across(x1), y_from: up(y1), y_to: up(y0) };
    for (const [name, value] of Object.entries(range)) address.searchParams.set(name, value.toPrecision(6));
    show(address);
  });
  d3.select(figure).select("g.brush").call(brush);
  d3.select(figure).select("svg").on("dblclick", () => figure.querySelector("a.all")?.click());
  figure.querySelector(".hint").hidden = false;
}

function addTooltip(figure) {
  const tip = figure.appendChild(document.createElement("div"));
  tip.className = "tip";
  tip.hidden = true;
  const points = Array.from(figure.querySelectorAll(".point"));
  for (const point of points) {  // the browser would show a second tooltip
    const title = point.querySelector("title");
    point.dataset.label = title.textContent;
    title.remove();
  }
  const tree = d3.quadtree(points, (point) => Number(point.dataset.x), (point) => Number(point.dataset.y));
  let near;
  const choose = (point, event) => {
    near?.classList.remove("near");
    near = point;
    tip.hidden = !near;
    if (!near) return;
    near.classList.add("near");
    tip.textContent = near.dataset.label;
    const box = figure.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    tip.style.left = `${Math.max(0, x + 14 + tip.offsetWidth > box.width ? x - 14 - tip.offsetWidth : x + 14)}px`;
    tip.style.top = `${y + 14}px`;
  };
  d3.select(figure).select("svg")
    .on("pointermove", (event) => choose(event.buttons ? null : tree.find(...d3.pointer(event), 24), event))
    .on("pointerleave", () => choose(null))
    .on("dragstart", (event) => event.preventDefault());
}

let width;
new ResizeObserver(() => {
  const drawn = Number(zoo.querySelector("figure.zoo svg")?.getAttribute("width"));
  if (!drawn || plotWidth() === width || Math.abs(plotWidth() - drawn) < 24) return;
  width = plotWidth();
  show(location.href, false);
}).observe(zoo);
window.addEventListener("popstate", () => show(location.href, false));
start();
