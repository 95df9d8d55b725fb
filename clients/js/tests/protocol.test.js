// The rules of the client, without sockets, clocks or chance.

import assert from "node:assert/strict";
import { suite, test } from "node:test";

import { Protocol, backoffMs, lifeMs, mayReconnect } from "../moments.js";

const HELLO = { type: "hello", user: "bob", epoch: "e1", head: 9, cursor: 0, ping_s: 25 };
const POST = { id: "p1", author: "ann", data: {} };
const WALL = 1_700_000_000_000;

const event = (offset, type = "post.created") => ({ type, offset, post: POST });

function jwt(claims) {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  return `${part({ alg: "HS256" })}.${part(claims)}.c2lnbmF0dXJl`;
}

/** A token that ends in so many seconds. */
const token = (seconds) => jwt({ sub: "bob", exp: WALL / 1000 + seconds, iat: WALL / 1000 });

/** A protocol with what it has asked for so far, by kind. */
class Course {
  constructor({ chance = 0.5, ...changes } = {}) {
    this.now = 0;
    this.done = [];
    this.chance = chance;
    this.protocol = new Protocol(
      { explicit: false, renewable: true, bufferMax: 100, timeoutMs: 15_000, ...changes },
      () => this.chance,
    );
  }

  /** Calls a method, with the time as its last argument where it has one. */
  call(name, ...given) {
    const actions = this.protocol[name](...given);
    this.done.push(...actions);
    return actions;
  }

  get state() {
    return this.protocol.state;
  }

  get status() {
    return this.protocol.status(this.now);
  }

  take(kind) {
    const taken = this.done.filter((one) => one.do === kind);
    this.done = this.done.filter((one) => one.do !== kind);
    return taken;
  }

  sent() {
    return this.take("send").map((one) => one.message);
  }

  items() {
    return this.take("deliver").map((one) => one.item);
  }

  offsets() {
    return this.items().map((item) => item.position.offset);
  }

  /** Lets time pass, to each moment at which something is due. */
  pass(ms) {
    const end = this.now + ms;
    while (this.protocol.due <= end) {
      this.now = Math.max(this.now, this.protocol.due);
      this.call("tick", this.now);
    }
    this.now = end;
  }

  give(text = token(3_600)) {
    const [ask] = this.take("ask");
    this.call("token", ask.id, text, this.now, WALL + this.now);
  }

  say(...messages) {
    for (const message of messages) this.call("message", message, this.now);
  }

  close(code, reason = "why") {
    this.call("closed", code, reason, this.now);
  }

  /** From the start, or a wait, to the hello. Returns the query it was opened with. */
  open(hello = {}) {
    if (this.state === "idle") this.call("connect", this.now);
    else if (this.state === "waiting") this.pass(this.protocol.due - this.now);
    if (this.done.some((one) => one.do === "ask")) this.give();
    const { query } = this.take("open").at(-1);
    this.call("opened");
    this.say({ ...HELLO, ...hello });
    assert.equal(this.state, "open");
    return query;
  }

  settle(...items) {
    for (const item of items) this.call("settled", item, this.now);
  }
}

function opened(options, hello) {
  const course = new Course(options);
  course.open(hello);
  course.done = [];
  return course;
}

