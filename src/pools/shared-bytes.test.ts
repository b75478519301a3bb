import { beforeEach, expect, test } from "@jest/globals";
import type { FileExtent } from "../system/image-files.js";
import { FakeImageFiles } from "../system/testing/fake-image-files.js";
import { SharedBytes } from "./shared-bytes.js";

let files: FakeImageFiles;
let nowMs: number;
let shared: SharedBytes;

beforeEach(() => {
  files = new FakeImageFiles();
  nowMs = 0;
  shared = new SharedBytes(files, () => nowMs);
});

const extent = (logicalBytes: bigint, isShared: boolean): FileExtent => {
  return { logicalBytes, physicalBytes: 0n, lengthBytes: 4096n, isShared, isUnwritten: false, isPlaced: true };
};

test("all shared extents count, however many pages they come in", async () => {
  files.pageEntriesMax = 2;
  files.extents.set(
    "/a",
    [true, false, true, true, false].map((isShared, at) => extent(BigInt(at) * 4096n, isShared)),
  );
  expect(await shared.read("a", "/a", 1)).toBe(3n * 4096n);
  files.hasExtents = false;
  expect(await shared.read("b", "/b", 1)).toBe(0n);
});

test("they are counted once, until they are as old as the caller allows, or forgotten", async () => {
  files.extents.set("/a", [extent(0n, true)]);
  expect(await shared.read("a", "/a", 100)).toBe(4096n);
  files.extents.set("/a", []);
  nowMs = 99;
  expect(await shared.read("a", "/a", 100)).toBe(4096n);
  expect(files.peeked).toEqual(["/a"]);
  nowMs = 100;
  expect(await shared.read("a", "/a", 100)).toBe(0n);
  files.extents.set("/a", [extent(0n, true)]);
  expect(await shared.read("a", "/a", 100)).toBe(0n);
  shared.forget("a");
  expect(await shared.read("a", "/a", 100)).toBe(4096n);
  shared.forgetAll();
  files.extents.set("/a", []);
  expect(await shared.read("a", "/a", 100)).toBe(0n);
});

test("what was counted before a clone was made is not remembered after it", async () => {
  const page = { entries: [], nextBytes: undefined };
  files.peekExtents = async () => {
    shared.forget("a");
    files.peekExtents = async () => ({ entries: [extent(0n, true)], nextBytes: undefined });
    return page;
  };
  expect(await shared.read("a", "/a", 100)).toBe(0n);
  expect(await shared.read("a", "/a", 100)).toBe(4096n);
});
