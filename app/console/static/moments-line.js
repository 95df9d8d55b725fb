// The line to the gateway: the client of the sockets, switched on and off, and what to do when
// none can be opened.

import { MomentsClient } from "./moments-client.js";

const URL_SET = document.querySelector('meta[name="socket-url"]').content;
const HINT_AFTER = 2; // tries that fail in a row

/** Why no socket can be opened here at all, and what to do about it; "" if one may be. */
function obstacle() {
  if (URL_SET === "") {
    return "It is not known where the gateway is, so that nothing can come in: set MOMENTS_SOCKET_URL "
      + "to where browsers reach it, like wss://push.example.com/v1/socket, and start the api again.";
  }
  if (location.protocol === "https:" && URL_SET.startsWith("ws:")) {
    return `A page that came over TLS opens no socket without it: let MOMENTS_SOCKET_URL begin with wss:// (it is ${URL_SET}).`;
  }
  return "";
}

const advice = () =>
  `No socket opens at ${URL_SET}. Does a gateway run there, and may this browser reach it? `
  + `Where MOMENTS_ALLOW_ORIGINS is set for it, ${location.origin} has to be among them; `
  + "MOMENTS_TOKEN_BY_MESSAGE has to be on.";

export class Line {
  /** `on` has `token`, which fetches one, and what is told: `state`, `hello`, `event`, `gap`,
   * `reset`, `position`, `trouble`. `position` is where it goes on. */
  constructor(on) {
    this.on = on;
    this.position = null;
    this.client = null;
  }

  connect() {
    if (this.client !== null) return;
    const why = obstacle();
    if (why !== "") {
      this.on.state("closed", "No gateway");
      this.on.trouble(why);
      return;
    }
    this.client = new MomentsClient({
      url: URL_SET,
      token: this.on.token,
      position: this.position,
      handle: (event) => this.on.event(event),
      onPosition: (position) => this.move(position),
      ack: "explicit", // what was shown has arrived, and not what the kernel took
    });
    this.client.addEventListener("state", ({ detail }) => this.tell(detail));
    this.client.addEventListener("gap", ({ detail }) => this.on.gap(detail));
    this.client.addEventListener("reset", () => this.on.reset());
    this.client.addEventListener("error", (event) => {
      if (event.detail.during !== "token") return; // the client puts it on the console
      event.preventDefault();
      this.on.trouble(event.detail.error.message);
    });
    this.client.connect();
  }

  /** Until `connect`, which goes on from where this stopped. */
  close() {
    const client = this.client;
    this.client = null;
    client?.close();
    this.on.state("closed", "Offline");
  }

  move(position) {
    this.position = position;
    this.on.position(position);
  }

  tell({ state, attempt, reason, head }) {
    if (this.client === null) return; // closed here, which has been told
    if (state === "open") {
      this.on.state("open", "Live");
      this.on.trouble("");
      this.on.hello(head);
    } else if (state === "waiting") {
      this.on.state("waiting", "Not connected, trying again");
      if (attempt >= HINT_AFTER) this.on.trouble(advice());
    } else if (state === "closed") {
      this.on.state("closed", "Refused");
      this.on.trouble(`The gateway takes this window no more: ${reason}. Load the page anew.`);
    } else {
      this.on.state("connecting", "Connecting …");
    }
  }
}
