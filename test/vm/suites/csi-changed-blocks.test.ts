import { open } from "node:fs/promises";
import { join } from "node:path";
import { status as Code } from "@grpc/grpc-js";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import {
  GetMetadataAllocatedRequest,
  GetMetadataDeltaRequest,
  SnapshotMetadataService,
} from "../../../src/gen/csi/csi.js";
import { createRandomFile, digest, writeToDevice } from "./support/device-io.js";
import { runCommand } from "./support/run-command.js";
import { SnapshotCalls } from "./support/snapshot-calls.js";
import { TestBed } from "./support/test-bed.js";
import type { TestVolume } from "./support/test-volume.js";

const kibibyte = 1024;
const mebibyte = 1024 ** 2;
const sizeBytes = 32 * mebibyte;

/** A range of a volume: where it begins, and behind its end. */
type Range = [begin: number, end: number];

let bed: TestBed;
let calls: SnapshotCalls;

beforeAll(async () => {
  bed = await TestBed.start("changed-blocks");
  calls = new SnapshotCalls(() => bed.driver.client);
});
afterAll(async () => await bed.dispose());

async function allocated(snapshotId: string, startingOffset = 0n): Promise<Range[]> {
  const request = GetMetadataAllocatedRequest.fromPartial({ snapshotId, startingOffset });
  return toRanges(await bed.driver.client.collect(SnapshotMetadataService.getMetadataAllocated, request));
}

async function delta(baseSnapshotId: string, targetSnapshotId: string, startingOffset = 0n): Promise<Range[]> {
  const request = GetMetadataDeltaRequest.fromPartial({
    baseSnapshotId,
    targetSnapshotId,
    startingOffset,
    maxResults: 2,
  });
  return toRanges(await bed.driver.client.collect(SnapshotMetadataService.getMetadataDelta, request));
}

/** The ranges of all messages, which have to ascend, stay apart, and end with the volume. */
function toRanges(
  messages: Array<{ volumeCapacityBytes: bigint; blockMetadata: Array<{ byteOffset: bigint; sizeBytes: bigint }> }>,
): Range[] {
  for (const { volumeCapacityBytes } of messages) expect(volumeCapacityBytes).toBe(BigInt(sizeBytes));
  const ranges = messages
    .flatMap(({ blockMetadata }) => blockMetadata)
    .map((block): Range => [Number(block.byteOffset), Number(block.byteOffset + block.sizeBytes)]);
  let last = 0;
  for (const [begin, end] of ranges) {
    expect(begin).toBeGreaterThanOrEqual(last);
    expect(end).toBeGreaterThan(begin);
    last = end;
  }
  expect(last).toBeLessThanOrEqual(sizeBytes);
  return ranges;
}

const sumOf = (ranges: readonly Range[]) => ranges.reduce((sum, [begin, end]) => sum + end - begin, 0);
const isCovered = (ranges: readonly Range[], position: number) =>
  ranges.some(([begin, end]) => begin <= position && position < end);

/** Where two images differ, found by reading all of both. */
async function findDifferences(one: string, other: string): Promise<number[]> {
  const [left, right] = await Promise.all([open(one), open(other)]);
  const differences: number[] = [];
  for (let offset = 0; offset < sizeBytes; offset += mebibyte) {
    const [a, b] = [Buffer.alloc(mebibyte), Buffer.alloc(mebibyte)];
    await left.read(a, 0, mebibyte, offset);
    await right.read(b, 0, mebibyte, offset);
    if (a.equals(b)) continue;
    for (let at = 0; at < mebibyte; at += 512) {
      if (!a.subarray(at, at + 512).equals(b.subarray(at, at + 512))) differences.push(offset + at);
    }
  }
  await Promise.all([left.close(), right.close()]);
  return differences;
}

async function copyRanges(from: string, to: string, ranges: readonly Range[]): Promise<void> {
  const [source, target] = await Promise.all([open(from), open(to, "r+")]);
  for (const [begin, end] of ranges) {
    const buffer = Buffer.alloc(end - begin);
    await source.read(buffer, 0, buffer.length, begin);
    await target.write(buffer, 0, buffer.length, begin);
  }
  await Promise.all([source.close(), target.close()]);
}

