// Runs the client as it is told to, and tells what it does: JSON in argv, a JSON line for each thing
// on stdout, commands on stdin.

import { createInterface } from "node:readline";

import { MomentsClient } from "../../clients/js/moments.js";
import { msgpack } from "../../clients/js/msgpack.js";

const { tokens, encoding, reads, holds, logs, ...options } = JSON.parse(process.argv[2]);

function tell(kind, detail) {
  process.stdout.write(`${JSON.stringify({ [kind]: detail })}\n`);
}

/** Tells what goes over the wire, too. */
class Logged extends WebSocket {
  constructor(url, protocols) {
    super(url, protocols);
    tell("url", url);
    this.addEventListener("message", ({ data }) => tell("received", JSON.parse(data)));
  }

  send(data) {
    tell("sent", JSON.parse(data));
    super.send(data);
  }
}

// Each call gives the next of the tokens; when there is none left, what is then said on stdin.
let asked = 0;
const giving = [];
async function token() {
  tell("asked", asked);
  asked += 1;
  return tokens[asked - 1] ?? new Promise((give) => giving.push(give));
}

// With `holds` an event is dealt with when `go` is said.
const going = [];
async function handle(event) {
  tell("event", event);
  if (holds) await new Promise((go) => going.push(go));
  tell("dealt", event.offset);
}

const client = new MomentsClient({
  ...options,
  ...(logs ? { WebSocket: Logged } : {}),
  ...(encoding === "msgpack" ? { codec: msgpack } : {}),
  ...(reads ? {} : { handle }),
  token: tokens.length === 1 ? tokens[0] : token,
  onPosition: (position) => tell("position", position),
});
for (const kind of ["state", "gap", "reset", "goodbye"]) {
  client.addEventListener(kind, ({ detail }) => tell(kind, detail));
}
client.addEventListener("error", (event) => {
  event.preventDefault();
  tell("error", String(event.detail.error));
});

const commands = {
  go: () => going.shift()?.(),
  close: () => client.close(),
  token: (given) => giving.shift()(given),
};
createInterface({ input: process.stdin }).on("line", (line) => {
  const [command, ...given] = line.split(" ");
  commands[command](...given);
});
client.addEventListener("state", ({ detail }) => {
  if (detail.state === "closed") process.stdin.destroy(); // or node waits for more of it
});

if (reads) {
  try {
    for await (const event of client) tell("event", event);
    tell("end", null);
  } catch (error) {
    tell("end", error.message);
  }
} else {
  client.connect();
}
