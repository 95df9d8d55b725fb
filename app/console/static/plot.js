// Small line plots over time, as drawings. Their size is fixed, so that nothing moves when they
// change; the newest values stand above them in text.

import { el, say, svg } from "./dom.js";

const LEFT = 44;
const BOTTOM = 18;
const TOP = 6;
const SPAN_MIN_MS = 60_000; // of a plot that has just begun

/** A round number not below a value: 1, 2 or 5 with zeros. */
export function niceTop(value) {
  if (value <= 0) return 2;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((step) => step * power).find((top) => top >= value * 0.999);
}

/** Lines of some minutes. `series`: [{ name, key, style, dashed }], `format` writes a value. */
export class LinePlot {
  constructor(place, { series, format, spanMs = 300_000, nothing = "Nothing yet." }) {
    this.place = place;
    this.series = series;
    this.format = format;
    this.spanMs = spanMs;
    this.points = [];
    this.values = series.map(() => el("b"));
    this.told = el("p", { class: "told" }, ...series.map((one, index) =>
      el("span", { class: `key ${one.style}` }, `${one.name} `, this.values[index])));
    this.drawing = svg("svg", { role: "img", "aria-label": place.dataset.label ?? "" });
    this.nothing = el("p", { class: "nothing" }, nothing);
    place.append(this.told, this.drawing, this.nothing);
    this.drawing.setAttribute("aria-label", `${series.map((one) => one.name).join(" and ")} over the last minutes`);
    this.pointer = null;
    this.drawing.addEventListener("pointermove", (event) => this.#point(event.offsetX));
    this.drawing.addEventListener("pointerleave", () => this.#point(null));
    new ResizeObserver(() => this.draw()).observe(this.drawing);
  }

  /** All points anew, or some more: { at, values: [one a series, null for none] }. */
  add(points, whole = false) {
    if (whole) this.points = [];
    this.points.push(...points);
    const oldest = (this.points.at(-1)?.at ?? 0) - this.spanMs;
    while (this.points.length && this.points[0].at < oldest) this.points.shift();
    this.draw();
  }

  #point(x) {
    this.pointer = x;
    this.draw();
  }

  draw() {
    const { width, height } = this.drawing.getBoundingClientRect();
    if (!width || !this.points.length) return;
    const end = this.points.at(-1).at;
    const minutes = Math.ceil(Math.max(end - this.points[0].at, SPAN_MIN_MS) / 60_000);
    const spanMs = Math.min(minutes * 60_000, this.spanMs);
    const bottom = height - BOTTOM;
    const x = (at) => LEFT + (width - LEFT) * (1 - (end - at) / spanMs);
    const top = niceTop(Math.max(...this.points.flatMap((point) => point.values.map((value) => value ?? 0))));
    const y = (value) => bottom - (bottom - TOP) * Math.min(value / top, 1);
    const parts = [];
    for (const share of [0, 0.5, 1]) {
      parts.push(svg("line", { class: "axis", x1: LEFT, x2: width, y1: y(top * share), y2: y(top * share) }));
      parts.push(svg("text", { x: LEFT - 8, y: y(top * share) + 4, "text-anchor": "end" }, this.format(top * share)));
    }
    parts.push(svg("text", { x: LEFT, y: height - 3 }, `${spanMs / 60_000} min ago`));
    parts.push(svg("text", { x: width, y: height - 3, "text-anchor": "end" }, "now"));
    this.series.forEach((one, index) => parts.push(...this.#line(one, index, x, y, bottom)));
    const shown = this.#shown(x, width);
    if (this.pointer != null && shown) {
      parts.push(svg("line", { class: "cross", x1: x(shown.at), x2: x(shown.at), y1: TOP, y2: bottom }));
    }
    this.drawing.replaceChildren(...parts);
    this.values.forEach((node, index) => {
      const value = shown?.values[index];
      say(node, value == null ? "–" : this.format(value));
    });
    this.nothing.hidden = this.points.some((point) => point.values.some((value) => value));
  }

  #line(one, index, x, y, bottom) {
    const runs = [];
    let run = null;
    for (const point of this.points) {
      const value = point.values[index];
      if (value == null) run = null;
      else {
        if (!run) runs.push((run = []));
        run.push([x(point.at), y(value)]);
      }
    }
    return runs.flatMap((points) => {
      const line = points.map(([px, py]) => `${px.toFixed(1)} ${py.toFixed(1)}`).join("L");
      const drawn = [svg("path", { class: `line ${one.style} ${one.dashed ?? ""}`, d: `M${line}` })];
      if (!one.dashed && points.length > 1) {
        const area = `M${points[0][0].toFixed(1)} ${bottom}L${line}L${points.at(-1)[0].toFixed(1)} ${bottom}z`;
        drawn.unshift(svg("path", { class: `area ${one.style}`, d: area }));
      }
      return drawn;
    });
  }

  /** The point under the pointer, else the newest. */
  #shown(x) {
    if (this.pointer == null) return this.points.at(-1);
    return this.points.reduce((best, point) =>
      Math.abs(x(point.at) - this.pointer) < Math.abs(x(best.at) - this.pointer) ? point : best);
  }
}

/** How long each attempt took, the newest at the right: a dot, or a cross for one that failed. The
 * scale is logarithmic, because a timeout takes a thousand times what an answer takes. */
export class DotPlot {
  constructor(place, format) {
    this.format = format;
    this.points = [];
    this.drawing = svg("svg", { role: "img", "aria-label": "No attempts yet" });
    this.nothing = el("p", { class: "nothing" }, "Nothing was sent there yet.");
    place.append(this.drawing, this.nothing);
    new ResizeObserver(() => this.draw()).observe(this.drawing);
  }

