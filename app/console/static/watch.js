// The console's socket: one topic, again and again until the page is left.

import { csrf, signIn } from "./api.js";

const FIRST_MS = 500;
const LAST_MS = 20_000;

/** Watches a topic. `told` gets each message, `state` "live" or "away". Returns what makes the
 * service look again soon, after something was done. */
export function watch(topic, told, state) {
  let failures = 0;
  let socket = null;

  function open() {
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    let opened = false;
    socket = new WebSocket(`${scheme}://${location.host}/console/socket`);
    socket.addEventListener("open", () => {
      opened = true;
      socket.send(JSON.stringify({ type: "watch", topic, csrf }));
    });
    socket.addEventListener("message", (event) => {
      failures = 0;
      const message = JSON.parse(event.data);
      if (message.type === "away") state("away", "The store does not answer.");
      else {
        if (message.type !== "gone") state("live", "");
        told(message);
      }
    });
    socket.addEventListener("close", async (event) => {
      if (event.code === 4501) {
        location.reload(); // to the form, if the session is over
        return;
      }
      state("away", event.code === 4006 ? "Too many browsers watch: waiting for a place." : "Not connected: trying again.");
      if (!opened && failures > 0) await checkSession();
      failures += 1;
      setTimeout(open, Math.random() * Math.min(LAST_MS, FIRST_MS * 2 ** failures));
    });
  }

  open();
  return () => {
    if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify({ type: "look" }));
  };
}

/** A socket that is refused says not why: a page that may not be seen leads to the form. */
async function checkSession() {
  try {
    const answer = await fetch(location.pathname, { method: "HEAD", redirect: "manual" });
    if (answer.type === "opaqueredirect") signIn();
  } catch {
    // The api is away: that is what is shown already.
  }
}
