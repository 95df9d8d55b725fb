// The Moments page, an example of an application of the service: one window is one person, who
// has friends, posts, and gets what they post through the client of the sockets.

import { makeToken, publish, readFeed, readPost } from "./moments-api.js";
import { count, face } from "./moments-elements.js";
import { Line } from "./moments-line.js";
import { Memory } from "./moments-memory.js";
import { Friends, welcome } from "./moments-people.js";
import { Timeline } from "./moments-timeline.js";

const KNOWN_MAX = 50; // entries from before that are shown at the start
const AFTER_MAX_MS = 60_000; // beyond that clocks differ, or the post waited somewhere

const part = (id) => document.getElementById(id);

/** Tells what went wrong; nothing takes it back. */
function say(text) {
  part("alert").textContent = text;
  part("alert").hidden = text === "";
}

function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** One person's window. */
class Window {
  constructor(user) {
    this.user = user;
    this.memory = new Memory(user);
    this.friends = new Friends(user, say);
    this.timeline = new Timeline(part("timeline"), user, say);
    this.missed = { from: 0, to: -1, left: 0 };
    this.unseen = 0;
    this.isAway = false; // by choice, whatever becomes of the network
    this.key = newKey();
    this.line = new Line({
      token: () => makeToken(user),
      state: (state, text) => this.showState(state, text),
      hello: (head) => this.begin(head),
      event: (event) => this.take(event),
      gap: (gap) => this.pass(gap),
      reset: () => this.beginAnew(),
      position: (position) => this.moveTo(position),
      trouble: say,
    });
  }

  async open() {
    part("my-name").textContent = this.user;
    part("my-face").replaceWith(face(this.user));
    for (const id of ["stage", "switch", "state"]) part(id).hidden = false;
    this.listen();
    await this.friends.look();
    try {
      this.line.position = await this.recall();
    } catch (error) {
      say(error.message);
      return;
    }
    this.moveTo(this.line.position);
    part("nothing").hidden = !this.timeline.isEmpty;
    this.line.connect();
  }

