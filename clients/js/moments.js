/**
 * A client of the sockets of moments: everything in order, every offset once, from where it
 * stopped. For browsers and Node 20 or newer; one file, no dependencies.
 *
 * `Protocol` holds all rules and does nothing itself: what happened goes in, what is to be done
 * comes out, times and chance are arguments. `MomentsClient` does it, on a WebSocket.
 */

/** @typedef {{ epoch?: string | null, offset: number }} Position A place in a user's log. */
/**
 * @typedef {object} Post
 * @property {string} id
 * @property {string} [author]
 * @property {string} [type]
 * @property {number} [version]
 * @property {string} [created_at]  RFC 3339
 * @property {any} [data]  what the author posted; null when it is deleted
 * @property {boolean} [deleted]
 * @property {boolean} [expired]  it is not kept any more, and only its id is left
 */
/** @typedef {{ type: string, offset: number, post: Post }} Moment One event, `post.created`, … */
/** @typedef {"idle" | "connecting" | "open" | "waiting" | "closed"} State */
/**
 * @typedef {object} Status
 * @property {State} state
 * @property {number | null} code  why it is waiting or closed: the code of the gateway, if any
 * @property {string | null} reason  the same in words
 * @property {number} attempt  tries in a row that have failed
 * @property {number | null} retryInMs  until the next try; null when none is planned
 * @property {string | null} user  whose socket it is, once that is known
 * @property {number | null} head  newest offset of the log when the socket was opened
 */
/** @typedef {Record<string, any>} Message */
/**
 * @typedef {object} Codec  How messages travel: JSON, or what `msgpack.js` gives.
 * @property {string} subprotocol
 * @property {(message: Message) => string | Uint8Array<ArrayBuffer>} encode
 * @property {(data: any) => any} decode  throws on what it cannot read
 */
/**
 * @typedef {object} Item  What is dealt with in its turn.
 * @property {"event" | "gap" | "reset"} kind
 * @property {any} detail
 * @property {Position} position  where the client is when this has been dealt with
 * @property {number} log  which of the logs it is of, counted from 0
 */
/**
 * @typedef {{ do: "ask", id: number }
 *   | { do: "open", query: Record<string, string> }
 *   | { do: "send", message: Message }
 *   | { do: "drop", reason: string }
 *   | { do: "deliver", item: Item }
 *   | { do: "goodbye", reason: string, reconnectMs: number }
 *   | { do: "position", position: Position }
 *   | { do: "tell" }} Action
 */

const RETRY_FIRST_MS = 500;
const RETRY_MAX_MS = 20_000;
const GOOD_MS = 5_000; // an open socket that lasts so long makes the next try one of the first
const TOLD_MAX_MS = 300_000; // a gateway cannot keep a client away for longer
const PING_PART = 0.9; // of the gateway's own time: then it has no need to ping
const ANSWER_MS = 10_000;
const NUDGED_ANSWER_MS = 3_000;
const NUDGE_EVERY_MS = 1_000;
const LATE_MS = 2_000; // a timer that is later than that has slept, and proves nothing
const LEAVE_MS = 5_000; // from a goodbye to the close that follows it
const ACK_EVERY_MS = 20; // a gateway closes on who says more than some hundred things a second
const RENEW_FROM = 0.75; // of what is left of a token
const RENEW_SPREAD = 0.15;
const RENEW_MIN_MS = 1_000;
const PING_DEFAULT_S = 25;

/** What would only happen again: the other side cannot read what this client says (RFC 6455). */
const HOPELESS = new Set([1003, 1009, 1010]);
const TOKEN_EXPIRED = 4002;

/**
 * Whether to connect again after a socket was closed with this code.
 * @param {number} code
 */
export function mayReconnect(code) {
  return !(HOPELESS.has(code) || (code >= 4500 && code <= 4999));
}

/**
 * Full jitter: anything from 0 to a bound that doubles with each failure, 500 ms to 20 s.
 * @param {number} failures  in a row, before this one
 * @param {number} chance  from 0 to 1
 */
export function backoffMs(failures, chance) {
  return chance * Math.min(RETRY_MAX_MS, RETRY_FIRST_MS * 2 ** Math.min(failures, 10));
}

/**
 * For how long a token holds; null when that cannot be read from it.
 * @param {string} token  a JWT
 * @param {number} wallMs  the time, in Unix milliseconds
 */
