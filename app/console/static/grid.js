// A grid of marks on a canvas: one for each delivery of a post, thousands of them, drawn anew only
// where something has changed.

import { drawMark, STATES } from "./marks.js";

const SIZES = [[60, 26], [400, 20], [1500, 16], [6000, 13], [Infinity, 11]]; // [up to, pitch in px]
const NARROW = 500; // px: a phone, where fewer marks stand in a row
const FLASH_MS = 700;
const DIMMED = 0.12;

export class Grid {
  /** `picked` is told the index of a mark that was opened, `pointed` of one that is looked at
   * (null: of none). */
  constructor(canvas, { picked, pointed }) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.picked = picked;
    this.pointed = pointed;
    this.states = []; // a number in STATES for each mark
    this.cursor = -1;
    this.chosen = -1;
    this.only = null; // the state that is shown, null for all
    this.dirty = new Set();
    this.flashing = new Map();
    this.isPlanned = false;
    this.drawsAll = true;
    this.moves = !matchMedia("(prefers-reduced-motion: reduce)").matches;
    new ResizeObserver(() => this.#layOut()).observe(canvas.parentElement);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#layOut(true));
    canvas.addEventListener("pointermove", (event) => this.#look(this.#at(event)));
    canvas.addEventListener("pointerleave", () => this.#look(-1));
    canvas.addEventListener("click", (event) => this.#open(this.#at(event)));
    canvas.addEventListener("keydown", (event) => this.#key(event));
    canvas.addEventListener("focus", () => this.#look(Math.max(this.cursor, 0)));
    canvas.addEventListener("blur", () => this.#look(-1));
  }

  get size() {
    return this.states.length;
  }

  clear() {
    this.states = [];
    this.cursor = this.chosen = -1;
    this.flashing.clear();
    this.#layOut(true);
  }

  /** Some more marks, all in one state; they are drawn with the next frame. */
  grow(count, state) {
    const number = STATES.indexOf(state);
    for (let index = 0; index < count; index += 1) this.states.push(number);
    this.#layOut();
  }

  /** Another state for one mark. `live`: it flashes. */
  set(index, state, live) {
    this.states[index] = STATES.indexOf(state);
    this.dirty.add(index);
    if (live && this.moves) this.flashing.set(index, performance.now());
    this.#plan();
  }

  /** Dims all marks but those of one state; null shows all. */
  filter(state) {
    this.only = state === null ? null : STATES.indexOf(state);
    this.#drawAll();
  }

  choose(index) {
    const before = this.chosen;
    this.chosen = index;
    for (const each of [before, index]) if (each >= 0) this.dirty.add(each);
    this.#plan();
  }

  // Where the marks stand.

  #layOut(anew = false) {
    const width = this.canvas.parentElement.clientWidth - this.#padding();
    const roomy = SIZES.find(([upTo]) => this.size <= upTo)[1];
    const pitch = width < NARROW ? Math.max(roomy - 3, 10) : roomy;
    const columns = Math.max(Math.floor(width / pitch), 1);
    const rows = Math.max(Math.ceil(this.size / columns), 1);
    const ratio = window.devicePixelRatio || 1;
    const key = [width, pitch, rows, ratio].join();
    if (key !== this.key || anew) {
      this.key = key;
      Object.assign(this, { pitch, columns, rows, ratio });
      this.canvas.width = Math.round(width * ratio);
      this.canvas.height = Math.round(rows * pitch * ratio);
      this.canvas.style.height = `${rows * pitch}px`;
      this.sprites = this.#sprites();
    }
    this.#drawAll();
  }

  #padding() {
    const style = getComputedStyle(this.canvas.parentElement);
    return parseFloat(style.paddingLeft) + parseFloat(style.paddingRight);
  }

  /** A picture of each mark in the colours of now. */
  #sprites() {
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(`--${name}`).trim();
    this.ink = colour("mark");
    const inner = Math.max(this.pitch - 3, 7);
    return STATES.map((state) => {
      const sprite = document.createElement("canvas");
      sprite.width = sprite.height = Math.ceil(this.pitch * this.ratio);
      const context = sprite.getContext("2d");
      context.scale(this.ratio, this.ratio);
      const named = state === "suppressed" || state === "cancelled" ? "quiet" : state;
      const margin = (this.pitch - inner) / 2;
      drawMark(context, state, margin, margin, inner, colour(named));
      return sprite;
    });
  }

  // Drawing.

  #plan() {
    if (this.isPlanned) return;
    this.isPlanned = true;
    requestAnimationFrame((now) => this.#draw(now));
  }

  #drawAll() {
    this.drawsAll = true;
    this.#plan();
  }

  #draw(now) {
    this.isPlanned = false;
    const { context } = this;
    context.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    if (this.drawsAll) {
      context.clearRect(0, 0, this.columns * this.pitch + this.pitch, this.rows * this.pitch);
      for (let index = 0; index < this.size; index += 1) this.#drawOne(index, now);
      this.drawsAll = false;
    } else {
      for (const index of this.dirty) this.#drawOne(index, now, true);
    }
    this.dirty.clear();
    for (const [index, at] of this.flashing) {
      this.dirty.add(index);
      if (now - at > FLASH_MS) this.flashing.delete(index);
    }
    if (this.dirty.size) this.#plan();
  }

  #drawOne(index, now, over = false) {
    const { context, pitch } = this;
    const x = (index % this.columns) * pitch;
    const y = Math.floor(index / this.columns) * pitch;
    if (over) context.clearRect(x, y, pitch, pitch);
    const flashed = this.flashing.get(index);
    if (flashed !== undefined) {
      context.globalAlpha = Math.max(1 - (now - flashed) / FLASH_MS, 0) * 0.35;
      context.fillStyle = this.ink;
      context.fillRect(x, y, pitch, pitch);
    }
    context.globalAlpha = this.only === null || this.states[index] === this.only ? 1 : DIMMED;
    context.drawImage(this.sprites[this.states[index]], x, y, pitch, pitch);
    context.globalAlpha = 1;
    if (index === this.chosen || index === this.cursor) {
      context.strokeStyle = this.ink;
      context.lineWidth = index === this.cursor ? 2 : 1.5;
      context.strokeRect(x + 1, y + 1, pitch - 2, pitch - 2);
    }
  }

