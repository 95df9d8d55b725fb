// One post: a grid of its deliveries in each channel that fills in as they are delivered, and all
// about the one that is chosen.

import { get, post, subject } from "./api.js";
import { fillCommands } from "./commands.js";
import { ask, el, part, say, show, showFacts, status, toast } from "./dom.js";
import { count, exact, ms, plural, time } from "./format.js";
import { Grid } from "./grid.js";
import { chip, mark, STATES, WORDS } from "./marks.js";
import { watch } from "./watch.js";

const AT_ONCE = 6; // retries under way, when many are asked for
const NOTHING = { users: [], places: [], recipients: [], endpoints: [] };

performance.mark("post-begin");

/** One channel: its deliveries as columns, its grid, its counts by state. */
class Channel {
  constructor(name) {
    this.name = name;
    this.recipients = []; // number of the recipient, by delivery
    this.ids = [];
    this.letters = [];
    this.attempts = [];
    this.counts = Object.fromEntries(STATES.map((state) => [state, 0]));
    this.grid = new Grid(part(`grid-${name}`), {
      picked: (index) => choose(this, index),
      pointed: (index) => point(this, index),
    });
    this.buttons = this.#legend();
    this.only = null;
  }

  #legend() {
    const buttons = Object.fromEntries(STATES.map((state) => {
      const number = el("b", {}, "0");
      const button = el("button", { type: "button", "aria-pressed": "false", onclick: () => this.filter(state) },
        mark(state), `${state} `, number);
      return [state, { button, number }];
    }));
    part(`legend-${this.name}`).append(...Object.values(buttons).map(({ button }) => button));
    return buttons;
  }

  filter(state) {
    this.only = this.only === state ? null : state;
    this.grid.filter(this.only);
    for (const [name, { button }] of Object.entries(this.buttons)) {
      button.setAttribute("aria-pressed", String(name === this.only));
    }
  }

  clear() {
    this.recipients = [];
    this.ids = [];
    this.letters = [];
    this.attempts = [];
    for (const state of STATES) this.counts[state] = 0;
    this.grid.clear();
  }

  /** Some more deliveries, all pending. */
  add(ids, recipients) {
    for (let index = 0; index < ids.length; index += 1) {
      this.ids.push(ids[index]);
      this.recipients.push(recipients[index]);
      this.letters.push("p");
      this.attempts.push(0);
    }
    this.counts.pending += ids.length;
    this.grid.grow(ids.length, "pending");
  }

  set(index, letter, attempts, live) {
    const before = WORDS[this.letters[index]];
    const now = WORDS[letter];
    this.counts[before] -= 1;
    this.counts[now] += 1;
    this.letters[index] = letter;
    this.attempts[index] = attempts;
    if (before !== now) this.grid.set(index, now, live);
  }

  showCounts() {
    say(part(`total-${this.name}`), count(this.ids.length));
    for (const state of STATES) {
      const { button, number } = this.buttons[state];
      say(number, count(this.counts[state]));
      button.disabled = this.counts[state] === 0 && this.only !== state;
    }
    const some = this.ids.length > 0;
    show(this.grid.canvas, some);
    show(part(`no-${this.name}`), !some && isFannedOut);
    this.grid.canvas.setAttribute("aria-label",
      `${this.name} deliveries: ${STATES.filter((state) => this.counts[state]).map((state) => `${count(this.counts[state])} ${state}`).join(", ") || "none"}`);
  }
}

let isFannedOut = false;
let users = [];
let version = 0;
let chosen = null; // { channel, index }
const webhooks = new Channel("webhook");
const sockets = new Channel("socket");

// What the socket tells.

function told(message) {
  if (message.type === "gone") {
    show(part("gone"), true);
    show(part("split"), false);
    status("Not here", "quiet");
    return;
  }
  const live = !message.whole;
  if (message.whole) {
    users = [];
    webhooks.clear();
    sockets.clear();
  }
  isFannedOut = message.fanned_out;
  version = message.version;
  take(message);
  message.rows.forEach((row, index) => webhooks.set(row, message.states[index], message.attempts[index], live));
  for (const recipient of message.passed) sockets.set(recipient, "d", 1, live);
  webhooks.showCounts();
  sockets.showCounts();
  showState(message);
  if (chosen) refreshChosen(message);
  if (message.users.length) requestAnimationFrame(() => requestAnimationFrame(rendered));
}