export function lifeMs(token, wallMs) {
  try {
    const claims = JSON.parse(atob(token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/")));
    const left = claims.exp * 1_000 - wallMs;
    // One that has ended before it was used is one whose maker has another clock than this device.
    const life = left > 0 ? left : (claims.exp - claims.iat) * 1_000;
    return life > 0 ? life : null;
  } catch {
    return null;
  }
}

/** All rules of a client. Each call returns what is to be done; times are ms of one clock. */
export class Protocol {
  /** @type {Action[]} */
  #actions = [];
  /** @type {State} */
  #state = "idle";
  /** @type {number | null} */
  #code = null;
  /** @type {string | null} */
  #reason = null;
  #explicit;
  #renewable;
  #inUrl;
  #bufferMax;
  #timeoutMs;
  #random;

  // The log. `received` is the highest offset that came, null as long as that is not known.
  /** @type {string | null} */
  #epoch;
  /** @type {number | null} */
  #received;
  /** @type {Position | null} */
  #position; // up to here all has been dealt with
  #log = 0;
  #positionLog = 0;
  #pending = 0; // delivered and not dealt with yet
  #isFull = false;
  /** @type {string | null} */
  #user = null;
  /** @type {number | null} */
  #head = null;

  // Tries.
  #attempt = 0;
  #triedAt = -Infinity;
  #retryAt = Infinity;
  #toldMs = 0;
  #openedAt = Infinity;
  #deadline = Infinity; // of a hello, or of the close behind a goodbye
  #isLeaving = false;

  // Signs of life.
  #silenceMs = PING_DEFAULT_S * 1_000;
  #heardAt = -Infinity;
  #pingAt = Infinity;
  #answerBy = Infinity;

  /** @type {string | null} */
  #token = null;
  #askId = 0;
  #isAsking = false;
  #renewAt = Infinity;
  #renewFailures = 0;

  #ackAt = Infinity;
  #ackedAt = -Infinity;

  /**
   * @param {object} rules
   * @param {boolean} rules.explicit  whether events are acknowledged by messages
   * @param {boolean} rules.renewable  whether there can be another token
   * @param {boolean} [rules.inUrl]  whether the token stands in the URL
   * @param {Position | null} [rules.position]
   * @param {number} rules.bufferMax
   * @param {number} rules.timeoutMs  from a try to its hello
   * @param {() => number} random  from 0 to 1
   */
  constructor(rules, random) {
    this.#explicit = rules.explicit;
    this.#renewable = rules.renewable;
    this.#inUrl = rules.inUrl ?? false;
    this.#bufferMax = rules.bufferMax;
    this.#timeoutMs = rules.timeoutMs;
    this.#random = random;
    this.#position = rules.position ?? null;
    this.#epoch = rules.position?.epoch ?? null;
    this.#received = rules.position?.offset ?? null;
  }

  get state() {
    return this.#state;
  }

  get position() {
    return this.#position;
  }

  /** When `tick` has something to do. */
  get due() {
    switch (this.#state) {
      case "waiting":
        return this.#retryAt;
      case "connecting":
        return this.#deadline;
      case "open":
        return Math.min(
          this.#deadline,
          this.#pingAt,
          this.#answerBy,
          this.#isAsking ? Infinity : this.#renewAt,
          this.#ackAt,
        );
      default:
        return Infinity;
    }
  }

  /** @param {number} now @returns {Status} */
  status(now) {
    const isPlanned = this.#state === "waiting" && this.#retryAt < Infinity;
    return {
      state: this.#state,
      code: this.#code,
      reason: this.#reason,
      attempt: this.#attempt,
      retryInMs: isPlanned ? Math.max(0, Math.round(this.#retryAt - now)) : null,
      user: this.#user,
      head: this.#head,
    };
  }

  // What the user of the client wants.

  /** @param {number} now */
  connect(now) {
    if (this.#state === "idle") this.#try(now);
    return this.#done();
  }

  /** For good. @param {number} now */
  close(now) {
    if (this.#state === "open" && this.#ackAt < Infinity) this.#ack(now);
    this.#end(null, "closed by this client");
    return this.#done();
  }

  /** It cannot even be tried. @param {string} reason */
  refuse(reason) {
    this.#end(null, reason);
    return this.#done();
  }

  /**
   * The network is back, or somebody looks: what waits is tried, what is open is asked.
   * @param {number} now
   */
  nudge(now) {
    if (this.#state === "waiting" && this.#toldMs === 0 && this.#retryAt < Infinity) {
      this.#retryAt = Math.min(this.#retryAt, Math.max(now, this.#triedAt + RETRY_FIRST_MS));
      if (now >= this.#retryAt) this.#try(now);
    } else if (this.#state === "open" && now - this.#heardAt >= NUDGE_EVERY_MS) {
      if (this.#answerBy === Infinity) this.#ping(now, NUDGED_ANSWER_MS);
      else this.#answerBy = Math.min(this.#answerBy, now + NUDGED_ANSWER_MS);
    }
    return this.#done();
  }

  // What comes of asking for a token.

  /**
   * @param {number} id  of the `ask`
   * @param {unknown} token  null or undefined: there is none, and nobody to connect as
   * @param {number} now
   * @param {number} wallMs  Unix time
   */
  token(id, token, now, wallMs) {
    if (id !== this.#askId || this.#isOver) return [];
    if (typeof token !== "string" || token === "") {
      this.#end(null, token == null ? "there is no token" : "the token is not a string, or empty");
      return this.#done();
    }
    const life = this.#renewable ? lifeMs(token, wallMs) : null;
    this.#isAsking = false;
    const part = RENEW_FROM + RENEW_SPREAD * this.#random();
    this.#token = token;
    this.#renewFailures = 0;
    this.#renewAt = life === null ? Infinity : now + Math.max(RENEW_MIN_MS, life * part);
    if (this.#state === "connecting") this.#open(token);
    else if (this.#state === "open") this.#send({ type: "token", token });
    return this.#done();
  }

  /** @param {number} id @param {string} reason @param {number} now */
  tokenFailed(id, reason, now) {
    if (id !== this.#askId || this.#isOver) return [];
    this.#isAsking = false;
    if (this.#state === "connecting") {
      this.#fail(now, null, `no token: ${reason}`);
    } else if (this.#state === "open") {
      const waitMs = backoffMs(this.#renewFailures, this.#random());
      this.#renewFailures += 1;
      this.#renewAt = now + Math.max(RENEW_MIN_MS, waitMs);
    }
    return this.#done();
  }

  // What comes from the socket.

  opened() {
    if (this.#state === "connecting" && !this.#inUrl) {
      this.#send({ type: "token", token: this.#token });
    }
    return this.#done();
  }

  /** @param {number} code @param {string} reason @param {number} now */
  closed(code, reason, now) {
    if (!this.#isOnline) return [];
    if (code === TOKEN_EXPIRED) this.#token = null;
    if (!mayReconnect(code)) {
      this.#end(code, reason);
    } else if (code === TOKEN_EXPIRED && !this.#renewable) {
      this.#end(code, `${reason}; give a function as \`token\`, which is asked for another one`);
    } else {
      this.#fail(now, code, reason);
    }
    return this.#done();
  }

  /** What came cannot be read. @param {string} reason @param {number} now */
  garbled(reason, now) {
    if (this.#isOnline) this.#drop(now, reason);
    return this.#done();
  }

  /** @param {any} message @param {number} now */
  message(message, now) {
    if (!this.#isOnline) return [];
    this.#hear(now);
    if (typeof message?.type !== "string") {
      this.#drop(now, "what came is not a message of this protocol");
      return this.#done();
    }
    switch (message.type) {
      case "hello":
        this.#hello(message, now);
        break;
      case "goodbye":
        this.#goodbye(message, now);
        break;
      case "gap":
        this.#gap(message, now);
        break;
      case "reset":
        this.#reset(message);
        break;
      default: // An answer to a ping, or what a later gateway says, or an event.
        if (Number.isSafeInteger(message.offset)) this.#event(message, now);
    }
    return this.#done();
  }

  /**
   * An item has been dealt with: they are in the order in which they came.
   * @param {Item} item
   * @param {number} now
   */
  settled(item, now) {
    this.#pending -= 1;
    this.#positionLog = item.log;
    this.#place(item.position);
    const isOfThis = item.log === this.#log && item.kind !== "reset";
    if (this.#explicit && this.#state === "open" && isOfThis) {
      this.#ackAt = Math.min(this.#ackAt, this.#ackedAt + ACK_EVERY_MS);
      if (now >= this.#ackAt) this.#ack(now);
    }
    if (this.#isFull && this.#state === "waiting" && this.#pending <= this.#bufferMax / 2) {
      this.#isFull = false;
      this.#try(now);
    }
    return this.#done();
  }

  // What comes from the clock.

  /** @param {number} now */
  tick(now) {
    if (this.#state === "waiting") {
      if (now >= this.#retryAt) this.#try(now);
    } else if (this.#isOnline && now >= this.#deadline) {
      const late = `no hello within ${this.#timeoutMs} ms`;
      this.#drop(now, this.#isLeaving ? "the gateway said goodbye and did not close" : late);
    } else if (this.#state === "open") {
      this.#watch(now);
    }
    return this.#done();
  }

  /** @param {number} now */
  #watch(now) {
    if (now >= this.#answerBy) {
      if (now - this.#answerBy <= LATE_MS) {
        this.#drop(now, "nothing is heard from the gateway any more");
        return;
      }
      this.#ping(now, ANSWER_MS);
    }
    if (now >= this.#pingAt) this.#ping(now, ANSWER_MS);
    if (now >= this.#ackAt) this.#ack(now);
    if (now >= this.#renewAt && !this.#isAsking) this.#ask();
  }

  // Events.

  /** @param {Message} message @param {number} now */
  #event(message, now) {
    if (this.#received === null || this.#state !== "open") return;
    const { offset } = message;
    if (offset <= this.#received) {
      // It is pushed again because no acknowledgement came.
      if (this.#explicit && offset <= this.#dealt) {
        this.#ackAt = Math.min(this.#ackAt, Math.max(now, this.#ackedAt + ACK_EVERY_MS));
      }
    } else if (offset > this.#received + 1) {
      this.#drop(now, `after ${this.#received} came ${offset}`);
    } else if (this.#pending >= this.#bufferMax) {
      this.#overflow();
    } else {
      this.#received = offset;
      this.#deliver("event", message, offset);
    }
  }

  /** @param {Message} message @param {number} now */
  #gap({ from, to }, now) {
    if (this.#received === null || this.#state !== "open" || !(to > this.#received)) return;
    if (from > this.#received + 1) {
      this.#drop(now, `after ${this.#received} came a gap from ${from}`);
      return;
    }
    this.#received = to;
    this.#deliver("gap", { from, to }, to);
  }

  /** @param {Message} message */
  #reset({ epoch }) {
    this.#epoch = String(epoch);
    this.#received = 0;
    this.#log += 1;
    this.#ackAt = Infinity;
    this.#deliver("reset", { epoch: this.#epoch }, 0);
  }

  /** @param {Item["kind"]} kind @param {any} detail @param {number} offset */
  #deliver(kind, detail, offset) {
    const position = { epoch: this.#epoch, offset };
    this.#pending += 1;
    this.#do({ do: "deliver", item: { kind, detail, position, log: this.#log } });
  }

  /** The highest offset of this log that was dealt with. */
  get #dealt() {
    return this.#positionLog === this.#log ? (this.#position?.offset ?? 0) : 0;
  }

  #overflow() {
    this.#isFull = true;
    this.#do({ do: "drop", reason: "events come faster than they are dealt with" });
    this.#rest("waiting", null, `${this.#pending} events wait to be dealt with`);
  }

  /** @param {number} now */
  #ack(now) {
    this.#ackAt = Infinity;
    this.#ackedAt = now;
    if (this.#position !== null) this.#send({ type: "ack", offset: this.#position.offset });
  }

  /** @param {Position} position */
  #place(position) {
    this.#position = position;
    this.#do({ do: "position", position });
  }

  // What the gateway says of itself.

  /** @param {Message} hello @param {number} now */
  #hello(hello, now) {
    if (this.#state !== "connecting") return;
    if (typeof hello.epoch !== "string" || !Number.isSafeInteger(hello.cursor)) {
      this.#drop(now, "the hello lacks its epoch, or its cursor");
      return;
    }
    this.#user = hello.user;
    this.#head = hello.head;
    this.#silenceMs = (hello.ping_s > 0 ? hello.ping_s : PING_DEFAULT_S) * 1_000;
    this.#openedAt = now;
    this.#deadline = Infinity;
    this.#hear(now);
    this.#epoch ??= hello.epoch;
    this.#received ??= hello.cursor;
    this.#position ??= { offset: hello.cursor };
    if (this.#position.epoch == null) this.#place({ ...this.#position, epoch: hello.epoch });
    this.#state = "open";
    this.#code = this.#reason = null;
    this.#retryAt = Infinity;
    this.#do({ do: "tell" });
    // What was dealt with while there was no socket, or was said into one that was gone.
    const isSame = hello.epoch === this.#epoch && this.#dealt <= hello.head;
    if (this.#explicit && isSame && this.#dealt > hello.cursor) this.#ack(now);
  }

  /** @param {Message} goodbye @param {number} now */
  #goodbye({ reason, reconnect_ms }, now) {
    this.#toldMs = Math.min(TOLD_MAX_MS, Math.max(0, Number(reconnect_ms) || 0));
    this.#deadline = Math.min(this.#deadline, now + LEAVE_MS);
    this.#isLeaving = true;
    this.#do({ do: "goodbye", reason: String(reason), reconnectMs: this.#toldMs });
  }

  /** @param {number} now */
  #hear(now) {
    this.#heardAt = now;
    this.#answerBy = Infinity;
    this.#pingAt = now + this.#silenceMs * PING_PART;
  }

  /** @param {number} now @param {number} withinMs */
  #ping(now, withinMs) {
    this.#pingAt = Infinity;
    this.#answerBy = now + withinMs;
    this.#send({ type: "ping" });
  }

  // Tries.

  get #isOver() {
    return this.#state === "closed";
  }

  /** There is a socket. */
  get #isOnline() {
    return this.#state === "connecting" || this.#state === "open";
  }

  /** @param {number} now */
  #try(now) {
    this.#state = "connecting";
    this.#toldMs = 0;
    this.#isLeaving = false;
    this.#triedAt = now;
    this.#deadline = now + this.#timeoutMs;
    this.#do({ do: "tell" });
    if (this.#token !== null && now < this.#renewAt) this.#open(this.#token);
    else this.#ask();
  }

  #ask() {
    this.#askId += 1;
    this.#isAsking = true;
    this.#do({ do: "ask", id: this.#askId });
  }

  /** @param {string} token */
  #open(token) {
    /** @type {Record<string, string>} */
    const query = { ack: this.#explicit ? "explicit" : "auto" };
    if (this.#received !== null) query.after = String(this.#received);
    if (this.#received !== null && this.#epoch !== null) query.epoch = this.#epoch;
    if (this.#inUrl) query.token = token;
    this.#do({ do: "open", query });
  }

  /** @param {number} now @param {string} reason */
  #drop(now, reason) {
    this.#do({ do: "drop", reason });
    this.#fail(now, null, reason);
  }

  /** @param {number} now @param {number | null} code @param {string} reason */
  #fail(now, code, reason) {
    if (now - this.#openedAt >= GOOD_MS) this.#attempt = 0; // Infinity when it was not open
    const waitMs = Math.max(this.#toldMs, backoffMs(this.#attempt, this.#random()));
    this.#attempt += 1;
    this.#rest("waiting", code, reason, now + waitMs);
  }

  /** @param {number | null} code @param {string} reason */
  #end(code, reason) {
    if (this.#isOver) return;
    if (this.#state !== "idle") this.#do({ do: "drop", reason });
    this.#rest("closed", code, reason);
  }

  /** @param {State} state @param {number | null} code @param {string} reason */
  #rest(state, code, reason, retryAt = Infinity) {
    this.#state = state;
    this.#code = code;
    this.#reason = reason;
    this.#retryAt = retryAt;
    this.#openedAt = this.#deadline = this.#pingAt = this.#answerBy = this.#ackAt = Infinity;
    this.#ackedAt = -Infinity;
    this.#askId += 1; // what was asked for does not count any more
    this.#isAsking = false;
    this.#do({ do: "tell" });
  }

  // Collecting.

  /** @param {Action} action */
  #do(action) {
    this.#actions.push(action);
  }

  /** @param {Message} message */
  #send(message) {
    this.#do({ do: "send", message });
  }

  #done() {
    const actions = this.#actions;
    this.#actions = [];
    return actions;
  }
}

/** Why a client that was not closed by its owner has ended for good. */
export class MomentsClosed extends Error {
  /** @param {number | null} code  of the gateway, if it was that @param {string} reason */
  constructor(code, reason) {
    super(code === null ? reason : `${reason} (${code})`);
    this.name = "MomentsClosed";
    this.code = code;
    this.reason = reason;
  }
}

/** @type {Codec} */
const json = {
  subprotocol: "moments.v1.json",
  encode: (message) => JSON.stringify(message),
  decode: (data) => JSON.parse(data),
};

/**
 * @typedef {object} Options
 * @property {string | URL} url  of the gateway: `wss://…`, or `https://…`; without a path that of
 *   the sockets is added
 * @property {string | null | (() => string | null | Promise<string | null>)} token  a user token,
 *   or a function that is asked for one whenever one is needed; null from it means that nobody is
 *   signed in, and closes the client
 * @property {"auto" | "explicit"} [ack]  when an event counts as delivered: once it has been sent
 *   here (auto, the default), or once it has been dealt with
 * @property {(event: Moment) => unknown} [handle]  deals with one event; the next one comes when
 *   what it returns has settled. When it fails, the same event comes again, later
 * @property {Position | null} [position]  where to go on; without it where the user's cursor is
 * @property {(position: Position) => unknown} [onPosition]  is told how far all has been dealt with
 * @property {Codec} [codec]  JSON, unless it is the one of `msgpack.js`
 * @property {"message" | "url"} [tokenIn]  where the token stands; as a message it is in no log
 * @property {number} [bufferMax]  events held that wait to be dealt with; 1,000
 * @property {number} [connectTimeoutMs]  from a try to its hello; 15,000
 * @property {any} [WebSocket]  a constructor, where there is none (Node before 22): that of `ws`
 */

/**
 * @typedef {object} MomentsEvents  What is told, as `CustomEvent`s with these as their `detail`.
 * @property {CustomEvent<Moment>} event  an event, in its turn
 * @property {CustomEvent<{ from: number, to: number }>} gap  these offsets are kept no more
 * @property {CustomEvent<{ epoch: string }>} reset  the log has begun anew, with offset 1
 * @property {CustomEvent<Status>} state  the client has come to another state
 * @property {CustomEvent<{ reason: string, reconnectMs: number }>} goodbye  the gateway closes
 * @property {CustomEvent<{ error: unknown, during: "handle" | "token" | "position" }>} error  what
 *   was given to the client has failed. It is also written to the console, unless prevented
 */

/** A client of one user's socket. `connect` starts it, or `for await`. */
export class MomentsClient extends EventTarget {
  #protocol;
  #url;
  #token;
  #handle;
  #onPosition;
  #codec;
  #WebSocket;
  /** @type {WebSocket | null} */
  #socket = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #timerAt = Infinity;
  /** @type {Action[]} */
  #actions = [];
  #isActing = false;
  /** @type {State} */
  #told = "idle";

  /** @type {Item[]} */
  #items = []; // in their turn; the first one is being dealt with
  /** @type {Item | null} */
  #shown = null;
  #isDealing = false;
  #isIterated = false; // then nothing is dealt with until an iterator asks for it
  #isRead = false; // by an iterator
  #ending = new AbortController();
  #isClosedHere = false;
  /** @type {(() => void)[]} */
  #waking = [];
  /** @param {Event} event */
  #nudge = (event) => {
    if (event.type === "visibilitychange" && document.visibilityState === "hidden") return;
    this.#act(this.#protocol.nudge(clock()));
  };

  /** @param {Options} options */
  constructor(options) {
    super();
    const { token, handle, position = null, onPosition, codec = json, ack = "auto" } = options;
    const { tokenIn = "message", bufferMax = 1_000, connectTimeoutMs = 15_000 } = options;
    check(ack === "auto" || ack === "explicit", "`ack` is auto or explicit");
    check(tokenIn === "message" || tokenIn === "url", "`tokenIn` is message or url");
    check(bufferMax >= 1, "`bufferMax` is a number from 1 on");
    check(connectTimeoutMs > 0, "`connectTimeoutMs` is a number of milliseconds");
    check(isPosition(position), "`position` is null, or has an `offset` and an `epoch`");
    this.#url = socketUrl(options.url);
    this.#token = token;
    this.#handle = handle;
    this.#onPosition = onPosition;
    this.#codec = codec;
    this.#WebSocket = options.WebSocket ?? globalThis.WebSocket;
    check(
      this.#WebSocket !== undefined,
      "there is no WebSocket here (Node before 22): install the package `ws`, and give the client" +
        " its constructor: import { WebSocket } from \"ws\"; new MomentsClient({ WebSocket, … })",
    );
    const rules = {
      explicit: ack === "explicit",
      renewable: typeof token === "function",
      inUrl: tokenIn === "url",
      timeoutMs: connectTimeoutMs,
      bufferMax,
      position,
    };
    this.#protocol = new Protocol(rules, Math.random);
  }

  /** Where the client is, and when it tries again. */
  get status() {
    return this.#protocol.status(clock());
  }

  /** Up to here all has been dealt with; null before that is known. Keep it to go on from there. */
  get position() {
    return this.#protocol.position;
  }

  /** Starts, unless that was done. Throws once the client is closed. */
  connect() {
    const { state, code, reason } = this.status;
    if (state === "closed") throw new MomentsClosed(code, reason ?? "");
    if (state === "idle") this.#listen(true);
    this.#act(this.#protocol.connect(clock()));
  }

  /** Ends it, for good. What waits to be dealt with is dropped. */
  close() {
    this.#isClosedHere = true;
    this.#items.length = 0;
    this.#act(this.#protocol.close(clock()));
  }

  /**
   * @template {keyof MomentsEvents} K
   * @overload
   * @param {K} type
   * @param {((event: MomentsEvents[K]) => void) | null} listener
   * @param {boolean | AddEventListenerOptions} [options]
   * @returns {void}
   */
  /**
   * @overload
   * @param {string} type
   * @param {EventListenerOrEventListenerObject | null} listener
   * @param {boolean | AddEventListenerOptions} [options]
   * @returns {void}
   */
  /**
   * @param {string} type
   * @param {any} listener
   * @param {boolean | AddEventListenerOptions} [options]
   */
  addEventListener(type, listener, options) {
    super.addEventListener(type, listener, options);
  }

  /**
   * The events, each dealt with once the next one is asked for. Who leaves in the middle of one
   * gets it again. It ends when the client is closed, with `MomentsClosed` when not closed here.
   * @returns {AsyncIterator<Moment, void, void>}
   */
  [Symbol.asyncIterator]() {
    check(this.#handle === undefined, "events go to `handle`, and cannot be iterated over as well");
    check(!this.#isRead, "somebody iterates over these events already");
    this.#isIterated = this.#isRead = true;
    if (this.#protocol.state === "idle") this.connect();
    let isDone = false;
    /** @type {Item | null} */
    let given = null;
    const step = async () => {
      if (given !== null) this.#settle(given);
      given = null;
      try {
        if (!isDone) given = await this.#nextEvent();
      } finally {
        if (given === null) end();
      }
      return { value: given?.detail, done: isDone };
    };
    const end = () => {
      isDone = true;
      given = null;
      this.#isRead = false;
    };
    let last = Promise.resolve(/** @type {any} */ (null));
    return {
      next: () => (last = last.then(step, step)),
      return: async () => {
        end();
        return { value: undefined, done: true };
      },
    };
  }

  // Doing what the protocol says.

  /** @param {Action[]} actions */
  #act(actions) {
    this.#actions.push(...actions);
    if (this.#isActing) return; // a listener called back: in their order
    this.#isActing = true;
    try {
      for (let action; (action = this.#actions.shift()); ) this.#do(action);
    } finally {
      this.#isActing = false;
    }
    this.#arm();
  }

  /** @param {Action} action */
  #do(action) {
    switch (action.do) {
      case "ask":
        this.#ask(action.id);
        break;
      case "open":
        this.#open(action.query);
        break;
      case "send":
        this.#socket?.send(this.#codec.encode(action.message));
        break;
      case "drop":
        this.#drop(action.reason);
        break;
      case "deliver":
        this.#items.push(action.item);
        this.#wake();
        break;
      case "goodbye":
        this.#tell("goodbye", { reason: action.reason, reconnectMs: action.reconnectMs });
        break;
      case "position":
        this.#place(action.position);
        break;
      case "tell":
        this.#tellState();
    }
  }

  /** @param {number} id */
  async #ask(id) {
    let token;
    try {
      token = typeof this.#token === "function" ? await this.#token() : this.#token;
    } catch (error) {
      this.#warn("token", error);
      this.#act(this.#protocol.tokenFailed(id, words(error), clock()));
      return;
    }
    this.#act(this.#protocol.token(id, token, clock(), Date.now()));
  }

  /** @param {Record<string, string>} query */
  #open(query) {
    const url = new URL(this.#url);
    for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value);
    let socket;
    try {
      socket = new this.#WebSocket(url.href, [this.#codec.subprotocol]);
    } catch (error) {
      this.#actions.push(...this.#protocol.refuse(words(error)));
      return;
    }
    let trouble = "";
    this.#socket = socket;
    socket.binaryType = "arraybuffer";
    socket.onopen = () => this.#act(this.#protocol.opened());
    socket.onmessage = (/** @type {MessageEvent} */ { data }) => this.#receive(data);
    socket.onerror = (/** @type {any} */ event) => {
      trouble = event.message ?? "";
    };
    socket.onclose = (/** @type {CloseEvent} */ { code, reason }) => {
      this.#socket = null;
      const why = reason || trouble || "the connection was lost, or could not be made";
      this.#act(this.#protocol.closed(code, why, clock()));
    };
  }

  /** @param {any} data */
  #receive(data) {
    let message;
    try {
      message = this.#codec.decode(data);
    } catch (error) {
      this.#act(this.#protocol.garbled(`what came cannot be read: ${words(error)}`, clock()));
      return;
    }
    this.#act(this.#protocol.message(message, clock()));
  }

  /**
   * Closing may take long when nobody answers, so that nothing waits for it.
   * @param {string} reason
   */
  #drop(reason) {
    const socket = this.#socket;
    if (socket === null) return;
    this.#socket = null;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.onerror = () => {}; // of a socket that is given up; `ws` throws what nobody hears
    socket.close(1000, reason.slice(0, REASON_CHARS_MAX));
  }

  #arm() {
    const { due } = this.#protocol;
    if (due >= this.#timerAt) return; // one that comes too early does nothing but arm the next
    clearTimeout(this.#timer);
    this.#timerAt = due;
    const waitMs = Math.min(Math.max(0, Math.ceil(due - clock())), TIMER_MAX_MS);
    this.#timer = setTimeout(() => {
      this.#timerAt = Infinity;
      this.#act(this.#protocol.tick(clock()));
    }, waitMs);
  }

  #tellState() {
    const { status } = this;
    this.#told = status.state;
    this.#tell("state", status);
    if (status.state !== "closed") return;
    this.#listen(false);
    clearTimeout(this.#timer);
    this.#timerAt = -Infinity; // never again
    this.#ending.abort();
    this.#wake();
  }

  // Dealing with what comes, one after the other.

  #wake() {
    for (const wake of this.#waking.splice(0)) wake();
    if (!this.#isIterated && !this.#isDealing) this.#deal();
  }

  async #deal() {
    this.#isDealing = true;
    let failures = 0;
    for (let item; (item = this.#items[0]) && !this.#isIterated; ) {
      this.#show(item);
      if (item.kind === "event" && this.#handle !== undefined) {
        try {
          await this.#handle(item.detail);
        } catch (error) {
          this.#warn("handle", error);
          if (this.#told === "closed") break;
          await this.#pause(backoffMs(failures++, Math.random()));
          continue;
        }
      }
      failures = 0;
      this.#settle(item);
    }
    this.#isDealing = false;
  }

  /** The next event to be given out, once there is one; null when the client was closed here. */
  async #nextEvent() {
    while (true) {
      const item = this.#items[0];
      if (item?.kind === "event") {
        this.#show(item);
        return item;
      } else if (item) {
        this.#show(item);
        this.#settle(item);
      } else if (this.#isClosedHere) {
        return null;
      } else if (this.#told === "closed") {
        throw new MomentsClosed(this.status.code, this.status.reason ?? "");
      } else {
        await new Promise((wake) => this.#waking.push(/** @type {() => void} */ (wake)));
      }
    }
  }

  /** Tells listeners of it, once. @param {Item} item */
  #show(item) {
    if (this.#shown === item) return;
    this.#shown = item;
    this.#tell(item.kind, item.detail);
  }

  /** @param {Item} item */
  #settle(item) {
    if (this.#items[0] === item) this.#items.shift();
    this.#act(this.#protocol.settled(item, clock()));
  }

  /** @param {number} ms */
  #pause(ms) {
    return new Promise((resolve) => {
      const { signal } = this.#ending;
      const done = () => {
        clearTimeout(timer);
        signal.removeEventListener("abort", done);
        resolve(undefined);
      };
      const timer = setTimeout(done, ms);
      signal.addEventListener("abort", done);
    });
  }

  /** Nothing waits for it: the next position says more than this one. @param {Position} position */
  async #place(position) {
    try {
      await this.#onPosition?.(position);
    } catch (error) {
      this.#warn("position", error);
    }
  }

  // Telling.

  /** @param {keyof MomentsEvents} type @param {any} detail */
  #tell(type, detail, cancelable = false) {
    return this.dispatchEvent(new CustomEvent(type, { detail, cancelable }));
  }

  /** @param {"handle" | "token" | "position"} during @param {unknown} error */
  #warn(during, error) {
    if (this.#tell("error", { error, during }, true)) {
      console.error(`moments: \`${during}\` failed:`, error);
    }
  }

  /** In a page: whoever comes back to it, or online, does not wait. @param {boolean} on */
  #listen(on) {
    const page = typeof document === "undefined" ? null : document;
    if (typeof globalThis.addEventListener !== "function") return;
    const name = on ? "addEventListener" : "removeEventListener";
    for (const type of ["online", "offline", "pageshow"]) globalThis[name](type, this.#nudge);
    page?.[name]("visibilitychange", this.#nudge);
  }
}

const TIMER_MAX_MS = 2 ** 31 - 1;
const REASON_CHARS_MAX = 123 / 3; // RFC 6455, 5.5: 123 bytes, in UTF-8
const PATH = "/v1/socket";

/** Milliseconds, and never back. */
function clock() {
  return performance.now();
}

/** @param {unknown} error */
function words(error) {
  return error instanceof Error ? error.message : String(error);
}

/** @param {boolean} holds @param {string} otherwise @returns {asserts holds} */
function check(holds, otherwise) {
  if (!holds) throw new TypeError(`moments: ${otherwise}`);
}

/** @param {Position | null} position */
function isPosition(position) {
  if (position === null) return true;
  const { offset, epoch = null } = position;
  if (epoch !== null && typeof epoch !== "string") return false;
  return Number.isSafeInteger(offset) && offset >= 0;
}

/** @param {string | URL} given */
function socketUrl(given) {
  const url = new URL(given, globalThis.location?.href);
  url.protocol = url.protocol.replace(/^http/, "ws");
  check(/^wss?:$/.test(url.protocol), "`url` begins with wss:, ws:, https: or http:");
  if (url.pathname === "/") url.pathname = PATH;
  url.hash = "";
  return url;
}
