import { mkdtemp, open, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import type { FileExtent, FileRange } from "../../system/image-files.js";
import { FakeImageFiles } from "../../system/testing/fake-image-files.js";
import { rejectionOf } from "../../testing/workspace.js";
import { ChangedBlocks, type SnapshotImage } from "./changed-blocks.js";

const blockBytes = 4096;
const blockCount = 32;
const sizeBytes = BigInt(blockCount * blockBytes);

let directory: string;
let files: FakeImageFiles;
let blocks: ChangedBlocks;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "ublk-csi-test-"));
  files = new FakeImageFiles();
  blocks = new ChangedBlocks(files);
});
afterEach(async () => await rm(directory, { recursive: true }));

/** One letter for each block; `.` is a hole. */
async function createSnapshot(
  id: string,
  letters: string,
  change: Partial<SnapshotImage> = {},
): Promise<SnapshotImage> {
  const path = join(directory, id);
  const file = await open(path, "w");
  await file.truncate(letters.length * blockBytes);
  for (const [index, letter] of [...letters].entries()) {
    if (letter !== ".") await file.write(Buffer.alloc(blockBytes, letter), 0, blockBytes, index * blockBytes);
  }
  await file.close();
  const size = BigInt(letters.length * blockBytes);
  return { id, path, sourceVolumeId: "vol-1", sizeBytes: size, dataOffsetBytes: 0n, ...change };
}

/** Says of a file where its blocks lie: one number for each; `.` is a hole, and blocks of other files are shared. */
function place({ path }: SnapshotImage, places: ReadonlyArray<number | ".">, isShared = true): void {
  const extents = [...places.entries()].flatMap(([index, at]): FileExtent[] => {
    if (at === ".") return [];
    const logicalBytes = BigInt(index * blockBytes);
    const physicalBytes = BigInt(at * blockBytes);
    return [{ logicalBytes, physicalBytes, lengthBytes: 4096n, isShared, isUnwritten: false, isPlaced: true }];
  });
  files.extents.set(path, extents);
}

const neverAborted = new AbortController().signal;

/** Ranges as `first+count` in blocks; parts of blocks show as fractions. */
async function list(ranges: AsyncIterable<FileRange>): Promise<string> {
  const listed: string[] = [];
  for await (const { offsetBytes, lengthBytes } of ranges) {
    listed.push(`${Number(offsetBytes) / blockBytes}+${Number(lengthBytes) / blockBytes}`);
  }
  return listed.join(" ");
}

const allocated = (snapshot: SnapshotImage, offsetBytes = 0n) =>
  list(blocks.allocated(snapshot, { offsetBytes, signal: neverAborted }));
const changed = (base: SnapshotImage, target: SnapshotImage, offsetBytes = 0n) =>
  list(blocks.changed(base, target, { offsetBytes, signal: neverAborted }));

describe("allocated blocks", () => {
  test("are those with data, adjoining ones as one range", async () => {
    expect(await allocated(await createSnapshot("a", ".xx..y.z"))).toBe("1+2 5+1 7+1");
  });

  test("of an empty snapshot are none", async () => {
    expect(await allocated(await createSnapshot("a", "........"))).toBe("");
  });

  test("begin where the caller wants to go on, even in the middle of a block", async () => {
    const snapshot = await createSnapshot("a", ".xx..y.z");
    expect(await allocated(snapshot, 2n * 4096n)).toBe("2+1 5+1 7+1");
    expect(await allocated(snapshot, 2n * 4096n + 1024n)).toBe("2.25+0.75 5+1 7+1");
    expect(await allocated(snapshot, snapshot.sizeBytes)).toBe("");
  });

  test("come in pages without a seam", async () => {
    files.pageEntriesMax = 1;
    expect(await allocated(await createSnapshot("a", ".xxxxy.z"))).toBe("1+5 7+1");
  });

  test("are counted from where the volume's bytes begin in the image", async () => {
    const snapshot = await createSnapshot("a", "hh.x.y", { dataOffsetBytes: 2n * 4096n, sizeBytes: 4n * 4096n });
    expect(await allocated(snapshot)).toBe("1+1 3+1");
    expect(await allocated(snapshot, 2n * 4096n)).toBe("3+1");
  });

  test.each([[-1n], [8n * 4096n + 1n]])("of an offset of %s are out of range", async (offsetBytes) => {
    const snapshot = await createSnapshot("a", "xxxxxxxx");
    const query = { offsetBytes, signal: neverAborted };
    expect(() => blocks.allocated(snapshot, query)).toThrow(/^starting_offset is .* snapshot a has 32768 bytes/);
  });

  test("of a snapshot that was deleted meanwhile fail, saying so", async () => {
    const snapshot = await createSnapshot("a", "x");
    await rm(snapshot.path);
    expect(await rejectionOf(allocated(snapshot))).toMatchObject({ code: "missing", message: /snapshot a is gone/ });
  });
});