  /** [{ value in ms, failed, title }], the oldest first. */
  set(points) {
    this.points = points;
    this.nothing.hidden = points.length > 0;
    this.draw();
  }

  draw() {
    const { width, height } = this.drawing.getBoundingClientRect();
    if (!width || !this.points.length) return this.drawing.replaceChildren();
    const bottom = height - BOTTOM;
    const most = Math.max(...this.points.map((point) => point.value), 1);
    const high = Math.max(Math.ceil(Math.log10(most)), 1);
    const y = (value) => bottom - (bottom - TOP) * (Math.log10(Math.max(value, 1)) / high);
    const step = (width - LEFT - 16) / Math.max(this.points.length - 1, 1);
    const parts = [];
    for (let power = 0; power <= high; power += 1) {
      parts.push(svg("line", { class: "axis", x1: LEFT, x2: width, y1: y(10 ** power), y2: y(10 ** power) }));
      parts.push(svg("text", { x: LEFT - 8, y: y(10 ** power) + 4, "text-anchor": "end" }, this.format(10 ** power)));
    }
    parts.push(svg("text", { x: LEFT, y: height - 3 }, `${this.points.length} attempts ago`));
    parts.push(svg("text", { x: width, y: height - 3, "text-anchor": "end" }, "the last"));
    this.points.forEach((point, index) => {
      const px = this.points.length === 1 ? width - 16 : LEFT + 8 + index * step;
      const py = y(point.value);
      const shape = point.failed
        ? svg("path", { class: "fail", d: `M${px - 4} ${py - 4}l8 8M${px + 4} ${py - 4}l-8 8` })
        : svg("circle", { class: "dot", cx: px, cy: py, r: 3.5 });
      shape.append(svg("title", {}, point.title));
      parts.push(shape);
    });
    this.drawing.replaceChildren(...parts);
    const sorted = this.points.map((point) => point.value).sort((a, b) => a - b);
    const middle = this.format(sorted[Math.floor(sorted.length / 2)]);
    const failed = this.points.filter((point) => point.failed).length;
    this.drawing.setAttribute("aria-label",
      `${this.points.length} attempts, half of them within ${middle}, ${failed} failed`);
  }
}