/** New recipients: the ids of their deliveries follow from where they stand in the rosters. */
function take({ users: more, places, recipients, endpoints } = NOTHING) {
  const first = users.length;
  const sliceOf = [];
  const ids = [];
  for (const [slice, shard, size] of places) {
    for (let index = 0; index < size; index += 1) {
      ids.push(`${subject}-${version}-${slice}-${shard}-${index}`);
      sliceOf.push(slice);
    }
  }
  for (const user of more) users.push(user);
  if (ids.length) sockets.add(ids, more.map((_, index) => first + index));
  if (endpoints.length) {
    webhooks.add(endpoints.map((endpoint, index) =>
      `${subject}-${version}-${sliceOf[recipients[index] - first]}-${endpoint}`), recipients);
  }
}

/** When those known so far are to be seen: the first time is what a browser's tools, and tests,
 * show. */
function rendered() {
  if (!performance.getEntriesByName("post-rendered").length) performance.mark("post-rendered");
  document.documentElement.dataset.rendered = String(users.length);
}

function showState(message) {
  const waiting = webhooks.counts.pending + webhooks.counts.retrying;
  const to = `${count(users.length)} ${plural(users.length, "recipient", "recipients")}`;
  const cut = message.cut ? `, the first ${count(users.length)} are shown` : "";
  show(part("nobody"), isFannedOut && users.length === 0);
  show(part("part-webhook"), !isFannedOut || users.length > 0);
  show(part("part-socket"), !isFannedOut || users.length > 0);
  show(part("retry-dead"), webhooks.counts.dead > 0);
  say(part("retry-dead"), `Retry ${count(webhooks.counts.dead)} dead`);
  if (!isFannedOut) status(`Being fanned out: ${to} so far`, "live");
  else if (message.settled || (waiting === 0 && sockets.counts.pending === 0)) status(`All done: ${to}${cut}`, "settled");
  else status(`Live: ${to}${cut}`, "live");
}

// The mark that is pointed at, and the one that is chosen.

function point(channel, index) {
  const hover = part("hover");
  if (index === null) {
    hover.replaceChildren("Point at a mark to see whose it is.");
    return;
  }
  const letter = channel.letters[index];
  const more = letter === "P" || letter === "R" ? "parked" : "";
  hover.replaceChildren(el("b", {}, users[channel.recipients[index]]), el("br"), chip(WORDS[letter], more),
    ` · ${channel.name}, ${channel.attempts[index]} ${plural(channel.attempts[index], "attempt", "attempts")}`);
}

async function choose(channel, index) {
  (channel === webhooks ? sockets : webhooks).grid.choose(-1);
  chosen = { channel, index };
  await showChosen();
  if (matchMedia("(max-width: 68rem)").matches) part("detail").scrollIntoView({ block: "start" });
}

function refreshChosen(message) {
  const { channel, index } = chosen;
  if (message.whole && channel.ids[index] === undefined) chosen = null;
  else if (message.whole || (channel === webhooks ? message.rows : message.passed).includes(index)) showChosen();
}

async function showChosen() {
  const id = chosen.channel.ids[chosen.index];
  try {
    const delivery = await get(`/v1/deliveries/${id}`);
    if (chosen?.channel.ids[chosen.index] === id) part("chosen").replaceChildren(...detail(delivery));
  } catch (problem) {
    part("chosen").replaceChildren(el("p", { class: "complaint" }, problem.message));
  }
}