describe("changed blocks of images that share blocks", () => {
  test("leave out what both share", async () => {
    const base = await createSnapshot("a", "xxxxxxxx");
    const target = await createSnapshot("b", "xxyxxxzz");
    place(base, [10, 11, 12, 13, 14, 15, 16, 17]);
    place(target, [10, 11, 42, 13, 14, 15, 46, 47]);
    expect(await changed(base, target)).toBe("2+1 6+2");
  });

  test("have blocks that were discarded and blocks that were holes", async () => {
    const base = await createSnapshot("a", "xx..");
    const target = await createSnapshot("b", "x.x.");
    place(base, [10, 11, ".", "."]);
    place(target, [10, ".", 42, "."]);
    expect(await changed(base, target)).toBe("1+2");
  });

  test("include a block that was rewritten with the same bytes, without a look at it", async () => {
    const base = await createSnapshot("a", "x");
    const target = await createSnapshot("b", "x");
    place(base, [10]);
    place(target, [42]);
    expect(await changed(base, target)).toBe("0+1");
  });

  test("see the same block at two places of the volume as a change", async () => {
    const base = await createSnapshot("a", "xy");
    const target = await createSnapshot("b", "yx");
    place(base, [10, 11]);
    place(target, [11, 10]);
    expect(await changed(base, target)).toBe("0+2");
  });

  test("are compared where the place is nobody else's, though it is the same number", async () => {
    const base = await createSnapshot("a", "xyz");
    const target = await createSnapshot("b", "xyw");
    place(base, [10, 11, 12], false);
    place(target, [10, 11, 12], false);
    expect(await changed(base, target)).toBe("2+1");
  });

  test("are the same by long extents as by short ones", async () => {
    const base = await createSnapshot("a", "xxxxxxxx");
    const target = await createSnapshot("b", "xxxyyxxx");
    place(base, [10, 11, 12, 13, 14, 15, 16, 17]);
    const extent = { isShared: true, isUnwritten: false, isPlaced: true };
    files.extents.set(target.path, [
      { ...extent, logicalBytes: 0n, physicalBytes: 40960n, lengthBytes: 12288n },
      { ...extent, logicalBytes: 12288n, physicalBytes: 409600n, lengthBytes: 8192n },
      { ...extent, logicalBytes: 20480n, physicalBytes: 61440n, lengthBytes: 12288n },
    ]);
    expect(await changed(base, target)).toBe("3+2");
    expect(await changed(target, base)).toBe("3+2");
    expect(await changed(base, target, 4n * 4096n)).toBe("4+1");
  });

  test("take unwritten extents for holes", async () => {
    const base = await createSnapshot("a", "..");
    const target = await createSnapshot("b", "..");
    place(target, [10, 11]);
    files.extents.set(
      target.path,
      (files.extents.get(target.path) ?? []).map((extent) => ({ ...extent, isUnwritten: true })),
    );
    expect(await changed(base, target)).toBe("");
  });

  test("compare compressed extents, whose place does not tell what is in them", async () => {
    const base = await createSnapshot("a", "xy");
    const target = await createSnapshot("b", "xz");
    for (const snapshot of [base, target]) {
      place(snapshot, [10, 10]);
      const compressed = (files.extents.get(snapshot.path) ?? []).map((extent) => ({ ...extent, isPlaced: false }));
      files.extents.set(snapshot.path, compressed);
    }
    expect(await changed(base, target)).toBe("1+1");
  });
});

