import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { suite, test } from "node:test";

import { decode, encode } from "../msgpack.js";

// Made by Python's msgpack.
const VECTORS = JSON.parse(readFileSync(new URL("vectors.json", import.meta.url), "utf-8"));

const bytes = (hex) => new Uint8Array(Buffer.from(hex, "hex"));

suite("reading", () => {
  test("gives what JSON would have given", () => {
    assert.ok(VECTORS.length > 40);
    for (const vector of VECTORS) {
      assert.deepEqual(decode(bytes(vector.msgpack)), JSON.parse(vector.json));
    }
  });

  test("takes a buffer, and a view of a part of one", () => {
    const whole = bytes("ff82a16101a16202ff");
    assert.deepEqual(decode(whole.subarray(1, 8)), { a: 1, b: 2 });
    assert.deepEqual(decode(whole.slice(1, 8).buffer), { a: 1, b: 2 });
  });

  test("a name that JavaScript has a meaning for is a name", () => {
    const read = decode(bytes("81a95f5f70726f746f5f5f81a17801"));
    assert.deepEqual(Object.keys(read), ["__proto__"]);
    assert.equal(read.x, undefined);
    assert.equal(Object.getPrototypeOf(read), Object.prototype);
  });

  test("floats of 32 bits, and bytes", () => {
    assert.equal(decode(bytes("ca3f000000")), 0.5);
    assert.deepEqual(decode(bytes("c4020102")), new Uint8Array([1, 2]));
    assert.deepEqual(decode(bytes("c50001ff")), new Uint8Array([255]));
    assert.deepEqual(decode(bytes("c600000001ff")), new Uint8Array([255]));
  });

  test("what is longer than it would have to be", () => {
    assert.equal(decode(bytes("d90161")), "a");
    assert.equal(decode(bytes("da000161")), "a");
    assert.equal(decode(bytes("db0000000161")), "a");
    assert.deepEqual(decode(bytes("dc00020102")), [1, 2]);
    assert.deepEqual(decode(bytes("dd000000020102")), [1, 2]);
    assert.deepEqual(decode(bytes("de0001a16101")), { a: 1 });
    assert.deepEqual(decode(bytes("df00000001a16101")), { a: 1 });
    assert.equal(decode(bytes("cf0000000000000001")), 1);
    assert.equal(decode(bytes("d3ffffffffffffffff")), -1);
  });

  test("of every vector, whatever is cut off it is noticed", () => {
    for (const vector of VECTORS) {
      const whole = bytes(vector.msgpack);
      for (const length of [0, whole.length - 1, whole.length >> 1]) {
        if (length === whole.length) continue;
        assert.throws(() => decode(whole.subarray(0, length)), RangeError);
      }
      assert.throws(() => decode(new Uint8Array([...whole, 0])), /1 bytes too many/);
    }
  });

  test("a length that nothing follows takes no memory", () => {
    for (const hex of ["ddffffffff", "dfffffffff", "dbffffffff", "c6ffffffff"]) {
      assert.throws(() => decode(bytes(hex)), RangeError);
    }
  });

  test("what is in no frame is refused", () => {
    assert.throws(() => decode(bytes("c1")), /0xc1/);
    assert.throws(() => decode(bytes("d40100")), /0xd4/);
    assert.throws(() => decode(bytes("8101a161")), /name is not a string/);
    assert.throws(() => decode(bytes("a1ff")), TypeError); // no UTF-8
    assert.throws(() => decode(new Uint8Array(100_000).fill(0x91)), /levels/);
  });
});

suite("writing", () => {
  test("what a client says can be read again", () => {
    for (const token of ["", "a.b.c", "x".repeat(31), "x".repeat(32), "ä".repeat(2_000)]) {
      assert.deepEqual(decode(encode({ type: "token", token })), { type: "token", token });
    }
    for (const offset of [0, 127, 128, 65_536, 2 ** 32, Number.MAX_SAFE_INTEGER]) {
      assert.deepEqual(decode(encode({ type: "ack", offset })), { type: "ack", offset });
    }
  });

  test("what is no message of a client is refused", () => {
    assert.throws(() => encode({ offset: -1 }), /no offset/);
    assert.throws(() => encode({ offset: 0.5 }), /no offset/);
    assert.throws(() => encode({ token: "x".repeat(65_536) }), /65,535/);
    assert.throws(() => encode(Object.fromEntries([..."abcdefghijklmnop"].entries())), /15 fields/);
  });
});
