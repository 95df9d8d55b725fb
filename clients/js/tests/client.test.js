// The client on a WebSocket that is none: what is dealt with when, and what is told.

import assert from "node:assert/strict";
import { suite, test } from "node:test";

import { MomentsClient, MomentsClosed } from "../moments.js";

const HELLO = { type: "hello", user: "bob", epoch: "e1", head: 9, cursor: 0, ping_s: 25 };

const event = (offset) => ({ type: "post.created", offset, post: { id: `p${offset}` } });

/** Lets everything happen that does not wait for a timer. */
const calm = () => new Promise((done) => setImmediate(done));

class Socket {
  static made = [];
  sent = [];
  closed = null;

  constructor(url, protocols) {
    this.url = url;
    this.protocols = protocols;
    Socket.made.push(this);
  }

  send(data) {
    this.sent.push(JSON.parse(data));
  }

  close(code, reason) {
    this.closed = { code, reason };
  }

  say(...messages) {
    for (const message of messages) this.onmessage?.({ data: JSON.stringify(message) });
  }

  greet() {
    this.onopen();
    this.say(HELLO);
  }
}

function make(options = {}) {
  Socket.made = [];
  return new MomentsClient({ url: "ws://gate", token: "t", WebSocket: Socket, ...options });
}

/** An open client with its socket. */
async function opened(options) {
  const client = make(options);
  client.connect();
  await calm();
  const [socket] = Socket.made;
  socket.greet();
  return { client, socket };
}

function heard(client, ...types) {
  const all = [];
  for (const type of types) {
    client.addEventListener(type, ({ detail }) => {
      all.push([type, detail.state ?? detail.offset ?? detail]);
    });
  }
  return all;
}

/** A promise, and what settles it. */
function open() {
  let settle = {};
  const promise = new Promise((resolve, reject) => (settle = { resolve, reject }));
  return { promise, ...settle };
}

suite("making one", () => {
  test("the URL is that of the sockets, whatever it was given as", async () => {
    const cases = {
      "wss://gate.example": "wss://gate.example/v1/socket?ack=auto",
      "https://gate.example/": "wss://gate.example/v1/socket?ack=auto",
      "http://127.0.0.1:8001": "ws://127.0.0.1:8001/v1/socket?ack=auto",
      "ws://proxy/moments/socket?region=eu#x": "ws://proxy/moments/socket?region=eu&ack=auto",
    };
    for (const [url, expected] of Object.entries(cases)) {
      const client = make({ url });
      client.connect();
      await calm();
      assert.equal(Socket.made[0].url, expected);
      assert.deepEqual(Socket.made[0].protocols, ["moments.v1.json"]);
      client.close();
    }
  });

  test("mistakes are told at once, with what to do", () => {
    const cases = [
      [{ url: "ftp://gate" }, /`url` begins with wss:/],
      [{ ack: "sometimes" }, /`ack` is auto or explicit/],
      [{ tokenIn: "cookie" }, /`tokenIn` is message or url/],
      [{ bufferMax: 0 }, /`bufferMax`/],
      [{ connectTimeoutMs: -1 }, /`connectTimeoutMs`/],
      [{ position: { offset: -1 } }, /`position`/],
      [{ position: { offset: 3, epoch: 4 } }, /`position`/],
      [{ position: {} }, /`position`/],
    ];
    for (const [options, message] of cases) assert.throws(() => make(options), message);
  });

  test("without a WebSocket it says where to get one", () => {
    const kept = globalThis.WebSocket;
    globalThis.WebSocket = undefined;
    try {
      assert.throws(() => make({ WebSocket: undefined }), /install the package `ws`/);
    } finally {
      globalThis.WebSocket = kept;
    }
  });

  test("a socket that cannot even be made ends it", async () => {
    class Refused {
      constructor() {
        throw new Error("not from a page of https");
      }
    }
    const client = make({ WebSocket: Refused });
    client.connect();
    await calm();
    assert.equal(client.status.state, "closed");
    assert.equal(client.status.reason, "not from a page of https");
    assert.throws(() => client.connect(), MomentsClosed);
  });
});

