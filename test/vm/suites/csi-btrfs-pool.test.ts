import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { GetMetadataDeltaRequest, SnapshotMetadataService } from "../../../src/gen/csi/csi.js";
import { createRandomFile, readAllocatedBytes, writeToDevice } from "./support/device-io.js";
import { checkGroupInstants } from "./support/group-instant.js";
import { findScratchDisk, mountPoolDisk } from "./support/pool-place.js";
import { runCommand, tryCommand } from "./support/run-command.js";
import { SnapshotCalls } from "./support/snapshot-calls.js";
import { TestBed } from "./support/test-bed.js";
import type { TestVolume, VolumeWish } from "./support/test-volume.js";

// What a pool on btrfs does in another way than one on xfs, on which the other suites run.
const mebibyte = 1024 ** 2;
const sizeBytes = 64 * mebibyte;
const directory = "/run/ublk-csi-test/btrfs-pool";

let bed: TestBed;
let calls: SnapshotCalls;
let pattern: string;
let other: string;

beforeAll(async () => {
  bed = await TestBed.startIn(directory, () => mountPoolDisk(join(directory, "disk"), findScratchDisk(), "btrfs"));
  calls = new SnapshotCalls(() => bed.driver.client);
  pattern = await createRandomFile(join(directory, "pattern"), 8 * mebibyte);
  other = await createRandomFile(join(directory, "other"), 8 * mebibyte);
});
afterAll(async () => await bed.dispose());

async function started(wish: Partial<VolumeWish> & { name: string }): Promise<TestVolume> {
  const volume = bed.volume({ sizeBytes, access: { kind: "block" }, ...wish });
  await volume.start();
  return volume;
}

const snapshotImage = (snapshotId: string) => join(bed.poolPath, "snapshots", snapshotId, "image");
const readMark = async (path: string) => (await runCommand("lsattr", ["-d", path])).split(" ")[0];

/** Compares the first bytes with those of a file, as they are on the disk and not in the page cache. */
async function compare(file: string, path: string): Promise<void> {
  await runCommand("sync", []);
  await runCommand("sh", ["-c", "echo 3 > /proc/sys/vm/drop_caches"]);
  await runCommand("cmp", ["-n", String(8 * mebibyte), file, path]);
}

test("what is written around the page cache and through it is read back, and btrfs has counted no error", async () => {
  for (const direct of [true, false]) {
    const volume = await started({ name: `written-${direct}` });
    await writeToDevice(pattern, volume.targetPath, { direct });
    await compare(pattern, volume.targetPath);
    await writeToDevice(other, volume.targetPath, { direct });
    await compare(other, bed.imagePath(volume));
    expect(await readMark(bed.imagePath(volume))).toContain("C");
    await volume.finish();
  }
  await runCommand("btrfs", ["device", "stats", "--check", join(directory, "disk")]);
});

test("a snapshot takes no space, stays as it is, and becomes a volume", async () => {
  const volume = await started({ name: "source" });
  await writeToDevice(pattern, volume.targetPath, { direct: true });
  const snapshot = await calls.create("source-1", volume.id);
  expect(snapshot.readyToUse).toBe(true);
  await writeToDevice(other, volume.targetPath, { direct: true });
  await compare(pattern, snapshotImage(snapshot.snapshotId));
  const contentSource = { type: { $case: "snapshot" as const, value: { snapshotId: snapshot.snapshotId } } };
  const restored = await started({ name: "restored", contentSource });
  await compare(pattern, restored.targetPath);
  await writeToDevice(other, restored.targetPath, { direct: true });
  await compare(pattern, snapshotImage(snapshot.snapshotId));
  await restored.finish();
  await calls.delete(snapshot.snapshotId);
  await compare(other, volume.targetPath);
  await volume.finish();
});