  listen() {
    part("compose").addEventListener("submit", (event) => {
      event.preventDefault();
      this.post();
    });
    part("text").addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) part("compose").requestSubmit();
    });
    part("text").addEventListener("input", () => { this.key = newKey(); });
    part("online").addEventListener("change", () => {
      this.isAway = !part("online").checked;
      this.setOnline(!this.isAway);
    });
    addEventListener("offline", () => this.setOnline(false));
    addEventListener("online", () => this.setOnline(!this.isAway));
    addEventListener("focus", () => this.friends.look());
    addEventListener("visibilitychange", () => this.showUnseen(0));
    this.memory.onOtherWindow(() => this.showOwn());
  }

  // What was before.

  /** Shows what this window had read, and gives where it goes on: where it was when it is loaded
   * anew, else where the person stopped. */
  async recall() {
    const stand = await readFeed(this.user);
    const kept = this.memory.position;
    const isOurs = kept?.epoch === stand.epoch && kept.offset <= stand.head_offset;
    const offset = isOurs ? kept.offset : stand.cursor;
    const after = Math.max(0, offset - KNOWN_MAX);
    const known = offset > 0 ? await readFeed(this.user, { after, limit: KNOWN_MAX }) : { items: [] };
    const read = known.items.filter((item) => item.offset <= offset && !item.post.expired);
    const own = (await this.own()).map((post) => ({ post, offset: null }));
    const inTime = [...own, ...read].sort((a, b) => a.post.created_at < b.post.created_at ? -1 : 1);
    for (const { post, offset: at } of inTime) this.timeline.show(post, "known", { offset: at });
    return { offset, epoch: stand.epoch };
  }

  /** The person's own posts that are still kept. */
  async own() {
    const found = await Promise.all(this.memory.posts.map((id) => readPost(id)));
    this.memory.posts.forEach((id, index) => {
      if (found[index] === null) this.memory.forget(id);
    });
    return found.filter((post) => post !== null);
  }

  /** What another window of this person has posted. */
  async showOwn() {
    const ids = this.memory.posts.filter((id) => !this.timeline.has(id));
    for (const post of await Promise.all(ids.map(readPost))) {
      if (post !== null) this.timeline.show(post, "mine");
    }
    part("nothing").hidden = !this.timeline.isEmpty;
  }

  // What comes.

  /** The socket is open: what lies between where we are and the head was missed. */
  begin(head) {
    const { offset } = this.line.position;
    this.missed = { from: offset + 1, to: head, left: Math.max(0, head - offset) };
    this.showMissed();
  }

  take({ offset, post }) {
    const isMissed = offset <= this.missed.to;
    const ms = Date.now() - Date.parse(post.created_at);
    const isTimed = !isMissed && post.version === 1 && ms >= 0 && ms < AFTER_MAX_MS;
    const kind = isMissed ? "missed" : "live";
    this.timeline.show(post, kind, { offset, afterMs: isTimed ? ms : null });
    part("nothing").hidden = true;
    if (isMissed) {
      this.missed.left = this.missed.to - offset;
      this.showMissed();
    } else {
      part("heard").textContent = `${post.author}: ${post.data?.text ?? "something was deleted"}`;
      if (document.hidden) this.showUnseen(this.unseen + 1);
      if (!this.friends.has(post.author)) this.friends.look();
    }
  }

  /** Older ones were trimmed away while the person was gone. */
  pass({ from, to }) {
    this.timeline.note(from === to ? `#${to} is no longer kept.` : `#${from} to #${to} are no longer kept.`);
    this.missed = { from: to + 1, to: this.missed.to, left: Math.max(0, this.missed.to - to) };
    this.showMissed();
  }

  /** The store was emptied: offsets begin anew. */
  beginAnew() {
    this.timeline.clear();
    this.timeline.note("The service has begun anew: what was here before is gone.");
    this.missed = { from: 0, to: -1, left: 0 };
    this.showMissed();
  }

  // What the person does.

  async post() {
    const area = part("text");
    const text = area.value.trim();
    if (text === "" || part("send").disabled) return;
    part("send").disabled = true;
    try {
      const post = await publish(this.user, text, this.key);
      this.memory.add(post.id);
      this.timeline.show(post, "mine");
      part("nothing").hidden = true;
      area.value = "";
      this.key = newKey();
      say("");
    } catch (error) {
      say(error.message);
    }
    part("send").disabled = !part("online").checked;
    area.focus();
  }

  setOnline(isOnline) {
    part("online").checked = isOnline;
    part("text").disabled = part("send").disabled = !isOnline;
    part("compose-hint").hidden = !isOnline;
    part("offline-hint").hidden = isOnline;
    if (isOnline) this.line.connect();
    else this.line.close();
  }

  // How it stands.

  showState(state, text) {
    part("state").dataset.state = state;
    part("state").textContent = text;
  }

  moveTo(position) {
    this.memory.position = position;
    part("position").textContent = `#${position.offset}`;
  }

  showMissed() {
    const { from, to, left } = this.missed;
    const number = to - from + 1;
    const span = from === to ? `#${to}` : `#${from} to #${to}, in order`;
    part("missed").hidden = number <= 0;
    part("missed").dataset.left = String(left);
    part("missed").textContent = left > 0
      ? `${count(left, "moment")} missed, coming in …`
      : `You missed ${count(number, "moment")} while you were away: ${span}.`;
    if (left === 0) this.timeline.settle();
  }

  showUnseen(number) {
    this.unseen = number;
    document.title = (number ? `(${number}) ` : "") + `${this.user} · Moments`;
  }
}

function route() {
  const user = decodeURIComponent(location.hash.slice(1));
  if (user === "") {
    welcome();
    return;
  }
  document.title = `${user} · Moments`;
  new Window(user).open();
}

addEventListener("hashchange", () => location.reload());
part("skip").addEventListener("click", (event) => {
  event.preventDefault(); // the fragment is the person
  part("timeline").focus();
});
route();
