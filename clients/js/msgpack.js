/**
 * MessagePack for the sockets of moments (https://github.com/msgpack/msgpack/blob/master/spec.md):
 * reads whatever a gateway sends, writes what a client says. What is read is what JSON would have
 * given: numbers of 64 bits are rounded to those that JavaScript has.
 */

const DEPTH_MAX = 512;
// Without `ignoreBOM` a text that begins with U+FEFF would lose it.
const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const bytes = new TextEncoder();

/** Reads one value from the start of some bytes. */
class Reader {
  #view;
  #at = 0;
  #depth = 0;

  /** @param {Uint8Array} data */
  constructor(data) {
    this.#view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  }

  get left() {
    return this.#view.byteLength - this.#at;
  }

  /** @returns {any} */
  value() {
    const type = this.#view.getUint8(this.#step(1));
    if (type <= 0x7f) return type;
    if (type <= 0x8f) return this.#map(type & 0x0f);
    if (type <= 0x9f) return this.#array(type & 0x0f);
    if (type <= 0xbf) return this.#text(type & 0x1f);
    if (type >= 0xe0) return type - 0x100;
    switch (type) {
      case 0xc0:
        return null;
      case 0xc2:
        return false;
      case 0xc3:
        return true;
      case 0xc4:
        return this.#bytes(this.#uint(1));
      case 0xc5:
        return this.#bytes(this.#uint(2));
      case 0xc6:
        return this.#bytes(this.#uint(4));
      case 0xca:
        return this.#view.getFloat32(this.#step(4));
      case 0xcb:
        return this.#view.getFloat64(this.#step(8));
      case 0xcc:
        return this.#uint(1);
      case 0xcd:
        return this.#uint(2);
      case 0xce:
        return this.#uint(4);
      case 0xcf:
        return Number(this.#view.getBigUint64(this.#step(8)));
      case 0xd0:
        return this.#view.getInt8(this.#step(1));
      case 0xd1:
        return this.#view.getInt16(this.#step(2));
      case 0xd2:
        return this.#view.getInt32(this.#step(4));
      case 0xd3:
        return Number(this.#view.getBigInt64(this.#step(8)));
      case 0xd9:
        return this.#text(this.#uint(1));
      case 0xda:
        return this.#text(this.#uint(2));
      case 0xdb:
        return this.#text(this.#uint(4));
      case 0xdc:
        return this.#array(this.#uint(2));
      case 0xdd:
        return this.#array(this.#uint(4));
      case 0xde:
        return this.#map(this.#uint(2));
      case 0xdf:
        return this.#map(this.#uint(4));
      default: // 0xc1 is never used; extensions are in no frame
        throw new TypeError(`type 0x${type.toString(16)} is in no message of a gateway`);
    }
  }

  /** Moves on over so many bytes; where they begin. @param {number} count */
  #step(count) {
    if (this.left < count) throw new RangeError("the message is cut off");
    const at = this.#at;
    this.#at += count;
    return at;
  }

  /** @param {1 | 2 | 4} size  in bytes */
  #uint(size) {
    const at = this.#step(size);
    if (size === 1) return this.#view.getUint8(at);
    return size === 2 ? this.#view.getUint16(at) : this.#view.getUint32(at);
  }

  /** A view, not a copy. @param {number} length */
  #bytes(length) {
    const at = this.#view.byteOffset + this.#step(length);
    return new Uint8Array(this.#view.buffer, at, length);
  }

  /** @param {number} length */
  #text(length) {
    return text.decode(this.#bytes(length));
  }

  /** @param {number} count */
  #array(count) {
    if (count > this.left) throw new RangeError("the message is cut off"); // before it is made
    this.#enter();
    const values = Array.from({ length: count }, () => this.value());
    this.#depth -= 1;
    return values;
  }

  /** @param {number} count */
  #map(count) {
    this.#enter();
    /** @type {Record<string, any>} */
    const fields = {};
    for (let index = 0; index < count; index += 1) {
      const name = this.value();
      if (typeof name !== "string") throw new TypeError("a field's name is not a string");
      const value = this.value();
      if (name !== "__proto__") fields[name] = value;
      else Object.defineProperty(fields, name, { value, ...PLAIN }); // as JSON.parse has it
    }
    this.#depth -= 1;
    return fields;
  }

  #enter() {
    this.#depth += 1;
    if (this.#depth > DEPTH_MAX) throw new RangeError(`more than ${DEPTH_MAX} levels`);
  }
}

const PLAIN = { configurable: true, enumerable: true, writable: true };

/**
 * The value that some bytes are. Throws when they are cut off, or more than that.
 * @param {ArrayBuffer | Uint8Array} data
 * @returns {any}
 */
export function decode(data) {
  const reader = new Reader(data instanceof Uint8Array ? data : new Uint8Array(data));
  const value = reader.value();
  if (reader.left > 0) throw new RangeError(`${reader.left} bytes too many`);
  return value;
}

/**
 * A message of a client: up to 15 fields, each a text or a whole number from 0 on.
 * @param {Record<string, string | number>} message
 * @returns {Uint8Array<ArrayBuffer>}
 */
export function encode(message) {
  const fields = Object.entries(message);
  if (fields.length > 15) throw new RangeError("a message has 15 fields at most");
  const packed = [0x80 | fields.length];
  for (const [name, value] of fields) {
    pushText(packed, name);
    if (typeof value === "number") pushNumber(packed, value);
    else pushText(packed, value);
  }
  return new Uint8Array(packed);
}

/** @param {number[]} packed @param {string} value */
function pushText(packed, value) {
  const encoded = bytes.encode(value);
  if (encoded.length > 0xffff) throw new RangeError("a text of a message has 65,535 bytes at most");
  if (encoded.length < 32) packed.push(0xa0 | encoded.length);
  else packed.push(0xda, encoded.length >> 8, encoded.length & 0xff);
  for (const byte of encoded) packed.push(byte);
}

/** @param {number[]} packed @param {number} value */
function pushNumber(packed, value) {
  if (!Number.isSafeInteger(value) || value < 0) throw new RangeError(`${value} is no offset`);
  if (value < 0x80) {
    packed.push(value);
    return;
  }
  const view = new DataView(new ArrayBuffer(8));
  view.setBigUint64(0, BigInt(value));
  packed.push(0xcf, ...new Uint8Array(view.buffer));
}

/** For the option `codec` of a client. */
export const msgpack = { subprotocol: "moments.v1.msgpack", encode, decode };