suite("opening", () => {
  test("a token is asked for first, and is the first message, not part of the URL", () => {
    const course = new Course();
    course.call("connect", 0);
    assert.equal(course.state, "connecting");
    assert.deepEqual(course.take("open"), []);
    course.give("t1");
    assert.deepEqual(course.take("open"), [{ do: "open", query: { ack: "auto" } }]);
    assert.deepEqual(course.sent(), []);
    course.call("opened");
    assert.deepEqual(course.sent(), [{ type: "token", token: "t1" }]);
    course.say(HELLO);
    assert.deepEqual(
      [course.status.state, course.status.user, course.status.head],
      ["open", "bob", 9],
    );
  });

  test("the token stands in the URL when that is asked for", () => {
    const course = new Course({ inUrl: true });
    course.call("connect", 0);
    course.give("t1");
    assert.deepEqual(course.take("open")[0].query, { ack: "auto", token: "t1" });
    course.call("opened");
    assert.deepEqual(course.sent(), []);
  });

  test("it goes on at the position that it is given", () => {
    const course = new Course({ explicit: true, position: { epoch: "e1", offset: 7 } });
    assert.deepEqual(course.open(), { ack: "explicit", after: "7", epoch: "e1" });
    course.say(event(7), event(8));
    assert.deepEqual(course.offsets(), [8]);
  });

  test("without one it goes on where the cursor is, which is then its position", () => {
    const course = new Course();
    assert.deepEqual(course.open({ cursor: 4 }), { ack: "auto" });
    assert.deepEqual(course.protocol.position, { epoch: "e1", offset: 4 });
    assert.deepEqual(course.take("position").length, 1);
    course.say(event(5));
    assert.deepEqual(course.offsets(), [5]);
  });

  test("a position without an epoch gets that of the hello", () => {
    const course = new Course({ position: { offset: 3 } });
    assert.deepEqual(course.open(), { ack: "auto", after: "3" });
    assert.deepEqual(course.protocol.position, { epoch: "e1", offset: 3 });
  });

  test("a hello that says too little is none", () => {
    for (const lacking of [{ epoch: undefined }, { cursor: undefined }, { cursor: "4" }]) {
      const course = new Course();
      course.call("connect", 0);
      course.give();
      course.say({ ...HELLO, ...lacking });
      assert.deepEqual([course.state, course.take("drop").length], ["waiting", 1]);
    }
  });

  test("no hello in time is a failure", () => {
    const course = new Course();
    course.call("connect", 0);
    course.give();
    course.pass(14_999);
    assert.equal(course.state, "connecting");
    course.pass(1);
    assert.equal(course.take("drop").length, 1);
    assert.equal(course.state, "waiting");
    assert.match(course.status.reason, /no hello within 15000 ms/);
  });

  test("a function that never answers is asked again; a late answer counts for nothing", () => {
    const course = new Course();
    course.call("connect", 0);
    const [first] = course.take("ask");
    course.pass(15_000);
    assert.equal(course.state, "waiting");
    course.pass(250);
    assert.notEqual(course.done.find((one) => one.do === "ask").id, first.id);
    course.call("token", first.id, "late", course.now, WALL);
    assert.deepEqual(course.take("open"), []);
  });

  test("without a token there is nobody to connect as", () => {
    const cases = [
      [null, "there is no token"],
      [undefined, "there is no token"],
      ["", "the token is not a string, or empty"],
      [5, "the token is not a string, or empty"],
    ];
    for (const [given, reason] of cases) {
      const course = new Course();
      course.call("connect", 0);
      course.call("token", course.take("ask")[0].id, given, 0, WALL);
      assert.deepEqual([course.state, course.status.reason], ["closed", reason]);
    }
  });

  test("a function that fails is asked again after a while", () => {
    const course = new Course();
    course.call("connect", 0);
    course.call("tokenFailed", course.take("ask")[0].id, "offline", 0);
    assert.deepEqual([course.state, course.status.reason], ["waiting", "no token: offline"]);
    course.pass(250);
    course.give();
    assert.equal(course.take("open").length, 1);
  });
});

