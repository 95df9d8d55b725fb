// The calls that the Moments page makes: of the public API, with the session's cookie and the
// page's token in place of a key.

const csrf = document.querySelector('meta[name="csrf-token"]').content;
const part = encodeURIComponent;
const TOKEN_S = 3600;

/** The answer's JSON; null for none. Throws an Error that says what the API said. */
async function call(method, path, body, headers = {}) {
  let answer;
  try {
    answer = await fetch(`/v1${path}`, {
      method,
      headers: {
        "X-CSRF-Token": csrf,
        ...(body === undefined ? {} : { "Content-Type": "application/json" }),
        ...headers,
      },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch {
    throw new Error("The api does not answer. Is it running, and are you connected?");
  }
  if (answer.status === 401) {
    location.assign("/login?next=/moments");
    throw new Error("Your session is over.");
  }
  const found = answer.status === 204 ? null : await answer.json();
  if (!answer.ok) {
    const why = (found.errors ?? []).map((one) => `${one.field}: ${one.message}`).join("; ");
    throw Object.assign(new Error(why || found.detail), { status: answer.status });
  }
  return found;
}

/** A token for the person's own socket. */
export const makeToken = async (user) =>
  (await call("POST", `/users/${part(user)}/tokens`, { ttl_s: TOKEN_S })).token;

/** All friends, page by page. */
export async function friendsOf(user) {
  const friends = [];
  let after = "";
  do {
    const page = await call("GET", `/users/${part(user)}/friends?limit=200${after}`);
    friends.push(...page.items);
    after = page.next === null ? null : `&after=${part(page.next)}`;
  } while (after !== null);
  return friends;
}

export const befriend = (user, other) =>
  call("PUT", `/users/${part(user)}/friends/${part(other)}`);

export const unfriend = (user, other) =>
  call("DELETE", `/users/${part(user)}/friends/${part(other)}`);

/** Where somebody stands in their feed, and up to `limit` of what came after an offset. */
export function readFeed(user, { after, limit = 1 } = {}) {
  const from = after === undefined ? "" : `&after=${after}`;
  return call("GET", `/users/${part(user)}/feed?limit=${limit}${from}`);
}

/** Posts once, however often it is sent under the same key. */
export const publish = (author, text, key) =>
  call("POST", "/posts", { author, data: { text } }, { "Idempotency-Key": key });

export const edit = (post, text) => call("PATCH", `/posts/${part(post)}`, { data: { text } });

export const remove = (post) => call("DELETE", `/posts/${part(post)}`);

/** The post as it is; null when it is not kept any more. */
export async function readPost(post) {
  try {
    return await call("GET", `/posts/${part(post)}`);
  } catch (error) {
    if (error.status === 404) return null;
    throw error;
  }
}

/** Who is to get a post, and what became of it. */
export const deliveriesOf = (post, limit = 200) =>
  call("GET", `/posts/${part(post)}/deliveries?limit=${limit}`);
