// A chart of rates over time, drawn as SVG: axes, lines, and a readout under the pointer or the arrow keys.

import { h, put, s, say } from "./dom.js";
import { compact } from "./figures.js";

const HEIGHT = 190;
const LEFT = 46;
const RIGHT = 10;
const TOP = 10;
const BOTTOM = 24;

/** Ticks of an axis from 0: at most five, at round numbers. */
function ticks(most) {
  if (!(most > 0)) return [0, 1];
  const rough = most / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((step) => step >= rough);
  const all = [];
  for (let at = 0; at < most + step * 0.999; at += step) all.push(at);
  return all;
}

const time = (at, seconds) =>
  new Date(at).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit", second: seconds ? "2-digit" : undefined });

/**
 * A chart: `series` are `{ name, look }`; `update(points)` takes `{ at, values }`, the oldest first, a value for each series or `null`.
 */
export function chart({ title, unit, series, format = compact }) {
  const readouts = series.map(({ look }) => h("b", { class: look }, "–"));
  const when = h("span", { class: "muted when" });
  const legend = h(
    "div",
    { class: "legend" },
    series.map(({ name, look }, at) => h("span", {}, h("i", { class: `swatch ${look}` }), name, " ", readouts[at])),
    when,
  );
  const drawing = s("svg", { class: "chart", height: HEIGHT, role: "img", tabindex: "0" });
  const node = h(
    "section",
    { class: "card chart-card", "aria-label": title },
    h("div", { class: "card-head" }, h("h2", {}, title), h("span", { class: "muted" }, unit)),
    drawing,
    legend,
  );
  let points = [];
  let width = 0;
  let chosen = null;

  const first = () => points[0].at;
  const last = () => points[points.length - 1].at;
  const x = (at) => LEFT + ((at - first()) / Math.max(1, last() - first())) * (width - LEFT - RIGHT);

  function read() {
    const at = chosen === null ? points.length - 1 : Math.min(chosen, points.length - 1);
    const point = points[at];
    series.forEach((_, number) => say(readouts[number], format(point ? point.values[number] : null)));
    say(when, chosen === null || !point ? "" : time(point.at, true));
    const line = drawing.querySelector(".cursor");
    if (!line) return;
    line.classList.toggle("off", chosen === null);
    if (point) {
      line.setAttribute("x1", x(point.at));
      line.setAttribute("x2", x(point.at));
    }
  }

  function draw() {
    if (!width) return;
    drawing.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    drawing.setAttribute("width", width);
    if (points.length < 2) {
      put(drawing, s("text", { x: width / 2, y: HEIGHT / 2, class: "hint", "text-anchor": "middle" }, "measuring"));
      return;
    }
    const most = Math.max(...points.flatMap(({ values }) => values.map((value) => value ?? 0)));
    const levels = ticks(most);
    const top = levels[levels.length - 1];
    const y = (value) => HEIGHT - BOTTOM - (value / top) * (HEIGHT - TOP - BOTTOM);
    const grid = levels.map((level) => [
      s("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: y(level), y2: y(level) }),
      s("text", { x: LEFT - 8, y: y(level) + 4, "text-anchor": "end" }, compact(level)),
    ]);
    const count = Math.max(2, Math.min(6, Math.floor(width / 130)));
    const close = last() - first() < 180_000;
    const times = Array.from({ length: count }, (_, number) => {
      const at = first() + ((last() - first()) * number) / (count - 1);
      const anchor = number === 0 ? "start" : number === count - 1 ? "end" : "middle";
      return s("text", { x: x(at), y: HEIGHT - 6, "text-anchor": anchor }, time(at, close));
    });
    const lines = series.map(({ look }, number) => {
      let path = "";
      let begin = null;
      let area = "";
      for (const { at, values } of points) {
        if (values[number] === null) {
          begin = null;
          continue;
        }
        const place = `${x(at).toFixed(1)},${y(values[number]).toFixed(1)}`;
        path += `${begin === null ? "M" : "L"}${place}`;
        if (begin === null) begin = x(at);
        area += `${area ? "L" : "M"}${place}`;
      }
      const base = HEIGHT - BOTTOM;
      const fill = number === 0 && area ? `${area}L${x(last()).toFixed(1)},${base}L${x(points.find(({ values }) => values[0] !== null).at).toFixed(1)},${base}Z` : null;
      return [fill ? s("path", { class: `area ${look}`, d: fill }) : null, s("path", { class: `line ${look}`, d: path })];
    });
    put(drawing, grid, times, lines.reverse(), s("line", { class: "cursor off", y1: TOP, y2: HEIGHT - BOTTOM }));
    const now = points[points.length - 1].values;
    const told = series.map(({ name }, number) => `${name} ${format(now[number])}`).join(", ");
    drawing.setAttribute("aria-label", `${title}, ${unit}; now ${told}`);
    read();
  }

  function nearest(event) {
    if (points.length < 2) return;
    const box = drawing.getBoundingClientRect();
    const at = first() + ((event.clientX - box.left - LEFT) / (width - LEFT - RIGHT)) * (last() - first());
    chosen = points.reduce((best, point, number) => (Math.abs(point.at - at) < Math.abs(points[best].at - at) ? number : best), 0);
    read();
  }
  drawing.addEventListener("pointermove", nearest);
  drawing.addEventListener("pointerleave", () => {
    chosen = null;
    read();
  });
  drawing.addEventListener("blur", () => {
    chosen = null;
    read();
  });
  drawing.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step || points.length < 2) return;
    event.preventDefault();
    chosen = Math.max(0, Math.min(points.length - 1, (chosen ?? points.length - 1) + step));
    read();
  });
  const sizes = new ResizeObserver(() => {
    const inner = node.clientWidth - 32;
    if (inner > 0 && inner !== width) {
      width = inner;
      draw();
    }
  });
  sizes.observe(node);
  return {
    node,
    update(next) {
      points = next;
      draw();
    },
    end: () => sizes.disconnect(),
  };
}
