// Who got a post: asks the API what became of its deliveries, often while it is new, seldom later,
// and not any more once all is settled.

import { deliveriesOf } from "./moments-api.js";
import { element, face } from "./moments-elements.js";

const FIRST_MS = 120;
const SLOWER = 1.6;
const LATEST_MS = 5000;

const WORDS = {
  pending: "waits until they are back",
  retrying: "is tried again",
  delivered: "got it",
  dead: "given up",
  suppressed: "not sent: blocked or gone",
  cancelled: "not sent: deleted before",
};
const HOW = { socket: "by socket", webhook: "by webhook" };
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
  }

  /** Looks while the post is on the screen. */
  follow(item) {
    new IntersectionObserver((seen) => {
      if (seen.at(-1).isIntersecting) this.look();
      else this.stop();
    }).observe(item);
  }

  look() {
    this.waitMs = FIRST_MS;
    this.after(FIRST_MS);
  }

  stop() {
    clearTimeout(this.timer);
    this.timer = null;
  }

  toggle() {
    this.list.hidden = !this.list.hidden;
    this.summary.setAttribute("aria-expanded", String(!this.list.hidden));
    if (!this.list.hidden) this.look();
  }

  after(ms) {
    this.stop();
    this.timer = setTimeout(() => this.ask(), ms);
  }

  async ask() {
    if (document.hidden) {
      this.after(LATEST_MS); // nobody sees it
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
    if (isSettled) {
      this.stop();
      return;
    }
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
    element("span", { className: "how" }, `${WORDS[state]} ${HOW[channel]}${tried}${why}`));
}
