import { beforeEach, expect, test } from "@jest/globals";
import type { FileExtent } from "../../system/image-files.js";
import { FakeImageFiles } from "../../system/testing/fake-image-files.js";
import { type Freshness, SharedBytes } from "./shared-bytes.js";

let files: FakeImageFiles;
let nowMs: number;
let shared: SharedBytes;

beforeEach(() => {
  files = new FakeImageFiles();
  nowMs = 0;
  shared = new SharedBytes(files, () => nowMs);
});

const read = (id: string, freshness: Partial<Freshness> = {}) =>
  shared.read(id, `/${id}`, { stamp: undefined, ageMsMax: 0, ...freshness });

const extent = (logicalBytes: bigint, isShared: boolean): FileExtent => {
  return { logicalBytes, physicalBytes: 0n, lengthBytes: 4096n, isShared, isUnwritten: false, isPlaced: true };
};

test("all shared extents count, however many pages they come in", async () => {
  files.pageEntriesMax = 2;
  files.extents.set(
    "/a",
    [true, false, true, true, false].map((isShared, at) => extent(BigInt(at) * 4096n, isShared)),
  );
  expect(await read("a")).toBe(3n * 4096n);
  files.hasExtents = false;
  expect(await read("b")).toBe(0n);
});

test("they are counted once while nobody writes, and for ten minutes at most", async () => {
  files.extents.set("/a", [extent(0n, true)]);
  expect(await read("a", { stamp: "1" })).toBe(4096n);
  files.extents.set("/a", []);
  expect(await read("a", { stamp: "1" })).toBe(4096n);
  expect(files.peeked).toEqual(["/a"]);
  expect(await read("a", { stamp: "2" })).toBe(0n);
  files.extents.set("/a", [extent(0n, true)]);
  nowMs += 599_999;
  expect(await read("a", { stamp: "2" })).toBe(0n);
  nowMs += 1;
  expect(await read("a", { stamp: "2" })).toBe(4096n);
});

test("while somebody writes they are counted each time, unless a somewhat old number will do", async () => {
  for (const expected of [1, 2]) {
    await read("a");
    expect(files.peeked).toHaveLength(expected);
  }
  nowMs = 99;
  await read("a", { ageMsMax: 100 });
  expect(files.peeked).toHaveLength(2);
  nowMs = 100;
  await read("a", { ageMsMax: 100 });
  expect(files.peeked).toHaveLength(3);
});

test("they are counted anew once they are forgotten", async () => {
  await read("a", { stamp: "1" });
  shared.forget("a");
  files.peeked.length = 0;
  await read("a", { stamp: "1" });
  expect(files.peeked).toEqual(["/a"]);
});

test("what was counted before a clone was made is not remembered after it", async () => {
  files.peekExtents = async () => {
    shared.forget("a");
    files.peekExtents = async () => ({ entries: [extent(0n, true)], nextBytes: undefined });
    return { entries: [], nextBytes: undefined };
  };
  expect(await read("a", { stamp: "1" })).toBe(0n);
  expect(await read("a", { stamp: "1" })).toBe(4096n);
});
