// The states of a delivery: their words, and a mark for each that is told by its shape alone.

import { el, svg } from "./dom.js";

export const STATES = ["pending", "retrying", "delivered", "dead", "suppressed", "cancelled"];

/** The ledger's letters. Upper case: parked until the endpoint is well again. */
export const WORDS = {
  p: "pending", P: "pending", r: "retrying", R: "retrying",
  d: "delivered", x: "dead", s: "suppressed", c: "cancelled",
};

// Paths in a square of 12: [path, filled].
const SHAPES = {
  pending: [["M1.5 1.5h9v9h-9z", false]],
  retrying: [["M1.5 1.5h9v9h-9z", false], ["M1.5 10.5h9v-9z", true]],
  delivered: [["M.75 .75h10.5v10.5h-10.5z", true]],
  dead: [["M1.5 1.5l9 9M10.5 1.5l-9 9", false]],
  suppressed: [["M1.5 6h9", false]],
  cancelled: [["M6 1.5a4.5 4.5 0 1 0 .01 0z", false]],
};

/** A mark as a drawing in the text. */
export function mark(state) {
  const made = svg("svg", { class: `mark ${state}`, viewBox: "0 0 12 12", "aria-hidden": "true" });
  for (const [path, filled] of SHAPES[state]) {
    made.append(svg("path", {
      d: path, fill: filled ? "currentColor" : "none", stroke: filled ? "none" : "currentColor",
      "stroke-width": 2,
    }));
  }
  return made;
}

/** A mark with its word. */
export function chip(state, more = "") {
  return el("span", { class: "chip" }, mark(state), more ? `${state}, ${more}` : state);
}

/** Draws a mark into a square of a canvas. */
export function drawMark(context, state, x, y, size, colour) {
  context.save();
  context.translate(x, y);
  context.scale(size / 12, size / 12);
  context.fillStyle = context.strokeStyle = colour;
  context.lineWidth = size < 11 ? 2.4 : 2;
  for (const [path, filled] of SHAPES[state]) {
    const shape = new Path2D(path);
    if (filled) context.fill(shape);
    else context.stroke(shape);
  }
  context.restore();
}
