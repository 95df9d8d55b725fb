/**
 * The value that some bytes are. Throws when they are cut off, or more than that.
 * @param {ArrayBuffer | Uint8Array} data
 * @returns {any}
 */
export function decode(data: ArrayBuffer | Uint8Array): any;
/**
 * A message of a client: up to 15 fields, each a text or a whole number from 0 on.
 * @param {Record<string, string | number>} message
 * @returns {Uint8Array<ArrayBuffer>}
 */
export function encode(message: Record<string, string | number>): Uint8Array<ArrayBuffer>;
export namespace msgpack {
    export let subprotocol: string;
    export { encode };
    export { decode };
}
