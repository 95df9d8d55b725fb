// What a window remembers of a person when it is loaded anew: how far they had read (this window's
// own, as each window of theirs reads for itself), and which posts they wrote (all windows').

const POSTS_MAX = 50;

function read(storage, key, none) {
  try {
    return JSON.parse(storage.getItem(key)) ?? none;
  } catch {
    return none; // written by something else, or storage is switched off
  }
}

function write(storage, key, value) {
  try {
    storage.setItem(key, JSON.stringify(value));
  } catch {
    // Full, or switched off: then a reload begins where the service says that the person stopped.
  }
}

export class Memory {
  constructor(user) {
    this.positionKey = `moments.position.${user}`;
    this.postsKey = `moments.posts.${user}`;
  }

  /** `{offset, epoch}`; null for a window in which the person has not read yet. */
  get position() {
    const kept = read(sessionStorage, this.positionKey, null);
    return Number.isInteger(kept?.offset) && typeof kept.epoch === "string" ? kept : null;
  }

  set position(position) {
    write(sessionStorage, this.positionKey, position);
  }

  /** Ids of the person's own posts, the newest last. */
  get posts() {
    const kept = read(localStorage, this.postsKey, []);
    return Array.isArray(kept) ? kept.filter((id) => typeof id === "string") : [];
  }

  add(post) {
    write(localStorage, this.postsKey, [...this.posts, post].slice(-POSTS_MAX));
  }

  forget(post) {
    write(localStorage, this.postsKey, this.posts.filter((id) => id !== post));
  }

  /** Calls back when another window of theirs has written. */
  onOtherWindow(callback) {
    addEventListener("storage", (event) => {
      if (event.key === this.postsKey) callback();
    });
  }
}
