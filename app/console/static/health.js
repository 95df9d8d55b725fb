// How an endpoint is: a mark told by its shape, and a word.

import { el } from "./dom.js";
import { mark } from "./marks.js";

const LOOKS = { active: "delivered", open: "retrying", disabled: "dead", unverified: "pending" };

const MEANINGS = {
  active: "Takes what it is sent.",
  open: "Has failed too often in a row, and is left alone for a while. What comes meanwhile waits, and costs no attempt.",
  disabled: "Is sent nothing. What comes meanwhile can be sent again with “Recover”.",
  unverified: "Has to echo a challenge before it is sent anything else. What comes meanwhile waits.",
};

export const health = (state) => el("span", { class: "chip" }, mark(LOOKS[state]), state);
export const meaning = (state) => MEANINGS[state];
