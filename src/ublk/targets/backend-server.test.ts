import { Buffer } from "node:buffer";
import { constants } from "node:os";
import { setImmediate as turn } from "node:timers/promises";
import { beforeEach, describe, expect, test } from "@jest/globals";
import type { NativeTarget } from "../addon.js";
import { FakeLane } from "../testing/fake-lane.js";
import type { Backend } from "./backend.js";
import { toNativeBackend } from "./backend-server.js";

const { EIO, ENOSPC, EROFS } = constants.errno;
const read = 0;
const write = 1;
const flush = 2;
const discard = 3;
const writeZeroes = 5;

let lane: FakeLane;
let memory: Buffer;

beforeEach(() => {
  lane = new FakeLane();
  memory = Buffer.alloc(65536);
});

function serve(backend: Partial<Backend>, onError?: (error: unknown) => void): NativeTarget {
  const whole: Backend = {
    size: 65536n,
    readAt: (buffer, offset) => void memory.copy(buffer, 0, offset),
    writeAt: (buffer, offset) => void buffer.copy(memory, offset),
    ...backend,
  };
  return toNativeBackend(whole, onError);
}

describe("requests", () => {
  test("arrive with their offset and the tag's own memory", () => {
    const target = serve({});
    lane.buffer(2).fill("w");
    lane.deliver(target, { tag: 2, operation: write, offset: 8192, length: 4096 });
    expect(memory.subarray(8192, 8192 + 4096).every((byte) => byte === "w".charCodeAt(0))).toBe(true);
    lane.deliver(target, { tag: 1, operation: read, offset: 8192, length: 512 });
    expect(lane.buffer(1, 513).toString()).toBe(`${"w".repeat(512)}\0`);
  });

  test("go to the method of their operation", () => {
    const calls: unknown[] = [];
    const target = serve({
      flush: () => void calls.push("flush"),
      trim: (...range) => void calls.push(["trim", ...range]),
      writeZeroes: (...range) => void calls.push(["writeZeroes", ...range]),
    });
    lane.deliver(
      target,
      { tag: 0, operation: flush },
      { tag: 1, operation: discard, offset: 2 ** 40, length: 2 ** 31 },
      { tag: 2, operation: writeZeroes, offset: 512, length: 1024 },
    );
    expect(calls).toEqual(["flush", ["trim", 2 ** 40, 2 ** 31], ["writeZeroes", 512, 1024]]);
    expect(lane.handedIn).toEqual([
      [
        [0, 0],
        [1, 0],
        [2, 0],
      ],
    ]);
  });

  test("only abilities that the backend has are announced", () => {
    expect(serve({})).toMatchObject({ flush: false, trim: false, writeZeroes: false });
    const all = { flush: () => {}, trim: () => {}, writeZeroes: () => {} };
    expect(serve(all)).toMatchObject({ flush: true, trim: true, writeZeroes: true });
  });

  test("a method keeps its backend as this", () => {
    class Counting {
      readonly size = 4096n;
      reads = 0;
      readAt(): void {
        this.reads++;
      }
      writeAt(): void {}
    }
    const backend = new Counting();
    lane.deliver(toNativeBackend(backend), { tag: 0, operation: read, length: 512 });
    expect(backend.reads).toBe(1);
  });
});

describe("answers", () => {
  test("of a backend that is done at once go back in one call", () => {
    lane.deliver(serve({}), ...[3, 0, 1].map((tag) => ({ tag, operation: read, length: 512 })));
    expect(lane.handedIn).toEqual([
      [
        [3, 0],
        [0, 0],
        [1, 0],
      ],
    ]);
  });

  test("that come together go back together, late ones on their own", async () => {
    const waiting = new Map<number, () => void>();
    const target = serve({ readAt: (_, offset) => new Promise<void>((done) => waiting.set(offset, done)) });
    lane.deliver(target, ...[0, 1, 2].map((tag) => ({ tag, operation: read, offset: tag * 512, length: 512 })));
    expect(lane.handedIn).toEqual([]);
    waiting.get(512)?.();
    waiting.get(0)?.();
    await turn();
    waiting.get(1024)?.();
    await turn();
    expect(lane.handedIn).toEqual([
      [
        [1, 0],
        [0, 0],
      ],
      [[2, 0]],
    ]);
  });

  test.each<[string, unknown, number]>([
    ["a code", Object.assign(new Error("full"), { code: "ENOSPC" }), ENOSPC],
    ["an errno, as node:fs has it", Object.assign(new Error("read-only"), { errno: -EROFS }), EROFS],
    ["a code of Node.js", Object.assign(new Error("bad"), { code: "ERR_OUT_OF_RANGE" }), EIO],
    ["neither", new TypeError("a bug"), EIO],
    ["no error at all", undefined, EIO],
    ["EAGAIN, which the kernel would not try again", Object.assign(new Error("later"), { code: "EAGAIN" }), EIO],
    ["an errno that is none", { errno: 1e9 }, EIO],
  ])("an error with %s becomes its errno, thrown or rejected with", async (_what, error, errno) => {
    const heard: unknown[] = [];
    const thrower = serve(
      {
        readAt: () => {
          throw error;
        },
        writeAt: () => Promise.reject(error),
      },
      (one) => heard.push(one),
    );
    lane.deliver(thrower, { tag: 0, operation: read, length: 512 }, { tag: 1, operation: write, length: 512 });
    await turn();
    expect(lane.handedIn).toEqual([[[0, -errno]], [[1, -errno]]]);
    expect(heard).toEqual([error, error]);
  });

  test("a short transfer is an error, a full one is not", async () => {
    const target = serve({ readAt: (buffer) => buffer.length - 1, writeAt: async (buffer) => buffer.length });
    lane.deliver(target, { tag: 0, operation: read, length: 512 }, { tag: 1, operation: write, length: 512 });
    await turn();
    expect(lane.handedIn).toEqual([[[0, -EIO]], [[1, 0]]]);
  });

  test("null is as good as nothing", () => {
    lane.deliver(serve({ readAt: () => null as never }), { tag: 0, operation: read, length: 512 });
    expect(lane.handedIn).toEqual([[[0, 0]]]);
  });

  test("a queue's answers do not mix with another's", async () => {
    const other = new FakeLane();
    const target = serve({ readAt: async () => {} });
    lane.deliver(target, { tag: 0, operation: read, length: 512 });
    other.deliver(target, { tag: 3, operation: read, length: 512 });
    await turn();
    expect(lane.handedIn).toEqual([[[0, 0]]]);
    expect(other.handedIn).toEqual([[[3, 0]]]);
  });
});
