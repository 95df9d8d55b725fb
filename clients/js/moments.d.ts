/**
 * Whether to connect again after a socket was closed with this code.
 * @param {number} code
 */
export function mayReconnect(code: number): boolean;
/**
 * Full jitter: anything from 0 to a bound that doubles with each failure, 500 ms to 20 s.
 * @param {number} failures  in a row, before this one
 * @param {number} chance  from 0 to 1
 */
export function backoffMs(failures: number, chance: number): number;
/**
 * For how long a token holds; null when that cannot be read from it.
 * @param {string} token  a JWT
 * @param {number} wallMs  the time, in Unix milliseconds
 */
export function lifeMs(token: string, wallMs: number): number | null;
/** All rules of a client. Each call returns what is to be done; times are ms of one clock. */
export class Protocol {
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
    constructor(rules: {
        explicit: boolean;
        renewable: boolean;
        inUrl?: boolean | undefined;
        position?: Position | null | undefined;
        bufferMax: number;
        timeoutMs: number;
    }, random: () => number);
    get state(): State;
    get position(): Position | null;
    /** When `tick` has something to do. */
    get due(): number;
    /** @param {number} now @returns {Status} */
    status(now: number): Status;
    /** @param {number} now */
    connect(now: number): Action[];
    /** For good. @param {number} now */
    close(now: number): Action[];
    /** It cannot even be tried. @param {string} reason */
    refuse(reason: string): Action[];
    /**
     * The network is back, or somebody looks: what waits is tried, what is open is asked.
     * @param {number} now
     */
    nudge(now: number): Action[];
    /**
     * @param {number} id  of the `ask`
     * @param {unknown} token  null or undefined: there is none, and nobody to connect as
     * @param {number} now
     * @param {number} wallMs  Unix time
     */
    token(id: number, token: unknown, now: number, wallMs: number): Action[];
    /** @param {number} id @param {string} reason @param {number} now */
    tokenFailed(id: number, reason: string, now: number): Action[];
    opened(): Action[];
    /** @param {number} code @param {string} reason @param {number} now */
    closed(code: number, reason: string, now: number): Action[];
    /** What came cannot be read. @param {string} reason @param {number} now */
    garbled(reason: string, now: number): Action[];
    /** @param {any} message @param {number} now */
    message(message: any, now: number): Action[];
    /**
     * An item has been dealt with: they are in the order in which they came.
     * @param {Item} item
     * @param {number} now
     */
    settled(item: Item, now: number): Action[];
    /** @param {number} now */
    tick(now: number): Action[];
    #private;
}
/** Why a client that was not closed by its owner has ended for good. */
export class MomentsClosed extends Error {
    /** @param {number | null} code  of the gateway, if it was that @param {string} reason */
    constructor(code: number | null, reason: string);
    code: number | null;
    reason: string;
}
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
    /** @param {Options} options */
    constructor(options: Options);
    /** Where the client is, and when it tries again. */
    get status(): Status;
    /** Up to here all has been dealt with; null before that is known. Keep it to go on from there. */
    get position(): Position | null;
    /** Starts, unless that was done. Throws once the client is closed. */
    connect(): void;
    /** Ends it, for good. What waits to be dealt with is dropped. */
    close(): void;
    /**
     * @template {keyof MomentsEvents} K
     * @overload
     * @param {K} type
     * @param {((event: MomentsEvents[K]) => void) | null} listener
     * @param {boolean | AddEventListenerOptions} [options]
     * @returns {void}
     */
    addEventListener<K extends keyof MomentsEvents>(type: K, listener: ((event: MomentsEvents[K]) => void) | null, options?: boolean | AddEventListenerOptions | undefined): void;
    /**
     * @overload
     * @param {string} type
     * @param {EventListenerOrEventListenerObject | null} listener
     * @param {boolean | AddEventListenerOptions} [options]
     * @returns {void}
     */
    addEventListener(type: string, listener: EventListenerOrEventListenerObject | null, options?: boolean | AddEventListenerOptions | undefined): void;
    /**
     * The events, each dealt with once the next one is asked for. Who leaves in the middle of one
     * gets it again. It ends when the client is closed, with `MomentsClosed` when not closed here.
     * @returns {AsyncIterator<Moment, void, void>}
     */
    [Symbol.asyncIterator](): AsyncIterator<Moment, void, void>;
    #private;
}
/**
 * A place in a user's log.
 */
