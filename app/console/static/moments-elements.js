// Elements of the Moments page. What people wrote is set as text, so that it is never markup.

/** A new element: its class, attributes (functions are listeners), and what is inside. */
export function element(name, { className = "", ...attributes } = {}, ...inside) {
  const made = document.createElement(name);
  made.className = className;
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(key, value);
    else if (key in made && key !== "list") made[key] = value;
    else made.setAttribute(key, value);
  }
  made.append(...inside);
  return made;
}

/** The face of a person: their first letter, on a colour that is always theirs. */
export function face(user, size = "") {
  const made = element("span", { className: `face ${size}`, "aria-hidden": "true" },
    [...user][0].toUpperCase());
  made.style.setProperty("--hue", String(hue(user)));
  return made;
}

/** A colour of the part of the circle that is not olive. */
function hue(user) {
  let sum = 0;
  for (const letter of user) sum = (sum * 193 + letter.codePointAt(0)) % 100_003;
  return 150 + ((sum * 3) % 250);
}

/** The time of day of an ISO time, with the date for those who want to know. */
export function time(iso) {
  const at = new Date(iso);
  return element("time", { dateTime: iso, title: at.toLocaleString() },
    at.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" }));
}

/** "1 friend", "3 friends". */
export const count = (number, one, many = `${one}s`) => `${number} ${number === 1 ? one : many}`;
