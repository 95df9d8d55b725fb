// Live: what the service is busy with now, and over the last minutes.

import { fillCommands } from "./commands.js";
import { el, part, say, show, showPairs, status } from "./dom.js";
import { bytes, count, duration, exact, ms, plural, rate, short } from "./format.js";
import { LinePlot } from "./plot.js";
import { watch } from "./watch.js";

const QUEUES = {
  posts: "posts to fan out",
  deliveries: "slices to send",
  redeliveries: "retries that are due",
};
const CHANNELS = [
  { name: "webhooks", style: "webhook" },
  { name: "sockets", style: "socket" },
];

const plots = {
  rate: new LinePlot(part("plot-rate"), { series: CHANNELS, format: rate, nothing: "Nothing was delivered in this time." }),
  times: new LinePlot(part("plot-times"), { series: CHANNELS, format: ms, nothing: "Nothing was pushed in this time." }),
  queues: new LinePlot(part("plot-queues"), {
    series: [
      { name: "posts", style: "webhook" },
      { name: "slices", style: "socket" },
      { name: "due", style: "third" },
    ],
    format: short,
    nothing: "Nothing waits.",
  }),
};

/** The larger of two times, null when there is neither. */
function slower(a, b) {
  if (a == null) return b;
  return b == null ? a : Math.max(a, b);
}

function showFigures(stats, point) {
  const sum = (field) => stats.processes.reduce((total, one) => total + one[field], 0);
  const gateways = stats.processes.filter((one) => one.role === "gateway").length;
  say(part("rate"), rate(point.webhook.per_s + point.socket.per_s));
  say(part("rate-webhook"), rate(point.webhook.per_s));
  say(part("rate-socket"), rate(point.socket.per_s));
  say(part("p50"), ms(slower(point.webhook.times_ms[0], point.socket.times_ms[0])));
  say(part("p99"), ms(slower(point.webhook.times_ms[1], point.socket.times_ms[1])));
  say(part("sockets"), short(sum("sockets_open")));
  say(part("gateways"), gateways);
  say(part("gateways-word"), plural(gateways, "gateway", "gateways"));
  say(part("attempts"), short(sum("attempts_open")));
  say(part("retries"), short(stats.queues.retries));
  say(part("redeliveries"), short(stats.queues.redeliveries));
  say(part("dead"), short(stats.queues.dead));
  show(part("no-gateways"), gateways === 0);
  show(part("no-workers"), !stats.processes.some((one) => one.role === "worker"));
}

function showEndpoints(states) {
  const total = Object.values(states).reduce((sum, number) => sum + number, 0);
  showPairs(part("endpoint-list"), Object.entries(states).map(([state, number]) => [state, count(number)]));
  const bar = part("endpoint-bar");
  const key = JSON.stringify(states);
  if (bar.dataset.key === key) return;
  bar.dataset.key = key;
  bar.replaceChildren(...Object.entries(states).filter(([, number]) => number).map(([state, number]) => {
    const piece = el("i", { class: state });
    piece.style.flexGrow = number / total;
    return piece;
  }));
}

/** Rows are kept and only their texts changed, so that a selection in them stays. */
function showProcesses(processes) {
  const list = part("process-list");
  const rows = new Map([...list.children].map((row) => [row.dataset.id, row]));
  const roles = ["api", "gateway", "worker"];
  const sorted = [...processes].sort((a, b) => roles.indexOf(a.role) - roles.indexOf(b.role) || a.id.localeCompare(b.id));
  sorted.forEach((one, index) => {
    const row = rows.get(one.id) ?? processRow(one);
    rows.delete(one.id);
    if (list.children[index] !== row) list.insertBefore(row, list.children[index] ?? null);
    const delivered = one.delivered.webhook + one.delivered.socket;
    const values = [
      one.role === "gateway" ? count(one.sockets_open) : "",
      one.role === "worker" ? count(one.attempts_open) : "",
      one.role === "worker" ? count(one.leases_held) : "",
      one.role === "api" ? "" : count(delivered),
      bytes(one.memory_bytes),
      duration(Math.max((new Date(one.seen_at) - new Date(one.started_at)) / 1000, 0)),
    ];
    values.forEach((value, column) => say(row.children[column + 2], value));
  });
  for (const row of rows.values()) row.remove();
}

function processRow(one) {
  const row = el("tr", {},
    el("td", {}, el("code", {}, one.id)), el("td", {}, one.role),
    ...Array.from({ length: 5 }, () => el("td", { class: "number" })),
    el("td", { class: "when", title: `since ${exact(one.started_at)}` }), el("td", {}, one.version));
  row.dataset.id = one.id;
  return row;
}

function showLeases(leases, shards) {
  const roles = [...new Set(leases.map((lease) => lease.role))];
  const key = JSON.stringify(leases);
  const list = part("lease-list");
  if (list.dataset.key === key) return;
  list.dataset.key = key;
  part("lease-head").replaceChildren(el("tr", {}, el("th", { scope: "col" }, "role"),
    ...Array.from({ length: shards }, (_, shard) => el("th", { scope: "col" }, `shard ${shard}`))));
  list.replaceChildren(...roles.map((role) => el("tr", {}, el("th", { scope: "row" }, role),
    ...leases.filter((lease) => lease.role === role).map((lease) => (lease.holder
      ? el("td", { title: lease.holder }, el("code", {}, lease.holder.split("-").at(-1)))
      : el("td", { class: "nobody" }, "nobody"))))));
}

function told(message) {
  const { stats, points, whole } = message;
  plots.rate.add(points.map((point) => ({ at: point.at, values: [point.webhook.per_s, point.socket.per_s] })), whole);
  plots.times.add(points.map((point) => ({ at: point.at, values: [point.webhook.times_ms[1], point.socket.times_ms[1]] })), whole);
  const { posts, deliveries, redeliveries } = stats.queues;
  plots.queues.add([{ at: points.at(-1).at, values: [posts, deliveries, redeliveries] }]);
  showFigures(stats, points.at(-1));
  showPairs(part("queue-list"), Object.entries(QUEUES).map(([key, name]) => [name, count(stats.queues[key])]));
  showEndpoints(stats.endpoints);
  showProcesses(stats.processes);
  showLeases(stats.leases, stats.shards);
  status("Live", "live");
}

fillCommands();
watch("stats", told, (state, text) => {
  if (state === "away") status(text, "away");
});
