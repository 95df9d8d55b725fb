// Who got a post: asks the API what became of its deliveries, often while it is new, seldom later,
// and not any more once all is settled.

import { deliveriesOf } from "./moments-api.js";
import { element, face } from "./moments-elements.js";

const FIRST_MS = 120;
const SLOWER = 1.6;
const LATEST_MS = 5000;

const WORDS = {
  pending: { socket: "waits until they are back", webhook: "waits to be sent by webhook" },
  retrying: { webhook: "is tried again by webhook" },
  delivered: { socket: "got it by socket", webhook: "got it by webhook" },
  dead: { webhook: "was given up by webhook" },
  suppressed: { socket: "was not sent", webhook: "was not sent by webhook" },
  cancelled: { socket: "was deleted before", webhook: "was deleted before it was sent" },
};
const OPEN = new Set(["pending", "retrying"]);

/** The part of a post that says who got it. */
export class Receipts {
  constructor(post) {
    this.post = post;
    this.summary = element("button", {
      className: "receipts", type: "button", "aria-expanded": "false",
      click: () => this.toggle(),
    }, "Sent");
    this.list = element("ul", { className: "recipients", hidden: true });
    this.waitMs = FIRST_MS;
    this.timer = null;
    this.isSeen = false;
    this.observer = new IntersectionObserver((changes) => {
      this.isSeen = changes.at(-1).isIntersecting;
      if (this.isSeen) this.look();
    });
  }

  /** Looks while the post is on the screen. */
  follow(item) {
    this.observer.observe(item);
  }

  look() {
    this.waitMs = FIRST_MS;
    this.after(FIRST_MS);
  }

  /** For good. */
  stop() {
    this.observer.disconnect();
    this.isSeen = false;
    clearTimeout(this.timer);
  }

  toggle() {
    this.list.hidden = !this.list.hidden;
    this.summary.setAttribute("aria-expanded", String(!this.list.hidden));
    if (!this.list.hidden) this.look();
  }

  after(ms) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.ask(), ms);
  }

  async ask() {
    if (!this.isSeen) return; // until it is again
    if (document.hidden) {
      this.after(LATEST_MS);
      return;
    }
    let isSettled = false;
    try {
      const found = await deliveriesOf(this.post);
      this.show(found);
      isSettled = found.fanned_out && !found.counts.pending && !found.counts.retrying;
    } catch (error) {
      this.summary.textContent = error.message;
    }
    if (isSettled) return;
    this.waitMs = Math.min(this.waitMs * SLOWER, LATEST_MS);
    this.after(this.waitMs);
  }

  show({ counts, fanned_out: isFannedOut, items, next }) {
    const newest = ofNewestVersion(items);
    const isWhole = next === null;
    const all = isWhole ? newest.length : Object.values(counts).reduce((sum, one) => sum + one, 0);
    const arrived = isWhole
      ? newest.filter((one) => one.state === "delivered").length
      : counts.delivered;
    this.summary.dataset.state = all > 0 && arrived === all ? "delivered" : "pending";
    if (!isFannedOut && all === 0) this.summary.textContent = "On its way …";
    else if (all === 0) this.summary.textContent = "Nobody to send it to";
    else this.summary.textContent = `${arrived} of ${all} arrived`;
    const rows = newest.map((one) => row(one));
    if (!isWhole) rows.push(element("li", { className: "hint" }, "and more, which the console shows"));
    this.list.replaceChildren(...rows);
  }
}

/** An edit is delivered anew: of each recipient's deliveries by one channel, the last one. */
function ofNewestVersion(items) {
  const newest = new Map();
  for (const one of items) {
    const way = `${one.recipient} ${one.channel} ${one.endpoint ?? ""}`;
    if (!(newest.get(way)?.version > one.version)) newest.set(way, one);
  }
  return [...newest.values()];
}

function row({ recipient, channel, state, attempts, last_error: error }) {
  const tried = channel === "webhook" && attempts > 1 ? `, ${attempts} attempts` : "";
  const why = error && OPEN.has(state) ? ` (${error})` : "";
  return element("li", { "data-state": state, "data-recipient": recipient },
    face(recipient, "small"),
    element("b", {}, recipient),
    element("span", { className: "how" }, `${WORDS[state][channel] ?? state}${tried}${why}`));
}
