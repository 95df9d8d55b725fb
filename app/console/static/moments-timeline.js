// The timeline: one entry for each post, the newest first, whatever becomes of it afterwards.

import { edit, remove } from "./moments-api.js";
import { element, face, time } from "./moments-elements.js";
import { Receipts } from "./moments-receipts.js";

const SHOWN_MAX = 200; // entries; a page with thousands would be slow, and nobody reads so far
const STAGGER_MAX = 12; // entries that come in one after the other when many come at once

/** What a post says: its text, or the data of one that some other application has sent. */
function textOf(post) {
  if (post.deleted) return "";
  return typeof post.data?.text === "string" ? post.data.text : JSON.stringify(post.data);
}

export class Timeline {
  /** `say` is told what went wrong. */
  constructor(list, user, say) {
    this.list = list;
    this.user = user;
    this.say = say;
    this.shown = new Map(); // by the post's id
    this.coming = 0;
  }

  has(post) {
    return this.shown.has(post);
  }

  get isEmpty() {
    return this.shown.size === 0;
  }

  /** A post to the top, or what has become of one that is shown. `kind` is how it came: `mine`,
   * `live`, `missed`, or `known` from before. */
  show(post, kind, { offset = null, afterMs = null } = {}) {
    if (post.expired) return;
    const known = this.shown.get(post.id);
    if (known) {
      known.change(post, kind, offset);
      return;
    }
    const entry = new Entry(post, kind, { offset, afterMs, user: this.user, say: this.say });
    this.shown.set(post.id, entry);
    if (kind === "missed") entry.comeAfter(Math.min(this.coming++, STAGGER_MAX));
    this.list.prepend(entry.item);
    if (entry.isMine) entry.receipts.follow(entry.item);
    this.trim();
  }

  /** From here on what is missed comes in anew. */
  settle() {
    this.coming = 0;
  }

  /** A line between entries: something that is not a post. */
  note(text) {
    this.list.prepend(element("li", { className: "note" }, text));
  }

  clear() {
    for (const entry of this.shown.values()) entry.receipts.stop();
    this.shown.clear();
    this.list.replaceChildren();
  }

  trim() {
    while (this.shown.size > SHOWN_MAX) {
      const [id, oldest] = this.shown.entries().next().value;
      oldest.receipts.stop();
      oldest.item.remove();
      this.shown.delete(id);
    }
  }
}

class Entry {
  constructor(post, kind, { offset, afterMs, user, say }) {
    this.isMine = post.author === user;
    this.say = say;
    this.receipts = new Receipts(post.id);
    this.tags = element("span", { className: "tags" });
    this.text = element("p", { className: "text" });
    this.offset = element("span", { className: "offset", title: `the offset in ${user}'s feed` });
    this.tools = element("div", { className: "tools" });
    this.item = element("li", { className: "moment", "data-post": post.id },
      element("article", { "aria-label": `by ${this.isMine ? "you" : post.author}` },
        face(post.author),
        element("div", { className: "body" },
          element("p", { className: "by" },
            element("b", {}, this.isMine ? "You" : post.author), time(post.created_at),
            this.tags, this.offset),
          this.text, this.tools,
          ...(this.isMine ? [this.receipts.list] : []))));
    this.version = 0;
    this.change(post, kind, offset, afterMs);
  }

  comeAfter(places) {
    this.item.style.setProperty("--place", String(places));
  }

  /** Shows the post as it is now. What came in twice, or late, changes nothing but the offset. */
  change(post, kind, offset, afterMs = null) {
    if (offset !== null) {
      this.item.dataset.offset = String(offset);
      this.offset.textContent = `#${offset}`;
    }
    if (post.version <= this.version) return;
    const isChange = this.version > 0;
    this.post = post;
    this.version = post.version;
    this.item.dataset.kind = kind;
    this.item.classList.toggle("deleted", Boolean(post.deleted));
    this.text.textContent = post.deleted ? "This moment was deleted." : textOf(post);
    this.tag(kind, afterMs);
    if (this.isMine) this.equip();
    if (isChange) this.flash();
  }

  tag(kind, afterMs) {
    const tags = [];
    if (kind === "missed") tags.push(element("span", { className: "tag missed" }, "missed"));
    if (!this.post.deleted && this.version > 1) tags.push(element("span", { className: "tag" }, "edited"));
    if (afterMs !== null) {
      tags.push(element("span", {
        className: "tag fast",
        title: "from its acceptance until it was here, by the clocks of the service and of this browser",
      }, `in ${afterMs} ms`));
    }
    this.tags.replaceChildren(...tags);
  }

  flash() {
    this.item.classList.remove("changed");
    void this.item.offsetWidth; // so that the animation begins anew
    this.item.classList.add("changed");
    if (this.isMine) this.receipts.look();
  }

  // What the author can do with it.

  equip() {
    if (this.post.deleted) {
      this.tools.replaceChildren(this.receipts.summary);
      return;
    }
    const sure = element("button", { type: "button", className: "quiet" }, "Delete");
    sure.addEventListener("click", () => {
      if (sure.dataset.asked) this.delete();
      sure.dataset.asked = "yes";
      sure.textContent = "Really delete?";
    });
    sure.addEventListener("blur", () => {
      delete sure.dataset.asked;
      sure.textContent = "Delete";
    });
    this.tools.replaceChildren(this.receipts.summary,
      element("button", { type: "button", className: "quiet", click: () => this.rewrite() }, "Edit"),
      sure);
  }

  rewrite() {
    const area = element("textarea", { maxLength: 500, required: true, "aria-label": "Your moment" });
    area.value = textOf(this.post);
    const form = element("form", {
      className: "rewrite",
      submit: async (event) => {
        event.preventDefault();
        if (await this.act(() => edit(this.post.id, area.value))) close();
      },
      keydown: (event) => {
        if (event.key === "Escape") close();
        if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
      },
    }, area, element("div", { className: "row" },
      element("button", { type: "submit" }, "Save"),
      element("button", { type: "button", className: "quiet", click: () => close() }, "Leave it")));
    const close = () => {
      form.replaceWith(this.text);
      this.tools.hidden = false;
      this.tools.querySelector("button").focus();
    };
    this.text.replaceWith(form);
    this.tools.hidden = true;
    area.focus();
  }

  async delete() {
    if (await this.act(() => remove(this.post.id))) this.receipts.summary.focus();
  }

  async act(call) {
    try {
      this.change(await call(), "mine", null);
      this.say("");
      return true;
    } catch (error) {
      this.say(error.message);
      return false;
    }
  }
}