  // Pointing and keys.

  #at(event) {
    const column = Math.floor(event.offsetX / this.pitch);
    const index = Math.floor(event.offsetY / this.pitch) * this.columns + column;
    return column < this.columns && index < this.size ? index : -1;
  }

  #look(index) {
    if (index >= this.size) index = -1;
    if (index === this.cursor) return;
    const before = this.cursor;
    this.cursor = index;
    for (const each of [before, index]) if (each >= 0) this.dirty.add(each);
    this.#plan();
    this.pointed(index < 0 ? null : index);
  }

  #open(index) {
    if (index < 0) return;
    this.choose(index);
    this.picked(index);
  }

  #key(event) {
    const steps = {
      ArrowLeft: -1, ArrowRight: 1, ArrowUp: -this.columns, ArrowDown: this.columns,
      PageUp: -10 * this.columns, PageDown: 10 * this.columns, Home: -this.size, End: this.size,
    };
    if (event.key === "Enter" || event.key === " ") this.#open(this.cursor);
    else if (event.key in steps) {
      const last = this.size - 1;
      const next = Math.max(this.cursor, 0) + steps[event.key];
      this.#look(Math.min(Math.max(next, 0), last));
      this.#reveal();
    } else return;
    event.preventDefault();
  }

  /** Scrolls so that the mark that is looked at can be seen. */
  #reveal() {
    const top = this.canvas.getBoundingClientRect().top + Math.floor(this.cursor / this.columns) * this.pitch;
    if (top < 80) window.scrollBy(0, top - 120);
    else if (top > innerHeight - 40) window.scrollBy(0, top - innerHeight + 80);
  }
}
