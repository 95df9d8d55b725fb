// Posts: one by its id, and the newest.

import { get, query } from "./api.js";
import { fillCommands } from "./commands.js";
import { el, part, say, show, status } from "./dom.js";
import { exact, time } from "./format.js";

const POST = /^[0-9a-hjkmnp-tv-z]{18}/;

part("find").addEventListener("submit", (event) => {
  event.preventDefault();
  const found = POST.exec(part("wanted").value.trim().toLowerCase());
  const said = part("find-said");
  show(said, !found);
  if (found) location.assign(`/posts/${found[0]}`);
  else say(said, "A post's id has 18 letters and digits; that of a delivery begins with it.");
});

let next = null;

function row(post) {
  const link = el("a", { href: `/posts/${post.id}` }, el("code", {}, post.id));
  const state = post.deleted ? " · deleted" : "";
  return el("tr", {},
    el("td", { class: "when", title: exact(post.created_at) }, time(post.created_at)),
    el("td", {}, post.author), el("td", {}, `${post.type}${state}`),
    el("td", { class: "number" }, post.version), el("td", {}, link));
}

async function read(after = null) {
  try {
    const page = await get(`/v1/posts${query({ limit: 50, after })}`);
    const rows = page.items.map(row);
    if (after) part("post-list").append(...rows);
    else part("post-list").replaceChildren(...rows);
    next = page.next;
    const some = part("post-list").childElementCount > 0;
    show(part("post-table"), some);
    show(part("no-posts"), !some);
    show(part("more"), next !== null);
    status(`As of ${time(new Date())}`, "quiet");
  } catch (problem) {
    status(problem.message, "away");
  }
}

part("again").addEventListener("click", () => read());
part("more").addEventListener("click", () => read(next));
fillCommands();
read();