suite("events", () => {
  test("come in order, each offset once", () => {
    const course = opened();
    course.say(event(1), event(2), event(2), event(1), event(3, "post.deleted"));
    const items = course.items();
    assert.deepEqual(items.map((item) => item.detail.offset), [1, 2, 3]);
    assert.deepEqual(items[2].detail, event(3, "post.deleted"));
    assert.equal(course.state, "open");
  });

  test("a hole makes it come back for what is missing", () => {
    const course = opened();
    course.say(event(1), event(3));
    assert.deepEqual(course.offsets(), [1]);
    assert.equal(course.take("drop").length, 1);
    assert.deepEqual([course.state, course.status.reason], ["waiting", "after 1 came 3"]);
    course.say(event(4)); // of the socket that was given up
    assert.equal(course.open().after, "1");
    course.say(event(2), event(3), event(4));
    assert.deepEqual(course.offsets(), [2, 3, 4]);
  });

  test("a gap is told in its turn, and bridges what is gone", () => {
    const course = opened();
    course.say(event(1), { type: "gap", from: 2, to: 5 }, event(6));
    const items = course.items();
    assert.deepEqual(items.map((item) => item.kind), ["event", "gap", "event"]);
    assert.deepEqual(items[1].detail, { from: 2, to: 5 });
    course.settle(...items.slice(0, 2));
    assert.deepEqual(course.protocol.position, { epoch: "e1", offset: 5 });
  });

  test("a gap that begins too late is a hole", () => {
    const course = opened();
    course.say({ type: "gap", from: 3, to: 5 });
    assert.equal(course.state, "waiting");
    assert.deepEqual(course.items(), []);
  });

  test("after a reset offsets begin anew, in another epoch", () => {
    const course = opened({ position: { epoch: "e1", offset: 7 } }, { epoch: "e2" });
    course.say({ type: "reset", epoch: "e2" }, event(1), event(2));
    const items = course.items();
    assert.deepEqual(items.map((item) => item.kind), ["reset", "event", "event"]);
    assert.deepEqual(course.protocol.position, { epoch: "e1", offset: 7 });
    course.settle(...items);
    assert.deepEqual(course.protocol.position, { epoch: "e2", offset: 2 });
    course.close(1006);
    const query = course.open({ epoch: "e2" });
    assert.deepEqual([query.after, query.epoch], ["2", "e2"]);
  });

  test("what a later gateway may say is passed over", () => {
    const course = opened();
    course.say({ type: "pong" }, { type: "weather", mild: true }, event(1));
    assert.deepEqual(course.offsets(), [1]);
  });

  test("what is no message makes it come back", () => {
    for (const broken of [null, 5, [], {}, { type: 7 }]) {
      const course = opened();
      course.say(broken);
      assert.equal(course.state, "waiting");
      assert.equal(course.take("drop").length, 1);
    }
  });

  test("no more are held than there may be: it leaves, and comes back when half is done", () => {
    const course = opened({ bufferMax: 4 });
    course.say(event(1), event(2), event(3), event(4), event(5));
    const items = course.items();
    assert.deepEqual(items.length, 4);
    assert.deepEqual([course.state, course.status.retryInMs], ["waiting", null]);
    assert.equal(course.protocol.due, Infinity);
    course.settle(items[0]);
    assert.equal(course.state, "waiting");
    course.settle(items[1]);
    assert.equal(course.state, "connecting");
    assert.equal(course.open().after, "4");
    course.say(event(5));
    assert.deepEqual(course.offsets(), [5]);
  });

  test("what is dealt with after the end brings nobody back", () => {
    const course = opened({ bufferMax: 1 });
    course.say(event(1), event(2));
    const items = course.items();
    course.call("close", course.now);
    course.settle(...items);
    assert.equal(course.state, "closed");
    assert.equal(course.protocol.position.offset, 1);
  });
});

