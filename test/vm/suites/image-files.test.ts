import { mkdir, open, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { KernelImageFiles } from "../../../src/engine/image-files.js";
import { rejectionOf } from "../../../src/testing/workspace.js";
import { makePoolFolder, mountPoolDisk, type PoolPlace } from "./support/pool-place.js";

const blockBytes = 4096;
const whole = { offsetBytes: 0n, lengthBytes: 1n << 60n };
const files = new KernelImageFiles();

let disk: PoolPlace;
let memory: PoolPlace;

beforeAll(async () => {
  await mkdir("/run/image-files", { recursive: true });
  disk = await mountPoolDisk("/run/image-files/disk");
  memory = await makePoolFolder("/run/image-files/memory");
});
afterAll(async () => {
  await disk.release();
  await memory.release();
});

let imageCount = 0;

/** An image of 64 blocks with these letters in some of them. */
async function createImage(place: PoolPlace, blocks: Record<number, string>): Promise<string> {
  const path = join(place.path, `image-${++imageCount}`);
  const file = await open(path, "w");
  await file.truncate(64 * blockBytes);
  for (const [index, letter] of Object.entries(blocks)) {
    await file.write(Buffer.alloc(blockBytes, letter), 0, blockBytes, Number(index) * blockBytes);
  }
  await file.close();
  return path;
}

async function readExtents(path: string) {
  const page = await files.readExtents(path, whole);
  if (page === "unsupported") throw new Error(`${path} has to be on a file system that lists extents`);
  expect(page.nextBytes).toBeUndefined();
  return page.entries;
}

describe("on xfs", () => {
  test("a clone has the bytes of its source, in the same blocks", async () => {
    const source = await createImage(disk, { 3: "a" });
    expect(await files.clone(source, `${source}-clone`)).toBe("cloned");
    expect(await readFile(`${source}-clone`)).toEqual(await readFile(source));
    expect((await stat(`${source}-clone`)).mode & 0o777).toBe(0o600);
    const [extent] = await readExtents(source);
    expect(extent).toMatchObject({ logicalBytes: 12288n, lengthBytes: 4096n, isShared: true, isPlaced: true });
    expect(await readExtents(`${source}-clone`)).toEqual([extent]);
  });

  test("a block written after the clone was made lies elsewhere", async () => {
    const source = await createImage(disk, { 0: "a" });
    await files.clone(source, `${source}-clone`);
    await writeFile(source, Buffer.alloc(blockBytes, "b"), { flag: "r+" });
    const [written] = await readExtents(source);
    const [kept] = await readExtents(`${source}-clone`);
    expect(written?.physicalBytes).not.toBe(kept?.physicalBytes);
    expect([written?.isShared, kept?.isShared]).toEqual([false, false]);
    expect((await readFile(`${source}-clone`)).subarray(0, blockBytes)).toEqual(Buffer.alloc(blockBytes, "a"));
  });

  test("a clone onto an existing file fails with EEXIST and changes nothing", async () => {
    const source = await createImage(disk, {});
    const taken = await createImage(disk, { 5: "x" });
    const before = await readFile(taken);
    expect(await rejectionOf(files.clone(source, taken))).toMatchObject({ code: "EEXIST", path: taken });
    expect(await readFile(taken)).toEqual(before);
  });
});

describe("on tmpfs", () => {
  test("a clone is unsupported and leaves nothing", async () => {
    const source = await createImage(memory, { 3: "a" });
    expect(await files.clone(source, `${source}-clone`)).toBe("unsupported");
    expect(await rejectionOf(stat(`${source}-clone`))).toMatchObject({ code: "ENOENT" });
  });

  test("extents are unsupported", async () => {
    expect(await files.readExtents(await createImage(memory, { 3: "a" }), whole)).toBe("unsupported");
  });
});

test("a clone from one file system to another is unsupported", async () => {
  const source = await createImage(disk, { 3: "a" });
  expect(await files.clone(source, join(memory.path, "clone"))).toBe("unsupported");
});

test.each([["disk"], ["memory"]])(
  "ranges of data on the %s leave holes out, and end with what was asked for",
  async (name) => {
    const path = await createImage(name === "disk" ? disk : memory, { 2: "a", 3: "a", 40: "b" });
    const inBlocks = async (offset: number, length: number) => {
      const range = { offsetBytes: BigInt(offset * blockBytes), lengthBytes: BigInt(length * blockBytes) };
      const { entries } = await files.readDataRanges(path, range);
      return entries.map(({ offsetBytes, lengthBytes }) =>
        [Number(offsetBytes), Number(lengthBytes)].map((n) => n / blockBytes),
      );
    };
    expect(await inBlocks(0, 64)).toEqual([
      [2, 2],
      [40, 1],
    ]);
    expect(await inBlocks(3, 2)).toEqual([[3, 1]]);
    expect(await inBlocks(41, 23)).toEqual([]);
  },
);

test("a missing file fails with ENOENT", async () => {
  const missing = join(disk.path, "missing");
  expect(await rejectionOf(files.clone(missing, `${missing}-clone`))).toMatchObject({ code: "ENOENT" });
  expect(await rejectionOf(files.readExtents(missing, whole))).toMatchObject({ code: "ENOENT", path: missing });
  expect(await rejectionOf(files.readDataRanges(missing, whole))).toMatchObject({ code: "ENOENT", path: missing });
});
