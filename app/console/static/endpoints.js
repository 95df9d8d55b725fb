// Endpoints: those of a user, or one by its id.

import { get, query } from "./api.js";
import { fillCommands } from "./commands.js";
import { el, part, say, show, showPairs, status } from "./dom.js";
import { count, exact, time } from "./format.js";
import { health } from "./health.js";

const ENDPOINT = /^[0-9a-hjkmnp-tv-z]{10}$/;
const USER = /^[A-Za-z0-9_.:@-]{1,64}$/;

function complain(text) {
  say(part("find-said"), text);
  show(part("find-said"), text !== "");
}

/** An id may be a user's as well: it is one of ours if there is such an endpoint. */
async function find(wanted) {
  complain("");
  if (!USER.test(wanted)) {
    complain("A user's id has 1 to 64 of A-Z a-z 0-9 _ . : @ -");
    return;
  }
  try {
    if (ENDPOINT.test(wanted) && (await exists(wanted))) location.assign(`/endpoints/${wanted}`);
    else await list(wanted);
  } catch (problem) {
    status(problem.message, "away");
  }
}

async function exists(id) {
  try {
    await get(`/v1/endpoints/${id}`);
    return true;
  } catch (problem) {
    if (problem.status === 404) return false;
    throw problem;
  }
}

async function list(user) {
  const page = await get(`/v1/users/${encodeURIComponent(user)}/endpoints${query({ limit: 200 })}`);
  part("endpoint-list").replaceChildren(...page.items.map((one) => el("tr", {},
    el("td", {}, health(one.state)),
    el("td", {}, el("a", { href: `/endpoints/${one.id}`, class: "cut", title: one.url }, one.url)),
    el("td", {}, one.types.join(", ")),
    el("td", { class: "number" }, count(one.consecutive_failures)),
    el("td", { class: "when", title: one.last_success_at && exact(one.last_success_at) }, one.last_success_at ? time(one.last_success_at) : "never"),
    el("td", {}, el("code", {}, one.id)))));
  say(part("whose"), user);
  fillCommands({ '"bob"': JSON.stringify(user) });
  show(part("found"), true);
  show(part("endpoint-table"), page.items.length > 0);
  show(part("no-endpoints"), page.items.length === 0);
  history.replaceState(null, "", `/endpoints?user=${encodeURIComponent(user)}`);
}

async function showStates() {
  try {
    const { endpoints } = await get("/v1/stats");
    const total = Object.values(endpoints).reduce((sum, number) => sum + number, 0);
    showPairs(part("state-list"), Object.entries(endpoints).map(([state, number]) => [state, count(number)]));
    part("endpoint-bar").replaceChildren(...Object.entries(endpoints).filter(([, number]) => number).map(([state, number]) => {
      const piece = el("i", { class: state });
      piece.style.flexGrow = number / total;
      return piece;
    }));
  } catch (problem) {
    status(problem.message, "away");
  }
}

part("find").addEventListener("submit", (event) => {
  event.preventDefault();
  find(part("wanted").value.trim());
});
fillCommands();
showStates();
const asked = new URLSearchParams(location.search).get("user");
if (asked) {
  part("wanted").value = asked;
  find(asked);
}
