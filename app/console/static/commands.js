// Commands that say what to do next, with the address of this very service.

import { copyButton } from "./dom.js";

const api = `${location.origin}/v1`;
const head = 'curl -sS -H "Authorization: Bearer $(cat data/admin.key)" -H "Content-Type: application/json"';

export const COMMANDS = {
  worker: "moments worker",
  gateway: "moments gateway",
  post: `${head} -X PUT ${api}/users/alice/friends/bob
${head} ${api}/posts -d '{"author": "alice", "data": {"text": "hello, friends"}}'`,
  endpoint: `${head} ${api}/endpoints -d '{"user": "bob", "url": "https://hooks.example.com/bob"}'`,
  failing: `${head} ${api}/endpoints -d '{"user": "bob", "url": "http://127.0.0.1:9", "retry_schedule_s": [1]}'`,
};

/** Fills in the commands of the page. `values` replace words in them. */
export function fillCommands(values = {}) {
  for (const node of document.querySelectorAll("[data-command]")) {
    let text = COMMANDS[node.dataset.command];
    for (const [word, value] of Object.entries(values)) text = text.replaceAll(word, value);
    node.replaceChildren(text, copyButton(() => text));
  }
}
