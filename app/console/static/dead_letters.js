// Dead letters: what was given up, and sending it again, one by one or all that the filter leaves.

import { get, post, query } from "./api.js";
import { fillCommands } from "./commands.js";
import { ask, el, part, say, show, status, toast } from "./dom.js";
import { count, exact, plural, time } from "./format.js";

const PAGE = 50;
const COUNTED_MAX = 2000;
const ENDPOINT = /^[0-9a-hjkmnp-tv-z]{10}$/;

const asked = new URLSearchParams(location.search);
let filter = { endpoint: asked.get("endpoint") || null, since: null };
let next = null;

/** A page, the newest first. What died before `since` ends the list, because it goes by that. */
async function page(after, limit) {
  const found = await get(`/v1/dead-letters${query({ endpoint: filter.endpoint, limit, after })}`);
  if (filter.since === null) return found;
  const old = found.items.findIndex((letter) => new Date(letter.updated_at) < filter.since);
  return old < 0 ? found : { items: found.items.slice(0, old), next: null };
}

function row(letter) {
  const why = `${letter.last_error ?? "given up"}${letter.last_status ? ` · ${letter.last_status}` : ""}`;
  const button = el("button", { type: "button", class: "quiet", "aria-label": `Replay to ${letter.recipient}` }, "Replay");
  const made = el("tr", {},
    el("td", { class: "when", title: exact(letter.updated_at) }, time(letter.updated_at)),
    el("td", {}, letter.recipient), el("td", {}, why),
    el("td", { class: "number" }, count(letter.attempts)),
    el("td", {}, el("a", { href: `/endpoints/${letter.endpoint}` }, el("code", {}, letter.endpoint))),
    el("td", {}, el("a", { href: `/posts/${letter.post}` }, el("code", {}, letter.post))),
    el("td", { class: "number" }, button));
  button.addEventListener("click", () => replayOne(letter, button, made));
  return made;
}

async function replayOne(letter, button, made) {
  button.disabled = true;
  try {
    await post(`/v1/deliveries/${letter.id}:retry`);
    made.remove();
    toast(`On its way to ${letter.recipient} again.`);
    if (!part("letter-list").childElementCount) await read();
  } catch (problem) {
    button.disabled = false;
    toast(problem.message, true);
  }
}

async function read(after = null) {
  try {
    const found = await page(after, PAGE);
    const rows = found.items.map(row);
    if (after) part("letter-list").append(...rows);
    else part("letter-list").replaceChildren(...rows);
    next = found.next;
    const shown = part("letter-list").childElementCount;
    show(part("letter-table"), shown > 0);
    show(part("no-letters"), shown === 0 && next === null);
    show(part("more"), next !== null);
    part("replay").disabled = shown === 0;
    say(part("count"), shown ? `${count(shown)}${next ? " and more" : ""}` : "");
    say(part("replay"), filter.endpoint || filter.since ? "Replay these" : "Replay all");
    status(`As of ${time(new Date())}`, "quiet");
  } catch (problem) {
    status(problem.message, "away");
  }
}

/** How many there are, up to a bound: [number, whether there are more]. */
async function total() {
  let number = 0;
  let after = null;
  do {
    const found = await page(after, 200);
    number += found.items.length;
    after = found.next;
  } while (after && number < COUNTED_MAX);
  return [number, after !== null];
}

part("replay").addEventListener("click", async () => {
  part("replay").disabled = true;
  try {
    const [number, more] = await total();
    const many = `${more ? "More than " : ""}${count(number)} ${plural(number, "delivery", "deliveries")}`;
    const of = filter.endpoint ? ` of ${filter.endpoint}` : "";
    const since = filter.since ? `, since ${time(filter.since)}` : "";
    const text = `${many}${of}${since}: they are sent again from now on, spread out in time.`;
    if (number && (await ask("Replay dead letters?", text, `Replay ${more ? "all" : count(number)}`))) {
      const body = {};
      if (filter.endpoint) body.endpoint = filter.endpoint;
      if (filter.since) body.since = filter.since.toISOString();
      const { scheduled } = await post("/v1/dead-letters:replay", body);
      toast(`${count(scheduled)} ${plural(scheduled, "is", "are")} on their way again.`);
    }
  } catch (problem) {
    toast(problem.message, true);
  }
  await read();
});

part("filter").addEventListener("submit", (event) => {
  event.preventDefault();
  const endpoint = part("endpoint").value.trim();
  const since = part("since").value;
  const good = endpoint === "" || ENDPOINT.test(endpoint);
  show(part("filter-said"), !good);
  if (!good) {
    say(part("filter-said"), "An endpoint's id has 10 letters and digits.");
    return;
  }
  filter = { endpoint: endpoint || null, since: since ? new Date(since) : null };
  say(part("no-letters-why"), filter.endpoint || filter.since
    ? "Nothing like that is here. Without a filter all are shown. To see one, register an endpoint where nobody listens:"
    : "A delivery comes here when its last retry has failed. To see one, register an endpoint where nobody listens, with a short schedule:");
  history.replaceState(null, "", `/dead-letters${query({ endpoint })}`);
  read();
});
part("again").addEventListener("click", () => read());
part("more").addEventListener("click", () => read(next));
part("endpoint").value = filter.endpoint ?? "";
fillCommands();
read();
