import type { Buffer } from "node:buffer";

/**
 * Done, at once or later. A number is taken for the bytes that were transferred: anything but all of them is an EIO. An
 * error, thrown or rejected with, becomes the errno of its `code` (such as "ENOSPC") or `errno`, else EIO.
 */
// biome-ignore lint/suspicious/noConfusingVoidType: a method that returns nothing is the usual one
export type BackendAnswer = void | number | PromiseLike<void | number>;

/**
 * Where the bytes of a device live, in JavaScript. Many requests may be in flight, in any order; those for the same bytes
 * too, if the device's user sends them so. Offsets and lengths are bytes, multiples of the logical block.
 *
 * A buffer is the request's own memory and not a copy: it belongs to the backend until it has answered and must not be
 * touched afterwards, when the next request is in it.
 */
export interface Backend {
  /** At most `Number.MAX_SAFE_INTEGER`. */
  readonly size: bigint;
  /** Fills the whole buffer. */
  readAt(buffer: Buffer, offset: number): BackendAnswer;
  /** Stores the whole buffer. Without `flush` it has to be durable when it answers. */
  writeAt(buffer: Buffer, offset: number): BackendAnswer;
  /** Makes every write that was answered before durable. */
  flush?(): BackendAnswer;
  /** The bytes are needed no more. Without it, or with `discard: false`, the device offers no discard. */
  trim?(offset: number, length: number): BackendAnswer;
  /** Without it the kernel writes zeros with `writeAt`. */
  writeZeroes?(offset: number, length: number): BackendAnswer;
}
