// Calls of the public API, with the session's cookie and the page's token.

export const csrf = document.querySelector('meta[name="csrf-token"]').content;
export const subject = document.querySelector('meta[name="subject"]').content;

/** What an error answer says. `status` is 0 when there was no answer at all. */
export class Problem extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

/** The JSON of the answer, null of an empty one. Throws a Problem; without a session it goes to
 * the page that opens one. */
export async function call(method, path, body) {
  const headers = { "X-CSRF-Token": csrf };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let answer;
  try {
    answer = await fetch(path, { method, headers, body: body && JSON.stringify(body) });
  } catch {
    throw new Problem(0, "The api does not answer.");
  }
  if (answer.status === 401) signIn();
  const text = await answer.text();
  const value = text ? JSON.parse(text) : null;
  if (!answer.ok) throw new Problem(answer.status, value?.detail ?? `The api answers ${answer.status}.`);
  return value;
}

export const get = (path) => call("GET", path);
export const post = (path, body) => call("POST", path, body);

export function signIn() {
  const here = location.pathname;
  location.assign(here === "/" ? "/login" : `/login?next=${encodeURIComponent(here)}`);
}

/** A query string of what is given. */
export function query(values) {
  const given = Object.entries(values).filter(([, value]) => value != null && value !== "");
  return given.length ? `?${new URLSearchParams(given)}` : "";
}