suite("acknowledgement", () => {
  test("auto says nothing", () => {
    const course = opened();
    course.say(event(1));
    course.settle(...course.items());
    course.pass(1_000);
    assert.deepEqual(course.sent(), []);
  });

  test("explicit counts what was dealt with, and nothing that only came", () => {
    const course = opened({ explicit: true });
    course.say(event(1), event(2));
    const [first] = course.items();
    course.pass(1_000);
    assert.deepEqual(course.sent(), []);
    course.settle(first);
    assert.deepEqual(course.sent(), [{ type: "ack", offset: 1 }]);
  });

  test("is cumulative, and comes at most every 20 ms: gateways close on who says too much", () => {
    const course = opened({ explicit: true }, { head: 500 });
    for (let offset = 1; offset <= 50; offset += 1) course.say(event(offset));
    for (const item of course.items()) {
      course.settle(item);
      course.pass(1);
    }
    course.pass(100);
    const offsets = course.sent().map((message) => message.offset);
    assert.deepEqual(offsets, [1, 20, 40, 50]);
  });

  test("a gap counts as dealt with", () => {
    const course = opened({ explicit: true });
    course.say({ type: "gap", from: 1, to: 5 });
    course.settle(...course.items());
    assert.deepEqual(course.sent(), [{ type: "ack", offset: 5 }]);
  });

  test("what is pushed again although it was dealt with is acknowledged again", () => {
    const course = opened({ explicit: true });
    course.say(event(1), event(2));
    const [first, second] = course.items();
    course.settle(first);
    course.sent();
    course.pass(100);
    course.say(event(2)); // not dealt with yet
    course.pass(100);
    assert.deepEqual(course.sent(), []);
    course.say(event(1));
    course.pass(100);
    assert.deepEqual(course.sent(), [{ type: "ack", offset: 1 }]);
    course.settle(second);
    assert.deepEqual(course.sent(), [{ type: "ack", offset: 2 }]);
  });

  test("what was dealt with while there was no socket is said behind the next hello", () => {
    const course = opened({ explicit: true });
    course.say(event(1), event(2));
    const items = course.items();
    course.close(1006);
    course.settle(...items);
    assert.deepEqual(course.sent(), []);
    course.open({ cursor: 0 });
    assert.deepEqual(course.sent().at(-1), { type: "ack", offset: 2 });
    course.close(1006);
    course.open({ cursor: 2 });
    assert.deepEqual(course.sent().filter((one) => one.type === "ack"), []);
  });

  test("offsets of a log that is gone are not acknowledged in the one after it", () => {
    const course = opened({ explicit: true });
    course.say(event(1), event(2));
    const old = course.items();
    course.say({ type: "reset", epoch: "e2" }, event(1));
    const [reset, fresh] = course.items();
    course.settle(...old, reset);
    course.pass(100);
    assert.deepEqual(course.sent(), []);
    course.settle(fresh);
    assert.deepEqual(course.sent(), [{ type: "ack", offset: 1 }]);
  });

  test("nor is a position that the log does not reach any more", () => {
    const course = new Course({ explicit: true, position: { epoch: "e1", offset: 7 } });
    course.open({ head: 3, cursor: 1 });
    assert.deepEqual(course.sent().filter((one) => one.type === "ack"), []);
    const other = new Course({ explicit: true, position: { epoch: "e1", offset: 7 } });
    other.open({ epoch: "e2", cursor: 1 });
    assert.deepEqual(other.sent().filter((one) => one.type === "ack"), []);
  });

  test("one that waits is said before a close", () => {
    const course = opened({ explicit: true });
    course.say(event(1), event(2));
    course.settle(...course.items());
    course.call("close", course.now);
    const order = course.done.filter((one) => ["send", "drop"].includes(one.do));
    assert.deepEqual(order.map((one) => one.message?.offset ?? one.do), [1, 2, "drop"]);
  });
});