/** Writes so many random bytes at this place of a volume. */
async function scribble(volume: TestVolume, offsetBytes: number, lengthBytes: number): Promise<void> {
  const file = await createRandomFile(join(bed.directory, "scribble"), lengthBytes);
  await writeToDevice(file, volume.targetPath, {
    seekBlocks: offsetBytes / 4096,
    blockBytes: 4096,
    direct: true,
  });
  await runCommand("rm", [file]);
}

describe("two snapshots of a volume on a pool that shares blocks", () => {
  let volume: TestVolume;
  let base: string;
  let target: string;
  const image = (snapshotId: string) => join(bed.poolPath, "snapshots", snapshotId, "image");

  beforeAll(async () => {
    volume = bed.volume({ name: "tracked", sizeBytes, access: { kind: "block" } });
    await volume.start();
    await scribble(volume, 0, 4 * mebibyte);
    await scribble(volume, 8 * mebibyte, 64 * kibibyte);
    base = (await calls.createReady("tracked-1", volume.id)).snapshotId;
    await scribble(volume, 4096, 4096);
    await scribble(volume, mebibyte, 128 * kibibyte);
    await scribble(volume, 20 * mebibyte, 1 * mebibyte);
    await scribble(volume, sizeBytes - 4096, 4096);
    target = (await calls.createReady("tracked-2", volume.id)).snapshotId;
  });
  afterAll(async () => {
    for (const snapshotId of [base, target]) await calls.delete(snapshotId);
    await volume.finish();
  });

  test("the allocated blocks of a snapshot are all that is not zero in it, and not the whole volume", async () => {
    const ranges = await allocated(base);
    for (const written of [0, 4 * mebibyte - 512, 8 * mebibyte, 8 * mebibyte + 64 * kibibyte - 512]) {
      expect(isCovered(ranges, written)).toBe(true);
    }
    expect(sumOf(ranges)).toBeLessThan(8 * mebibyte);
  });

  test("every byte that differs lies in a changed block, and what was not written does not", async () => {
    const ranges = await delta(base, target);
    const differences = await findDifferences(image(base), image(target));
    expect(differences.length).toBeGreaterThan(2000);
    expect(differences.filter((position) => !isCovered(ranges, position))).toEqual([]);
    expect(sumOf(ranges)).toBeLessThan(4 * mebibyte);
  });

  test("no block has changed between a snapshot and itself", async () => {
    expect(await delta(base, base)).toEqual([]);
  });

  test("from any offset on come the same blocks, cut there", async () => {
    const whole = await delta(base, target);
    for (const from of [512, mebibyte + 4096, 20 * mebibyte, sizeBytes - 512, sizeBytes]) {
      const rest = whole.filter(([, end]) => end > from).map(([begin, end]): Range => [Math.max(begin, from), end]);
      expect(await delta(base, target, BigInt(from))).toEqual(rest);
    }
  });

  test("an incremental backup restores the later snapshot bit by bit", async () => {
    const backup = join(bed.directory, "backup");
    await runCommand("truncate", ["-s", String(sizeBytes), backup]);
    await copyRanges(image(base), backup, await allocated(base));
    expect(await digest(backup, sizeBytes)).toBe(await digest(image(base), sizeBytes));
    await copyRanges(image(target), backup, await delta(base, target));
    expect(await digest(backup, sizeBytes)).toBe(await digest(image(target), sizeBytes));
    await runCommand("rm", [backup]);
  });

  test("wrong questions have the codes of the specification", async () => {
    await expect(allocated("no-such-snapshot")).rejects.toMatchObject({ code: Code.NOT_FOUND });
    await expect(delta(base, "no-such-snapshot")).rejects.toMatchObject({ code: Code.NOT_FOUND });
    await expect(allocated("")).rejects.toMatchObject({ code: Code.INVALID_ARGUMENT });
    await expect(allocated(base, BigInt(sizeBytes + 1))).rejects.toMatchObject({ code: Code.OUT_OF_RANGE });
    await expect(allocated(base, -1n)).rejects.toMatchObject({ code: Code.OUT_OF_RANGE });
  });
});
