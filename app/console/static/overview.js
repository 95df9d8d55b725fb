// The overview: asks the API for its statistics every two seconds and shows them.

const EVERY_MS = 2000;
const csrf = document.querySelector('meta[name="csrf-token"]').content;
const part = (id) => document.getElementById(id);
const said = part("said");

const QUEUES = {
  posts: "posts to fan out",
  deliveries: "slices to send",
  redeliveries: "retries that are due",
  retries: "retries to come",
  dead: "dead letters",
};

/** A new element with text in it, so that nothing shown is ever taken for markup. */
function element(name, text, ...inside) {
  const made = document.createElement(name);
  made.textContent = text;
  made.append(...inside);
  return made;
}

function showPairs(list, pairs) {
  list.replaceChildren(
    ...pairs.flatMap(([name, value]) => [
      element("dt", name),
      element("dd", value.toLocaleString("en")),
    ]),
  );
}

function showMembers(list, members, none) {
  const rows = members.map((one) => element("li", one.role ? `${one.id} · ${one.role} ` : `${one.id} `,
    element("small", `seen ${new Date(one.seen_at).toLocaleTimeString()}`)));
  list.replaceChildren(...(rows.length ? rows : [element("li", none)]));
}

/** One row for each process, with all of its roles. */
function byId(workers) {
  const found = new Map();
  for (const one of workers) {
    const known = found.get(one.id);
    if (known) known.role += `, ${one.role}`;
    else found.set(one.id, { ...one });
  }
  return [...found.values()];
}

function show(stats) {
  showPairs(part("queue-list"), Object.entries(QUEUES).map(([key, name]) => [name, stats.queues[key]]));
  const states = Object.entries(stats.endpoints);
  showPairs(part("endpoint-list"), states.length ? states : [["none registered yet", 0]]);
  showMembers(part("node-list"), stats.nodes, "No gateway or api has been seen.");
  showMembers(part("worker-list"), byId(stats.workers), "No worker runs: start one with `moments worker`.");
  part("lease-list").replaceChildren(
    ...stats.leases.map((lease) => element("tr", "",
      element("td", lease.role), element("td", String(lease.shard)), element("td", lease.holder ?? "nobody"))),
  );
}

async function look() {
  try {
    const answer = await fetch("/v1/stats", { headers: { "X-CSRF-Token": csrf } });
    if (answer.status === 401) {
      location.assign("/login");
      return;
    }
    const found = await answer.json();
    if (!answer.ok) throw new Error(found.detail);
    show(found);
    said.textContent = `As of ${new Date().toLocaleTimeString()}`;
    said.className = "";
  } catch (error) {
    said.textContent = `The api does not answer: ${error.message}`;
    said.className = "complaint";
  }
  setTimeout(look, EVERY_MS);
}

look();