suite("dealing with events", () => {
  test("handlers are waited for, one after the other", async () => {
    const begun = [];
    const works = [open(), open()];
    const handle = ({ offset }) => (begun.push(offset), works[offset - 1].promise);
    const { client, socket } = await opened({ handle, ack: "explicit" });
    socket.say(event(1), event(2));
    await calm();
    assert.deepEqual(begun, [1]);
    assert.equal(client.position.offset, 0);
    works[0].resolve();
    await calm();
    assert.deepEqual(begun, [1, 2]);
    assert.equal(client.position.offset, 1);
    assert.deepEqual(socket.sent.slice(1), [{ type: "ack", offset: 1 }]);
    client.close();
  });

  test("one that fails gets the same event again, and nothing passes it", async (t) => {
    t.mock.method(Math, "random", () => 0);
    const begun = [];
    const handle = async ({ offset }) => {
      begun.push(offset);
      if (begun.length < 3) throw new Error("no disk");
    };
    const { client, socket } = await opened({ handle });
    const errors = [];
    client.addEventListener("error", (told) => {
      told.preventDefault();
      errors.push(told.detail);
    });
    const shown = heard(client, "event");
    socket.say(event(1), event(2));
    while (client.position.offset < 2) await calm();
    assert.deepEqual(begun, [1, 1, 1, 2]);
    assert.deepEqual(shown, [["event", 1], ["event", 2]]); // listeners are told once
    assert.deepEqual(errors.map((one) => [one.during, one.error.message]),
      [["handle", "no disk"], ["handle", "no disk"]]);
    client.close();
  });

  test("what fails is written to the console, unless a listener prevents that", async (t) => {
    const write = t.mock.method(console, "error", () => {});
    for (const isDealtWith of [false, true]) {
      const onPosition = () => {
        throw new Error("full");
      };
      const client = make({ onPosition });
      if (isDealtWith) client.addEventListener("error", (told) => told.preventDefault());
      client.connect();
      await calm();
      Socket.made[0].greet();
      client.close();
    }
    assert.equal(write.mock.callCount(), 1);
    assert.deepEqual(write.mock.calls[0].arguments[0], "moments: `position` failed:");
  });

  test("a position that cannot be kept, as a promise tells later, is told of as well", async () => {
    const client = make({ onPosition: async () => Promise.reject(new Error("disk full")) });
    const errors = [];
    client.addEventListener("error", (told) => {
      told.preventDefault();
      errors.push([told.detail.during, told.detail.error.message]);
    });
    client.connect();
    await calm();
    Socket.made[0].greet();
    await calm();
    assert.deepEqual(errors, [["position", "disk full"]]);
    client.close();
  });

  test("listeners hear everything in its turn, the position behind it", async () => {
    const order = [];
    const client = make({ onPosition: ({ epoch, offset }) => order.push(`${epoch} ${offset}`) });
    for (const type of ["event", "gap", "reset"]) {
      client.addEventListener(type, () => order.push(type));
    }
    client.connect();
    await calm();
    Socket.made[0].greet();
    Socket.made[0].say(event(1), { type: "gap", from: 2, to: 4 }, { type: "reset", epoch: "e2" });
    Socket.made[0].say(event(1));
    assert.deepEqual(order,
      ["e1 0", "event", "e1 1", "gap", "e1 4", "reset", "e2 0", "event", "e2 1"]);
    client.close();
  });

  test("after close nothing is dealt with any more, but what was begun counts", async () => {
    const work = open();
    const begun = [];
    const handle = ({ offset }) => (begun.push(offset), work.promise);
    const { client, socket } = await opened({ handle });
    socket.say(event(1), event(2));
    client.close();
    assert.equal(socket.closed.code, 1000);
    work.resolve();
    await calm();
    assert.deepEqual(begun, [1]);
    assert.equal(client.position.offset, 1);
    assert.equal(client.status.state, "closed");
  });

  test("a listener may close it in the middle of everything", async () => {
    const { client, socket } = await opened();
    const states = heard(client, "state", "event");
    client.addEventListener("event", () => client.close());
    socket.say(event(1), event(2));
    assert.deepEqual(states, [["event", 1], ["state", "closed"]]);
    assert.equal(client.position.offset, 1);
  });

  test("what cannot be read makes it come back", async () => {
    const { client, socket } = await opened();
    socket.onmessage({ data: "{" });
    assert.equal(client.status.state, "waiting");
    assert.match(client.status.reason, /what came cannot be read/);
    assert.equal(socket.closed.code, 1000);
    client.close();
  });

  test("why it leaves is told in as many bytes as a close frame has room for", async () => {
    const { client, socket } = await opened();
    socket.onmessage({ data: `€${"€".repeat(200)}` });
    const bytes = new TextEncoder().encode(socket.closed.reason).length;
    assert.ok(bytes > 0 && bytes <= 123, String(bytes));
    client.close();
  });

  test("a function that gives no token is told of, and asked again", async (t) => {
    t.mock.method(Math, "random", () => 0);
    let asked = 0;
    const token = async () => {
      asked += 1;
      if (asked === 1) throw new Error("no network");
      return "t";
    };
    const client = make({ token });
    const errors = [];
    client.addEventListener("error", (told) => {
      told.preventDefault();
      errors.push([told.detail.during, told.detail.error.message]);
    });
    client.connect();
    while (Socket.made.length === 0) await calm();
    assert.deepEqual([asked, errors], [2, [["token", "no network"]]]);
    client.close();
  });

  test("a socket that was given up is not listened to any more", async () => {
    const { client, socket } = await opened();
    socket.say(event(2)); // a hole
    assert.equal(client.status.state, "waiting");
    assert.deepEqual([socket.onopen, socket.onmessage, socket.onclose], [null, null, null]);
    socket.onerror(new Error("nobody hears this"));
    client.close();
  });
});

