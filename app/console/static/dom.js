// Elements. What is shown is set as text, so that nothing is ever taken for markup.

export const part = (id) => document.getElementById(id);

/** A new element: its attributes, then its text and elements. `on…` attributes are listeners. */
export function el(name, attributes = {}, ...inside) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value === true) made.setAttribute(key, "");
    else if (value !== false && value != null) made.setAttribute(key, value);
  }
  made.append(...inside.filter((each) => each != null));
  return made;
}

/** The same for drawings. */
export function svg(name, attributes = {}, ...inside) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...inside);
  return made;
}

/** Sets a text only where it is another, which costs no layout where nothing has changed. */
export function say(node, text) {
  const shown = String(text);
  if (node.textContent !== shown) node.textContent = shown;
}

export function show(node, visible) {
  node.hidden = !visible;
}

/** What the page is doing, beside its title: live, settled, waiting, away or quiet. */
export function status(text, state) {
  const said = part("said");
  say(said, text);
  said.dataset.state = state;
}

/** Pairs of a name and a value, or of a name with a mark and a value, in a list. */
export function showPairs(list, pairs) {
  const key = JSON.stringify(pairs.map(([name]) => String(name.textContent ?? name)));
  if (list.dataset.key !== key) {
    list.dataset.key = key;
    list.replaceChildren(...pairs.flatMap(([name]) => [el("dt", {}, name), el("dd")]));
  }
  const values = list.querySelectorAll("dd");
  pairs.forEach(([, value], index) => say(values[index], value));
}

/** Facts in columns: a name, and a text or an element. `long` ones have a line of their own. */
export function showFacts(list, facts) {
  list.replaceChildren(
    ...facts
      .filter((fact) => fact != null)
      .map(([name, value, long]) =>
        el("div", { class: long ? "long" : null }, el("dt", {}, name), el("dd", {}, value ?? "–"))),
  );
}

/** A question in a window of its own. True when the answer is yes. */
export function ask(title, text, verb) {
  return new Promise((resolve) => {
    const id = "ask-title";
    const dialog = el("dialog", { "aria-labelledby": id });
    dialog.append(
      el("h2", { id }, title),
      el("p", {}, text),
      el("form", { method: "dialog", class: "actions" },
        el("button", { class: "quiet", value: "no" }, "Cancel"),
        el("button", { value: "yes" }, verb)),
    );
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes");
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}

const TOAST_MS = 5000;

/** A short message at the bottom of the page. */
export function toast(text, bad = false) {
  const made = el("p", { class: bad ? "bad" : null }, text);
  part("toasts").append(made);
  setTimeout(() => made.remove(), TOAST_MS);
}

/** A button that puts a text on the clipboard. */
export function copyButton(read) {
  const button = el("button", { type: "button", class: "quiet" }, "Copy");
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(read());
      say(button, "Copied");
    } catch {
      say(button, "Select it");
    }
    setTimeout(() => say(button, "Copy"), 2000);
  });
  return button;
}
