// One endpoint: how it is, what was tried, and what can be done about it.

import { get, post, query, subject } from "./api.js";
import { fillCommands } from "./commands.js";
import { ask, copyButton, el, part, say, show, showFacts, status } from "./dom.js";
import { count, exact, ms, plural, time } from "./format.js";
import { health, meaning } from "./health.js";
import { mark } from "./marks.js";
import { DotPlot } from "./plot.js";

const HERE = `/v1/endpoints/${subject}`;
const PAGE = 50;
const EVERY_MS = 5000;
const OF_POST = /^[0-9a-hjkmnp-tv-z]{18}-/; // pings and challenges are of none

const latency = new DotPlot(part("latency"), ms);
let attempts = [];
let next = null;

function outcome(text, kind = "") {
  say(part("outcome"), text);
  part("outcome").className = `outcome ${kind}`;
}

function showEndpoint(one) {
  part("health").replaceChildren(health(one.state));
  const reason = one.disabled_reason ? ` (${one.disabled_reason})` : "";
  const until = one.open_until ? ` It is tried again at ${time(one.open_until)}.` : "";
  say(part("why"), `${meaning(one.state)}${reason}${until}`);
  const headers = Object.entries(one.headers).map(([name, value]) => `${name}: ${value}`).join("\n");
  showFacts(part("facts"), [
    ["Address", el("code", {}, one.url), true],
    ["User", el("a", { href: `/endpoints?user=${encodeURIComponent(one.user)}` }, one.user)],
    ["Types", one.types.join(", ")],
    ["Method", one.method],
    ["Signed with", one.signing],
    ["Last success", one.last_success_at ? time(one.last_success_at) : "never"],
    ["Failures in a row", count(one.consecutive_failures)],
    one.first_failure_at ? ["Failing since", time(one.first_failure_at)] : null,
    ["Registered", el("span", { title: exact(one.created_at) }, time(one.created_at))],
    ["Rate", one.rate_per_s ? `${one.rate_per_s} a second` : "as fast as it answers"],
    one.retry_schedule_s ? ["Retries after", one.retry_schedule_s.map((seconds) => `${seconds} s`).join(", ")] : null,
    one.verification ? ["Challenges sent", count(one.verification.challenges)] : null,
    one.verification?.last_error ? ["Last challenge", one.verification.last_error] : null,
    one.public_key ? ["Public key", el("code", {}, one.public_key), true] : null,
    one.description ? ["Description", one.description, true] : null,
    headers ? ["Headers", el("code", {}, headers), true] : null,
  ]);
  show(part("verify"), one.state === "unverified");
  show(part("ping"), one.state !== "unverified");
  show(part("enable"), one.state !== "active" && one.state !== "unverified");
  fillCommands({ bob: one.user });
}

// Attempts

function row(attempt) {
  const result = el("span", { class: "chip" }, mark(attempt.error ? "dead" : "delivered"),
    attempt.error ? `${attempt.error}${attempt.status ? ` · ${attempt.status}` : ""}` : String(attempt.status));
  const link = OF_POST.test(attempt.delivery)
    ? el("a", { href: `/posts/${attempt.delivery.split("-")[0]}` }, el("code", {}, attempt.delivery))
    : el("code", {}, attempt.delivery);
  const answer = attempt.response
    ? el("code", { class: "cut", title: attempt.response }, attempt.response)
    : el("span", { class: "soft" }, "empty");
  return el("tr", {},
    el("td", { class: "when", title: exact(attempt.at) }, time(attempt.at)), el("td", {}, result),
    el("td", { class: "number" }, ms(attempt.duration_ms)), el("td", { class: "number" }, attempt.attempt),
    el("td", {}, link), el("td", {}, answer));
}

function showAttempts() {
  part("attempt-list").replaceChildren(...attempts.map(row));
  show(part("attempt-table"), attempts.length > 0);
  show(part("no-attempts"), attempts.length === 0);
  show(part("more"), next !== null);
  latency.set([...attempts].reverse().map((attempt) => ({
    value: attempt.duration_ms,
    failed: attempt.error !== null,
    title: `${time(attempt.at)}: ${attempt.error ?? attempt.status}, ${ms(attempt.duration_ms)}`,
  })));
}

/** The newest page, and below it what was read before: the log only grows at its start. */
async function readNewest() {
  const page = await get(`${HERE}/attempts${query({ limit: PAGE })}`);
  const name = (attempt) => `${attempt.at} ${attempt.attempt} ${attempt.delivery}`;
  const known = new Set(page.items.map(name));
  const older = attempts.filter((attempt) => !known.has(name(attempt)));
  if (attempts.length === 0 || older.length === attempts.length) {
    attempts = page.items;
    next = page.next;
  } else attempts = [...page.items, ...older];
  showAttempts();
}

async function readOlder() {
  const page = await get(`${HERE}/attempts${query({ limit: PAGE, after: next })}`);
  attempts = [...attempts, ...page.items];
  next = page.next;
  showAttempts();
}

async function read() {
  try {
    showEndpoint(await get(HERE));
    await readNewest();
    status(`As of ${time(new Date())}`, "live");
  } catch (problem) {
    if (problem.status === 404) {
      for (const section of document.querySelectorAll("main > .card")) show(section, false);
      show(part("gone"), true);
      status("Not here", "quiet");
      return false;
    }
    status(problem.message, "away");
  }
  return true;
}

async function keepReading() {
  while (await read()) {
    await new Promise((resolve) => { setTimeout(resolve, EVERY_MS); });
    while (document.hidden) await new Promise((resolve) => { document.addEventListener("visibilitychange", resolve, { once: true }); });
  }
}

// Doing something

/** A button whose call is under way cannot be pressed again; what came of it is said below. */
function does(id, work) {
  const button = part(id);
  button.addEventListener("click", async () => {
    button.disabled = true;
    outcome("…");
    try {
      await work();
    } catch (problem) {
      outcome(problem.message, "bad");
    }
    button.disabled = false;
    await read();
  });
}

function sayAttempt(what, attempt) {
  if (attempt.error) outcome(`${what} failed: ${attempt.error}${attempt.status ? `, ${attempt.status}` : ""}, after ${ms(attempt.duration_ms)}.`, "bad");
  else outcome(`${what} was answered with ${attempt.status} after ${ms(attempt.duration_ms)}.`, "good");
}

does("ping", async () => sayAttempt("The ping", await post(`${HERE}:ping`)));
does("verify", async () => sayAttempt("The challenge", await post(`${HERE}:verify`)));
does("enable", async () => {
  await post(`${HERE}:enable`);
  outcome("It is active again, with a clean record.", "good");
});
does("rotate", async () => {
  const text = "A new secret signs from now on, beside the one before, which ends in 24 hours.";
  if (!(await ask("Rotate the secret?", text, "Rotate"))) {
    outcome("");
    return;
  }
  const { secret, public_key: key } = await post(`${HERE}/secret:rotate`);
  const shown = secret ?? key;
  show(part("secret"), true);
  part("secret-text").replaceChildren(shown, copyButton(() => shown));
  outcome("The secret was rotated.", "good");
});
part("recover").addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    const since = new Date(part("since").value).toISOString();
    const { scheduled } = await post(`${HERE}:recover`, { since });
    outcome(`${count(scheduled)} ${plural(scheduled, "delivery is", "deliveries are")} sent again.`, "good");
  } catch (problem) {
    outcome(problem.message, "bad");
  }
  await read();
});
part("again").addEventListener("click", read);
part("more").addEventListener("click", readOlder);

keepReading();