suite("iterating", () => {
  test("an event is dealt with when the next one is asked for", async () => {
    const client = make({ ack: "explicit" });
    const events = client[Symbol.asyncIterator]();
    const first = events.next();
    await calm();
    const [socket] = Socket.made;
    socket.greet();
    socket.say(event(1), event(2), { type: "gap", from: 3, to: 4 }, event(5));
    const told = heard(client, "gap");
    assert.equal((await first).value.offset, 1);
    assert.equal(client.position.offset, 0);
    assert.equal((await events.next()).value.offset, 2);
    assert.equal(client.position.offset, 1);
    assert.deepEqual(told, []);
    assert.equal((await events.next()).value.offset, 5);
    assert.deepEqual(told, [["gap", { from: 3, to: 4 }]]);
    assert.equal(client.position.offset, 4);
    client.close();
    const end = { value: undefined, done: true };
    assert.deepEqual(await events.next(), end);
    assert.equal(client.position.offset, 5);
    assert.deepEqual(await client[Symbol.asyncIterator]().next(), end);
  });

  test("who leaves in the middle gets that event again", async () => {
    const client = make();
    const seen = [];
    setImmediate(() => {
      Socket.made[0].greet();
      Socket.made[0].say(event(1), event(2), event(3));
    });
    for await (const { offset } of client) {
      seen.push(offset);
      if (offset === 2) break;
    }
    await calm();
    assert.equal(client.position.offset, 1);
    for await (const { offset } of client) {
      seen.push(offset);
      if (offset === 3) client.close();
    }
    assert.deepEqual(seen, [1, 2, 2, 3]);
    assert.equal(client.position.offset, 3);
  });

  test("it ends with why, behind all that came", async () => {
    const client = make();
    setImmediate(() => {
      Socket.made[0].greet();
      Socket.made[0].say(event(1), event(2));
      Socket.made[0].onclose({ code: 4501, reason: "no" });
    });
    const seen = [];
    await assert.rejects(async () => {
      for await (const { offset } of client) seen.push(offset);
    }, (error) => error instanceof MomentsClosed && error.code === 4501 && error.reason === "no");
    assert.deepEqual(seen, [1, 2]);
  });

  test("there is one reader, and no handler beside it", () => {
    const client = make();
    client[Symbol.asyncIterator]();
    assert.throws(() => client[Symbol.asyncIterator](), /iterates over these events already/);
    client.close();
    assert.throws(() => make({ handle: () => {} })[Symbol.asyncIterator](), /go to `handle`/);
  });
});

suite("the network", () => {
  test("in a page, whoever comes back to it or online does not wait", async (t) => {
    let time = 0;
    t.mock.method(performance, "now", () => time);
    t.mock.method(Math, "random", () => 1);
    const scope = new EventTarget();
    const names = ["addEventListener", "removeEventListener"];
    for (const name of names) globalThis[name] = scope[name].bind(scope);
    globalThis.document = Object.assign(new EventTarget(), { visibilityState: "hidden" });
    try {
      for (const [target, type] of [[document, "visibilitychange"], [scope, "online"]]) {
        document.visibilityState = "hidden";
        const { client, socket } = await opened();
        time += 10_000;
        socket.onclose({ code: 1006, reason: "" });
        document.dispatchEvent(new Event("visibilitychange"));
        assert.deepEqual([client.status.state, client.status.retryInMs], ["waiting", 500]);
        document.visibilityState = "visible";
        target.dispatchEvent(new Event(type));
        assert.equal(client.status.state, "connecting");
        client.close();
        const asked = t.mock.method(client, "dispatchEvent");
        target.dispatchEvent(new Event(type));
        assert.equal(asked.mock.callCount(), 0);
      }
    } finally {
      for (const name of [...names, "document"]) delete globalThis[name];
    }
  });
});