describe("changed blocks of images that share nothing", () => {
  beforeEach(() => {
    files.hasExtents = false;
  });

  test("are those whose bytes differ", async () => {
    const base = await createSnapshot("a", "xy.zw..v");
    const target = await createSnapshot("b", "xz.z.u.v");
    expect(await changed(base, target)).toBe("1+1 4+2");
  });

  test("treat written zeroes and holes alike", async () => {
    const base = await createSnapshot("a", "..");
    const target = await createSnapshot("b", ".\0");
    expect(await changed(base, target)).toBe("");
  });

  test("find a change of one byte in the middle of many", async () => {
    const base = await createSnapshot("a", "x".repeat(600));
    const target = await createSnapshot("b", "x".repeat(600));
    const content = await readFile(target.path);
    content[511 * blockBytes + 17] = 0;
    await writeFile(target.path, content);
    expect(await changed(base, target)).toBe("511+1");
  });

  test("cover what a volume has grown by, as far as it was written", async () => {
    const base = await createSnapshot("a", "xx");
    const target = await createSnapshot("b", "xx.y..");
    expect(await changed(base, target)).toBe("3+1");
  });

  test("of a snapshot and itself are none", async () => {
    const base = await createSnapshot("a", "xy.z");
    expect(await changed(base, base)).toBe("");
  });

  test("end when nobody wants them any more", async () => {
    const base = await createSnapshot("a", "xy.z");
    const target = await createSnapshot("b", "xz.z");
    const stop = new AbortController();
    stop.abort(new Error("the caller is gone"));
    const ranges = blocks.changed(base, target, { offsetBytes: 0n, signal: stop.signal });
    expect(await rejectionOf(list(ranges))).toMatchObject({ message: "the caller is gone" });
  });
});

test("changed blocks of two volumes are refused, with the ids of both", async () => {
  const base = await createSnapshot("a", "x");
  const target = await createSnapshot("b", "x", { sourceVolumeId: "vol-2" });
  expect(() => blocks.changed(base, target, { offsetBytes: 0n, signal: neverAborted })).toThrow(
    "snapshot a is of volume vol-1, and snapshot b of volume vol-2: name two snapshots of one volume",
  );
});

test("whatever was written and wherever a call goes on, no changed byte is left out and no other block reported", async () => {
  const letter = fc.constantFrom(".", "x", "y");
  const image = fc.string({ unit: letter, minLength: blockCount, maxLength: blockCount });
  const offset = fc.bigInt({ min: 0n, max: sizeBytes });
  await fc.assert(
    fc.asyncProperty(image, image, offset, fc.boolean(), async (before, after, offsetBytes, isReflink) => {
      const base = await createSnapshot("a", before);
      const target = await createSnapshot("b", after);
      files.hasExtents = isReflink;
      place(
        base,
        [...before].map((kind, index) => (kind === "." ? "." : index + 1)),
      );
      place(
        target,
        [...after].map((kind, index) => (kind === "." ? "." : before[index] === kind ? index + 1 : index + 1001)),
      );
      const expected = new Set(
        [...after].flatMap((kind, index) => {
          const isAfter = BigInt((index + 1) * blockBytes) > offsetBytes;
          return isAfter && kind !== before[index] ? [index] : [];
        }),
      );
      const found = new Set<number>();
      let end = offsetBytes;
      for await (const range of blocks.changed(base, target, { offsetBytes, signal: neverAborted })) {
        expect(range.offsetBytes).toBeGreaterThanOrEqual(end);
        expect(range.lengthBytes).toBeGreaterThan(0n);
        end = range.offsetBytes + range.lengthBytes;
        for (let at = range.offsetBytes; at < end; at += 4096n - (at % 4096n)) found.add(Number(at / 4096n));
      }
      expect(found).toEqual(expected);
    }),
    { numRuns: 60 },
  );
});