suite("coming back", () => {
  test("waits have full jitter, from 500 ms up to 20 s", () => {
    const bounds = Array.from({ length: 8 }, (_, failures) => backoffMs(failures, 1));
    assert.deepEqual(bounds, [500, 1_000, 2_000, 4_000, 8_000, 16_000, 20_000, 20_000]);
    assert.equal(backoffMs(5, 0), 0);
    assert.equal(backoffMs(5, 0.25), 4_000);
    assert.equal(backoffMs(5_000, 1), 20_000);
  });

  test("each failure in a row makes the next wait longer, and says when the next try is", () => {
    const course = new Course();
    course.call("connect", 0);
    const waits = [];
    for (let failures = 0; failures < 4; failures += 1) {
      course.done.some((one) => one.do === "ask") && course.give();
      course.close(1006);
      assert.equal(course.status.attempt, failures + 1);
      waits.push(course.status.retryInMs);
      course.pass(course.status.retryInMs);
      assert.equal(course.state, "connecting");
    }
    assert.deepEqual(waits, [250, 500, 1_000, 2_000]);
  });

  test("only a connection that was good for a while makes it begin again", () => {
    const course = opened();
    for (const [heldMs, attempt] of [[4_999, 1], [4_999, 2], [5_000, 1], [100, 2]]) {
      course.pass(heldMs);
      course.close(1006);
      assert.equal(course.status.attempt, attempt);
      course.open();
    }
  });

  test("codes from 4000 to 4499 and those of a lost connection come back", () => {
    const back = [1000, 1001, 1002, 1005, 1006, 1008, 1011, 1012, 1013, 1015];
    for (const code of [...back, 4001, 4003, 4004, 4005, 4006, 4408, 4499]) {
      const course = opened();
      course.close(code);
      assert.deepEqual([course.state, course.status.code], ["waiting", code]);
      assert.ok(mayReconnect(code));
    }
  });

  test("codes from 4500 on do not, and tell why", () => {
    for (const code of [4500, 4501, 4502, 4999, 1003, 1009, 1010]) {
      const course = opened();
      course.close(code, "the token does not hold");
      assert.deepEqual([course.state, course.status.code, course.status.reason],
        ["closed", code, "the token does not hold"]);
      assert.equal(course.protocol.due, Infinity);
      assert.equal(mayReconnect(code), false);
    }
  });

  test("a goodbye says how long to wait at least", () => {
    const course = opened();
    course.say({ type: "goodbye", reason: "shutdown", reconnect_ms: 1_500 });
    assert.deepEqual(course.take("goodbye"),
      [{ do: "goodbye", reason: "shutdown", reconnectMs: 1_500 }]);
    course.close(4001);
    assert.equal(course.status.retryInMs, 1_500);
    course.call("nudge", course.now); // whoever looks does not cut it short
    assert.equal(course.status.retryInMs, 1_500);
    course.open();
    course.close(1006);
    assert.equal(course.status.retryInMs, 500); // of this once
  });

  test("a goodbye before the hello counts as well, and what it says has a bound", () => {
    const course = new Course();
    course.call("connect", 0);
    course.give();
    course.say({ type: "goodbye", reason: "full", reconnect_ms: 1e12 });
    course.close(4006);
    assert.equal(course.status.retryInMs, 300_000);
  });

  test("a gateway that says goodbye and does not close is left", () => {
    const course = opened();
    course.say({ type: "goodbye", reason: "shutdown", reconnect_ms: 9_000 });
    course.pass(5_000);
    assert.deepEqual([course.state, course.status.retryInMs], ["waiting", 9_000]);
    assert.equal(course.take("drop").length, 1);
  });

  test("the network's return, or somebody's look, makes a wait short, not every look a try", () => {
    const course = opened({ chance: 1 });
    for (let failures = 0; failures < 5; failures += 1) {
      course.close(1006);
      if (failures < 4) course.pass(course.status.retryInMs);
    }
    assert.equal(course.status.retryInMs, 8_000);
    course.call("nudge", course.now);
    assert.equal(course.status.retryInMs, 500);
    course.pass(499);
    course.call("nudge", course.now);
    assert.equal(course.state, "waiting");
    course.pass(1);
    assert.equal(course.state, "connecting");
    course.close(1006);
    course.pass(10_000);
    course.call("nudge", course.now);
    assert.equal(course.state, "connecting");
  });

  test("close ends it for good", () => {
    for (const before of [new Course(), opened(), (() => {
      const course = opened();
      course.close(1006);
      return course;
    })()]) {
      before.call("close", before.now);
      assert.equal(before.state, "closed");
      before.call("connect", before.now);
      before.call("nudge", before.now);
      before.pass(1e6);
      assert.equal(before.state, "closed");
      assert.deepEqual(before.take("ask").length + before.take("open").length, 0);
    }
  });
});

suite("signs of life", () => {
  test("after some silence it asks, and leaves when nothing answers", () => {
    const course = opened();
    course.pass(22_499);
    assert.deepEqual(course.sent(), []);
    course.pass(1);
    assert.deepEqual(course.sent(), [{ type: "ping" }]);
    course.pass(9_999);
    assert.equal(course.state, "open");
    course.pass(1);
    assert.equal(course.take("drop").length, 1);
    assert.match(course.status.reason, /nothing is heard/);
  });

  test("whatever is heard is an answer", () => {
    const course = opened();
    for (let times = 0; times < 10; times += 1) {
      course.pass(30_000);
      assert.deepEqual(course.sent(), [{ type: "ping" }]);
      course.say(times % 2 ? { type: "pong" } : event(times / 2 + 1));
    }
    assert.equal(course.state, "open");
  });

  test("the gateway's own time is what counts", () => {
    const course = opened({}, { ping_s: 2 });
    course.pass(1_800);
    assert.deepEqual(course.sent(), [{ type: "ping" }]);
  });

  test("a device that has slept asks first whether the connection is still there", () => {
    const course = opened();
    course.pass(22_500);
    course.sent();
    course.now += 3_600_000; // no timer ran
    course.call("tick", course.now);
    assert.deepEqual([course.state, course.sent()], ["open", [{ type: "ping" }]]);
    course.pass(10_000);
    assert.equal(course.state, "waiting");
  });

  test("who comes back to the page finds out within seconds", () => {
    const course = opened();
    course.pass(5_000);
    course.call("nudge", course.now);
    course.call("nudge", course.now);
    assert.deepEqual(course.sent(), [{ type: "ping" }]);
    course.pass(3_000);
    assert.equal(course.state, "waiting");
  });

  test("but does not ask what was heard of just now", () => {
    const course = opened();
    course.say(event(1));
    course.pass(999);
    course.call("nudge", course.now);
    assert.deepEqual(course.sent(), []);
  });
});