test("an image that an older version made, with checksums, is copied into its snapshot", async () => {
  const volumes = join(bed.poolPath, "volumes");
  await runCommand("chattr", ["-C", volumes]);
  const volume = await started({ name: "older" });
  await runCommand("chattr", ["+C", volumes]);
  expect(await readMark(bed.imagePath(volume))).not.toContain("C");
  await writeToDevice(pattern, volume.targetPath, { direct: true });
  const { snapshotId, readyToUse } = await calls.create("older-1", volume.id);
  expect(readyToUse).toBe(false);
  await calls.whenReady(snapshotId);
  await compare(pattern, snapshotImage(snapshotId));
  await calls.delete(snapshotId);
  await volume.finish();
});

test("the changed blocks between two snapshots are those that were written, and no others", async () => {
  const volume = await started({ name: "tracked" });
  await writeToDevice(pattern, volume.targetPath, { direct: true });
  const { snapshotId: baseSnapshotId } = await calls.create("tracked-1", volume.id);
  const written = await createRandomFile(join(directory, "written"), mebibyte);
  for (const seekBlocks of [2, 40]) await writeToDevice(written, volume.targetPath, { seekBlocks, direct: true });
  const { snapshotId: targetSnapshotId } = await calls.create("tracked-2", volume.id);
  const request = GetMetadataDeltaRequest.fromPartial({ baseSnapshotId, targetSnapshotId });
  const messages = await bed.driver.client.collect(SnapshotMetadataService.getMetadataDelta, request);
  const changed = messages.flatMap(({ blockMetadata }) => blockMetadata);
  const covered = changed.map((block) => [Number(block.byteOffset), Number(block.byteOffset + block.sizeBytes)]);
  for (const begin of [2 * mebibyte, 40 * mebibyte]) {
    for (const position of [begin, begin + mebibyte - 4096]) {
      expect(covered.some(([from = 0, to = 0]) => from <= position && position < to)).toBe(true);
    }
  }
  expect(changed.reduce((sum, block) => sum + Number(block.sizeBytes), 0)).toBe(2 * mebibyte);
  for (const snapshotId of [baseSnapshotId, targetSnapshotId]) await calls.delete(snapshotId);
  await volume.finish();
});

test("a group is one instant over all members, under one writer across them", async () => {
  const members = [await started({ name: "member-1" }), await started({ name: "member-2" })];
  await checkGroupInstants(calls, members, { rounds: 3, imageOf: snapshotImage });
  for (const member of members) await member.finish();
});

test("a thin volume gives discarded ranges back", async () => {
  const volume = await started({ name: "thin", parameters: { provisioning: "thin" } });
  await writeToDevice(pattern, volume.targetPath, { direct: true });
  expect(await readAllocatedBytes(bed.imagePath(volume))).toBeGreaterThanOrEqual(8 * mebibyte);
  await runCommand("blkdiscard", [volume.targetPath]);
  expect(await readAllocatedBytes(bed.imagePath(volume))).toBe(0);
  await volume.finish();
});

test("on a full file system a thick volume is written to again and again, and a thin one not", async () => {
  const thick = await started({ name: "thick" });
  const thin = await started({ name: "hungry", parameters: { provisioning: "thin" } });
  await writeToDevice(pattern, thick.targetPath, { direct: true });
  await fillPool();
  const fill = ["if=/dev/urandom", `of=${thin.targetPath}`, "bs=1M", "oflag=direct", "conv=notrunc,nocreat"];
  expect((await tryCommand("dd", [...fill, "status=none"])).stderr).toContain("No space left on device");
  for (const file of [other, pattern, other]) await writeToDevice(file, thick.targetPath, { direct: true });
  await compare(other, thick.targetPath);
  await runCommand("sh", ["-c", `rm ${directory}/disk/filler-*`]);
  await writeToDevice(pattern, thin.targetPath, { direct: true });
  await compare(pattern, thin.targetPath);
  for (const volume of [thick, thin]) await volume.finish();
});

/** Leaves less than a mebibyte of room, by files that take what there is. */
async function fillPool(): Promise<void> {
  for (let mebibytes = 4096, count = 0; mebibytes >= 1; count += 1) {
    const file = join(directory, "disk", `filler-${count}`);
    const { exitCode } = await tryCommand("fallocate", ["-l", `${mebibytes}MiB`, file]);
    if (exitCode !== 0) mebibytes /= 2;
  }
}
