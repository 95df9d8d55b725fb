// The people of the Moments page: choosing who one is, and making friends.

import { befriend, friendsOf, unfriend } from "./moments-api.js";
import { count, element, face } from "./moments-elements.js";

export const CAST = ["ann", "bob", "cleo", "dan", "eve", "finn"];

const part = (id) => document.getElementById(id);
const windowOf = (user) => `/moments#${encodeURIComponent(user)}`;

/** Asks who one is. The answer is the address's fragment, so that each window has its own. */
export function welcome() {
  part("cast").replaceChildren(...CAST.map((user) =>
    element("li", {}, element("a", { href: windowOf(user) }, face(user, "large"), user))));
  part("make-up").addEventListener("submit", (event) => {
    event.preventDefault();
    location.hash = encodeURIComponent(part("name").value.trim());
  });
  part("welcome").hidden = false;
}

export class Friends {
  /** `say` is told what went wrong. */
  constructor(user, say) {
    this.user = user;
    this.say = say;
    this.known = [];
    part("befriend").addEventListener("submit", (event) => {
      event.preventDefault();
      const field = part("friend");
      this.change(befriend, field.value);
      field.value = "";
    });
  }

  has(user) {
    return this.known.includes(user);
  }

  async look() {
    try {
      this.known = (await friendsOf(this.user)).sort();
      this.show();
    } catch (error) {
      this.say(error.message);
    }
  }

  async change(call, other) {
    if (other === this.user) {
      this.say("Nobody is their own friend here. Choose somebody else.");
      return;
    }
    try {
      await call(this.user, other);
      this.say("");
    } catch (error) {
      this.say(error.message);
    }
    await this.look();
  }

  show() {
    const number = this.known.length;
    part("friend-count").textContent = number ? count(number, "friend") : "no friends yet";
    part("no-friends").hidden = number > 0;
    part("friends").replaceChildren(...this.known.map((user) => this.row(user)));
    const others = CAST.filter((user) => user !== this.user && !this.has(user));
    part("others").replaceChildren(...others.map((user) =>
      element("li", {}, element("button", {
        type: "button", className: "chip", "aria-label": `Befriend ${user}`,
        click: () => this.change(befriend, user),
      }, face(user, "small"), user))));
  }

  row(user) {
    return element("li", {},
      face(user, "small"),
      element("b", {}, user),
      element("a", {
        href: windowOf(user), target: "_blank", rel: "noopener", title: `a window of ${user}'s`,
      }, "Window", element("span", { className: "unseen" }, ` of ${user}`), " ↗"),
      element("button", {
        type: "button", className: "quiet", "aria-label": `Unfriend ${user}`,
        title: "unfriend", click: () => this.change(unfriend, user),
      }, "×"));
  }
}