suite("tokens", () => {
  test("another one is asked for ahead of the end, spread by chance, and sent", () => {
    for (const [chance, at] of [[0, 2_700_000], [1, 3_240_000]]) {
      const course = opened({ chance });
      course.say(HELLO);
      for (let waited = 0; waited + 20_000 < at; waited += 20_000) {
        course.pass(20_000);
        course.say({ type: "pong" });
      }
      assert.deepEqual(course.take("ask"), []);
      course.pass(20_000);
      const asked = course.done.find((one) => one.do === "ask");
      assert.ok(asked, `at ${course.now}`);
      course.sent();
      course.give("another");
      assert.deepEqual(course.sent(), [{ type: "token", token: "another" }]);
      assert.equal(course.state, "open");
    }
  });

  test("one is asked for once at a time, and again after a failure", () => {
    const course = new Course();
    course.call("connect", 0);
    course.give(token(10));
    course.call("opened");
    course.say(HELLO);
    course.pass(9_000);
    const asks = course.take("ask");
    assert.equal(asks.length, 1);
    course.call("tokenFailed", asks[0].id, "busy", course.now);
    assert.equal(course.state, "open");
    course.pass(1_000);
    assert.equal(course.take("ask").length, 1);
  });

  test("one that still holds is used again, one that is due is not", () => {
    const course = opened();
    course.close(1006);
    course.pass(250);
    assert.deepEqual([course.take("ask").length, course.take("open").length], [0, 1]);
    course.now += 3_000_000;
    course.close(1006);
    course.now += 1_000;
    course.call("tick", course.now);
    assert.deepEqual([course.take("ask").length, course.take("open").length], [1, 0]);
  });

  test("4002 asks for another one, whatever the last one says of itself", () => {
    const course = opened();
    course.close(4002);
    course.pass(250);
    assert.equal(course.take("ask").length, 1);
  });

  test("4002 ends it where there is no other", () => {
    const course = opened({ renewable: false });
    course.close(4002, "token expired");
    assert.deepEqual([course.state, course.status.code], ["closed", 4002]);
    assert.match(course.status.reason, /^token expired; give a function/);
  });

  test("a text that never changes is not asked for again", () => {
    const course = new Course({ renewable: false });
    course.call("connect", 0);
    course.give(token(2));
    course.call("opened");
    course.say(HELLO);
    course.pass(10_000);
    assert.deepEqual(course.take("ask"), []);
  });

  test("what a token says of itself", () => {
    assert.equal(lifeMs(token(60), WALL), 60_000);
    assert.equal(lifeMs(jwt({ exp: WALL / 1000 + 5, name: "ä?>~" }), WALL), 5_000);
    assert.equal(lifeMs("opaque", WALL), null);
    assert.equal(lifeMs("a.b.c", WALL), null);
    assert.equal(lifeMs(jwt({ sub: "bob" }), WALL), null);
    assert.equal(lifeMs(jwt({ exp: "soon" }), WALL), null);
    // The clock here is an hour ahead, or it is used long after it was made.
    assert.equal(lifeMs(token(60), WALL + 3_600_000), 60_000);
    assert.equal(lifeMs(jwt({ exp: WALL / 1000 - 1 }), WALL), null);
  });
});
