import { mkdtemp, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "@jest/globals";
import { AllocatedBytes } from "./allocated-bytes.js";

let directory: string;
let path: string;
let nowMs: number;
let allocated: AllocatedBytes;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "allocated-bytes-"));
  path = join(directory, "image");
  nowMs = 0;
  allocated = new AllocatedBytes(() => nowMs);
});
afterEach(() => rm(directory, { recursive: true }));

const good = { freeBytes: 1000n, ageMsMax: 15_000 };

test("a look tells what an image occupies, holes left out, and nothing of one that is not there", async () => {
  expect(await allocated.look({ id: "a", path }, { freeBytes: 1000n })).toBe(0n);
  await writeFile(path, Buffer.alloc(65_536, "x"), { flush: true });
  await truncate(path, 1024 ** 3);
  expect(Number(await allocated.look({ id: "a", path }, { freeBytes: 1000n }))).toBeGreaterThanOrEqual(65_536);
  expect(Number(await allocated.look({ id: "a", path }, { freeBytes: 1000n }))).toBeLessThan(1024 ** 2);
});

test("it is remembered for as long as was asked for, and not at all when it has to be exact", async () => {
  expect(allocated.peek("a", good)).toBeUndefined();
  await allocated.look({ id: "a", path }, { freeBytes: 1000n });
  expect(allocated.peek("a", { ...good, ageMsMax: 0 })).toBeUndefined();
  nowMs = 14_999;
  expect(allocated.peek("a", good)).toBe(0n);
  nowMs = 15_000;
  expect(allocated.peek("a", good)).toBeUndefined();
});

test("it is remembered while no more is free than there was: an image may have given something back", async () => {
  await allocated.look({ id: "a", path }, { freeBytes: 1000n });
  for (const freeBytes of [10n, 999n, 1000n]) expect(allocated.peek("a", { ...good, freeBytes })).toBe(0n);
  expect(allocated.peek("a", { ...good, freeBytes: 1001n })).toBeUndefined();
});

test("it is forgotten of an image that changes, and not remembered of one that changed meanwhile", async () => {
  await allocated.look({ id: "a", path }, { freeBytes: 1000n });
  await allocated.look({ id: "b", path }, { freeBytes: 1000n });
  allocated.forget("a");
  expect([allocated.peek("a", good), allocated.peek("b", good)]).toEqual([undefined, 0n]);
  const looking = allocated.look({ id: "a", path }, { freeBytes: 1000n });
  allocated.forget("a");
  expect(await looking).toBe(0n);
  expect(allocated.peek("a", good)).toBeUndefined();
});

test("it is not remembered of an image that was gone before the look, but after it was listed", async () => {
  const since = allocated.changes;
  allocated.forget("a");
  await allocated.look({ id: "a", path }, { freeBytes: 1000n, since });
  expect(allocated.peek("a", good)).toBeUndefined();
});