export type Position = {
    epoch?: string | null;
    offset: number;
};
export type Post = {
    id: string;
    author?: string | undefined;
    type?: string | undefined;
    version?: number | undefined;
    /**
     * RFC 3339
     */
    created_at?: string | undefined;
    /**
     * what the author posted; null when it is deleted
     */
    data?: any;
    deleted?: boolean | undefined;
    /**
     * it is not kept any more, and only its id is left
     */
    expired?: boolean | undefined;
};
/**
 * One event, `post.created`, …
 */
export type Moment = {
    type: string;
    offset: number;
    post: Post;
};
export type State = "idle" | "connecting" | "open" | "waiting" | "closed";
export type Status = {
    state: State;
    /**
     * why it is waiting or closed: the code of the gateway, if any
     */
    code: number | null;
    /**
     * the same in words
     */
    reason: string | null;
    /**
     * tries in a row that have failed
     */
    attempt: number;
    /**
     * until the next try; null when none is planned
     */
    retryInMs: number | null;
    /**
     * whose socket it is, once that is known
     */
    user: string | null;
    /**
     * newest offset of the log when the socket was opened
     */
    head: number | null;
};
export type Message = Record<string, any>;
/**
 * How messages travel: JSON, or what `msgpack.js` gives.
 */
export type Codec = {
    subprotocol: string;
    encode: (message: Message) => string | Uint8Array<ArrayBuffer>;
    /**
     * throws on what it cannot read
     */
    decode: (data: any) => any;
};
/**
 * What is dealt with in its turn.
 */
export type Item = {
    kind: "event" | "gap" | "reset";
    detail: any;
    /**
     * where the client is when this has been dealt with
     */
    position: Position;
    /**
     * which of the logs it is of, counted from 0
     */
    log: number;
};
export type Action = {
    do: "ask";
    id: number;
} | {
    do: "open";
    query: Record<string, string>;
} | {
    do: "send";
    message: Message;
} | {
    do: "drop";
    reason: string;
} | {
    do: "deliver";
    item: Item;
} | {
    do: "goodbye";
    reason: string;
    reconnectMs: number;
} | {
    do: "position";
    position: Position;
} | {
    do: "tell";
};
export type Options = {
    /**
     * of the gateway: `wss://…`, or `https://…`; without a path that of
     * the sockets is added
     */
    url: string | URL;
    /**
     * a user token,
     * or a function that is asked for one whenever one is needed; null from it means that nobody is
     * signed in, and closes the client
     */
    token: string | null | (() => string | null | Promise<string | null>);
    /**
     * when an event counts as delivered: once it has been sent
     * here (auto, the default), or once it has been dealt with
     */
    ack?: "explicit" | "auto" | undefined;
    /**
     * deals with one event; the next one comes when
     * what it returns has settled. When it fails, the same event comes again, later
     */
    handle?: ((event: Moment) => unknown) | undefined;
    /**
     * where to go on; without it where the user's cursor is
     */
    position?: Position | null | undefined;
    /**
     * is told how far all has been dealt with
     */
    onPosition?: ((position: Position) => unknown) | undefined;
    /**
     * JSON, unless it is the one of `msgpack.js`
     */
    codec?: Codec | undefined;
    /**
     * where the token stands; as a message it is in no log
     */
    tokenIn?: "message" | "url" | undefined;
    /**
     * events held that wait to be dealt with; 1,000
     */
    bufferMax?: number | undefined;
    /**
     * from a try to its hello; 15,000
     */
    connectTimeoutMs?: number | undefined;
    /**
     * a constructor, where there is none (Node before 22): that of `ws`
     */
    WebSocket?: any;
};
/**
 * What is told, as `CustomEvent`s with these as their `detail`.
 */
export type MomentsEvents = {
    /**
     * an event, in its turn
     */
    event: CustomEvent<Moment>;
    /**
     * these offsets are kept no more
     */
    gap: CustomEvent<{
        from: number;
        to: number;
    }>;
    /**
     * the log has begun anew, with offset 1
     */
    reset: CustomEvent<{
        epoch: string;
    }>;
    /**
     * the client has come to another state
     */
    state: CustomEvent<Status>;
    /**
     * the gateway closes
     */
    goodbye: CustomEvent<{
        reason: string;
        reconnectMs: number;
    }>;
    /**
     * what
     * was given to the client has failed. It is also written to the console, unless prevented
     */
    error: CustomEvent<{
        error: unknown;
        during: "handle" | "token" | "position";
    }>;
};