function detail(delivery) {
  const facts = el("dl", { class: "facts" });
  const link = delivery.endpoint && el("a", { href: `/endpoints/${delivery.endpoint}` }, el("code", {}, delivery.endpoint));
  showFacts(facts, [
    ["Recipient", delivery.recipient],
    ["State", chip(delivery.state, delivery.parked ? "parked" : "")],
    ["Channel", delivery.channel],
    ["Offset", count(delivery.offset)],
    delivery.endpoint ? ["Endpoint", link] : null,
    ["Attempts", count(delivery.attempts)],
    delivery.next_attempt_at ? ["Next attempt", time(delivery.next_attempt_at)] : null,
    ["Updated", el("span", { title: exact(delivery.updated_at) }, time(delivery.updated_at))],
    ["Delivery", el("code", {}, delivery.id), true],
  ]);
  const verb = delivery.channel === "socket" ? "Push again" : "Retry now";
  const actions = el("div", { class: "actions" }, el("button", { type: "button", onclick: () => retry(delivery.id) }, verb));
  if (delivery.endpoint && delivery.state === "dead") {
    actions.append(el("button", { type: "button", class: "quiet", onclick: () => replay(delivery.endpoint) }, "Replay all of this endpoint"));
  }
  return [facts, actions, timeline(delivery)];
}

function timeline(delivery) {
  if (delivery.channel === "socket") {
    const said = delivery.state === "delivered"
      ? "The recipient's cursor has passed it."
      : "It waits in the recipient's inbox, until a socket of theirs or a call takes it.";
    return el("p", { class: "hint" }, said);
  }
  if (!delivery.log.length) return el("p", { class: "hint" }, "No attempt is in the log of its endpoint.");
  return el("ol", { class: "timeline", "aria-label": "Attempts" }, ...delivery.log.map((attempt) => el("li", {},
    mark(attempt.error ? "dead" : "delivered"),
    el("b", {}, `${attempt.attempt}. ${attempt.error ?? "accepted"}`),
    attempt.status ? ` · ${attempt.status}` : "", ` · ${ms(attempt.duration_ms)}`,
    el("br"), el("small", { title: exact(attempt.at) }, time(attempt.at)),
    attempt.response ? el("pre", { class: "code", tabindex: "0", "aria-label": "Answer" }, attempt.response) : null)));
}

// Doing something.

async function retry(id) {
  try {
    await post(`/v1/deliveries/${id}:retry`);
    toast("It is on its way again.");
    lookAgain();
    await showChosen();
  } catch (problem) {
    toast(problem.message, true);
  }
}

async function replay(endpoint) {
  if (!(await ask("Replay dead letters?", `All dead letters of ${endpoint} are sent again, of other posts too, spread out in time.`, "Replay"))) return;
  try {
    const { scheduled } = await post("/v1/dead-letters:replay", { endpoint });
    toast(`${count(scheduled)} on their way again.`);
    lookAgain();
  } catch (problem) {
    toast(problem.message, true);
  }
}

part("retry-dead").addEventListener("click", async () => {
  const dead = webhooks.ids.filter((_, index) => webhooks.letters[index] === "x");
  const many = `${count(dead.length)} ${plural(dead.length, "delivery", "deliveries")}`;
  if (!(await ask(`Retry ${many}?`, "Each is sent again now, whatever kept it from being accepted.", "Retry"))) return;
  const button = part("retry-dead");
  button.disabled = true;
  let done = 0;
  let failed = null;
  const next = async () => {
    while (dead.length && !failed) {
      try {
        await post(`/v1/deliveries/${dead.pop()}:retry`);
        done += 1;
      } catch (problem) {
        failed = problem;
      }
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, next));
  button.disabled = false;
  toast(failed ? `${count(done)} on their way again, then: ${failed.message}` : `${count(done)} on their way again.`, failed !== null);
  lookAgain();
});

// The post itself.

async function showPost() {
  try {
    const found = await get(`/v1/posts/${subject}`);
    showFacts(part("facts"), [
      ["Author", found.author],
      ["Type", found.type],
      ["Version", count(found.version)],
      ["Posted", el("span", { title: exact(found.created_at) }, time(found.created_at))],
      found.version > 1 ? ["Changed", el("span", { title: exact(found.updated_at) }, time(found.updated_at))] : null,
      found.deleted ? ["Deleted", "yes: what was still to be sent is cancelled"] : null,
    ]);
    part("excerpt").textContent = JSON.stringify(found.data);
    part("data").textContent = JSON.stringify(found.data, null, 2);
  } catch (problem) {
    if (problem.status !== 404) toast(problem.message, true);
  }
}

fillCommands();
const lookAgain = watch(`post:${subject}`, told, (state, text) => {
  if (state === "away") status(text, "away");
});
showPost();
