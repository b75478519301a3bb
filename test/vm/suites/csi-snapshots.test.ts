import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { status as Code } from "@grpc/grpc-js";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { ControllerService, GetCapacityRequest } from "../../../src/gen/csi/csi.js";
import { readAllocatedBytes, writeToDevice } from "./support/device-io.js";
import { checkGroupInstants } from "./support/group-instant.js";
import { runCommand } from "./support/run-command.js";
import { SnapshotCalls } from "./support/snapshot-calls.js";
import { TestBed } from "./support/test-bed.js";
import type { TestVolume, VolumeWish } from "./support/test-volume.js";
import { waitFor } from "./support/wait-for.js";

const mebibyte = 1024 ** 2;
const sizeBytes = 64 * mebibyte;
const block = { kind: "block" } as const;
const ext4 = { kind: "mount", fsType: "ext4" } as const;

let bed: TestBed;
let calls: SnapshotCalls;
let pattern: string;
let other: string;

beforeAll(async () => {
  bed = await TestBed.start("snapshots");
  calls = new SnapshotCalls(() => bed.driver.client);
  await mkdir(join(bed.directory, "files"));
  [pattern, other] = [await randomFile("pattern"), await randomFile("other")];
});
afterAll(async () => {
  await runCommand("rm", ["-r", join(bed.directory, "files")]);
  await bed.dispose();
});

async function randomFile(name: string): Promise<string> {
  const path = join(bed.directory, "files", name);
  await runCommand("dd", ["if=/dev/urandom", `of=${path}`, "bs=1M", "count=8", "status=none"]);
  return path;
}

const poolPathOf = (pool: string) => (pool === "disk" ? bed.poolPath : join(bed.stateDir, "memory/memory"));
const snapshotImage = (snapshotId: string, pool = "disk") => join(poolPathOf(pool), "snapshots", snapshotId, "image");
const compare = (file: string, with_: string) => runCommand("cmp", ["-n", String(8 * mebibyte), file, with_]);

async function started(wish: Omit<VolumeWish, "sizeBytes">): Promise<TestVolume> {
  const volume = bed.volume({ sizeBytes, ...wish });
  await volume.start();
  return volume;
}

/** A volume made from a snapshot, staged and published. */
async function restored(snapshotId: string, wish: Partial<VolumeWish> & { name: string }): Promise<TestVolume> {
  const contentSource = { type: { $case: "snapshot" as const, value: { snapshotId } } };
  const volume = bed.volume({ sizeBytes, access: block, contentSource, ...wish });
  await volume.start();
  return volume;
}

test("a snapshot of a volume in use takes no space, and later writes are not in it", async () => {
  const volume = await started({ name: "live", access: block });
  await writeToDevice(pattern, volume.targetPath, { direct: true });
  const snapshot = await calls.create("live-1", volume.id);
  expect(snapshot).toMatchObject({ readyToUse: true, sizeBytes: BigInt(sizeBytes), sourceVolumeId: volume.id });
  await writeToDevice(other, volume.targetPath, { direct: true });
  await compare(pattern, snapshotImage(snapshot.snapshotId));
  const restoredVolume = await restored(snapshot.snapshotId, { name: "live-restored" });
  await volume.finish();
  await compare(pattern, restoredVolume.targetPath);
  await calls.delete(snapshot.snapshotId);
  await compare(pattern, restoredVolume.targetPath);
  await restoredVolume.finish();
});

test("a snapshot of an allocated volume that has hardly been written holds hardly any space", async () => {
  const volume = await started({ name: "hardly", access: block });
  await writeToDevice(pattern, volume.targetPath, { direct: true });
  const { snapshotId } = await calls.create("hardly-1", volume.id);
  expect(await readAllocatedBytes(snapshotImage(snapshotId))).toBeLessThan(10 * mebibyte);
  await calls.delete(snapshotId);
  await volume.finish();
});

test("a larger volume made from a snapshot has its bytes, and zeroes behind them", async () => {
  const volume = await started({ name: "small", access: block });
  await writeToDevice(pattern, volume.targetPath, { direct: true });
  const { snapshotId } = await calls.create("small-1", volume.id);
  const larger = await restored(snapshotId, { name: "larger", sizeBytes: 2 * sizeBytes });
  await compare(pattern, larger.targetPath);
  await runCommand("cmp", ["-i", `${sizeBytes}:0`, "-n", String(sizeBytes), larger.targetPath, "/dev/zero"]);
  expect(await readAllocatedBytes(bed.imagePath(larger))).toBeGreaterThanOrEqual(2 * sizeBytes);
  await larger.finish();
  await calls.delete(snapshotId);
  await volume.finish();
});

test("a clone of a file system in use, made under a writer, mounts and is clean", async () => {
  const volume = await started({ name: "busy", access: ext4 });
  await writeFile(join(volume.targetPath, "durable"), "before", { flush: true });
  let isStopped = false;
  const writing = (async () => {
    for (let turn = 0; !isStopped; turn++) {
      await writeFile(join(volume.targetPath, `file-${turn % 50}`), "x".repeat(100_000), { flush: turn % 5 === 0 });
    }
  })();
  await waitFor("the writer is at work", async () => (await readdir(volume.targetPath)).length > 20);
  const contentSource = { type: { $case: "volume" as const, value: { volumeId: volume.id } } };
  const clone = bed.volume({ name: "busy-clone", sizeBytes, access: ext4, contentSource });
  await clone.create();
  isStopped = true;
  await writing;
  await clone.stage();
  await clone.publish();
  expect(await readFile(join(clone.targetPath, "durable"), "utf8")).toBe("before");
  await clone.unpublish();
  await clone.unstage();
  await runCommand("e2fsck", ["-f", "-n", bed.imagePath(clone)]);
  await clone.delete();
  await volume.finish();
});

test("a group is one instant over all members, under one writer across them", async () => {
  const members = [
    await started({ name: "member-1", access: block }),
    await started({ name: "member-2", access: block }),
  ];
  await checkGroupInstants(calls, members, { rounds: 10, imageOf: snapshotImage });
  for (const member of members) await member.finish();
  expect(await calls.listIds()).toEqual([]);
});

describe("in a memory pool", () => {
  const parameters = { pool: "memory" };

  test("a snapshot is copied with its holes, and becomes a volume there or in another pool", async () => {
    const volume = await started({
      name: "memory",
      access: block,
      parameters: { ...parameters, provisioning: "thin" },
    });
    await writeToDevice(pattern, volume.targetPath, { direct: true });
    await volume.unpublish();
    await volume.unstage();
    const { snapshotId } = await calls.createReady("memory-1", volume.id);
    await volume.delete();
    expect(await readAllocatedBytes(snapshotImage(snapshotId, "memory"))).toBeLessThan(9 * mebibyte);
    for (const pool of ["memory", "disk"]) {
      const again = await restored(snapshotId, { name: `memory-to-${pool}`, parameters: { pool } });
      await compare(pattern, again.targetPath);
      await again.finish();
    }
    await calls.delete(snapshotId);
  });

  test("a snapshot of a volume in use has nothing of what is written while it is copied", async () => {
    const volume = await started({ name: "memory-live", access: block, parameters });
    await writeToDevice(pattern, volume.targetPath, { direct: true });
    const snapshot = await calls.create("memory-live-1", volume.id);
    await writeToDevice(other, volume.targetPath, { direct: true });
    await calls.createReady("memory-live-1", volume.id);
    await compare(pattern, snapshotImage(snapshot.snapshotId, "memory"));
    await compare(other, volume.targetPath);
    await calls.delete(snapshot.snapshotId);
    await volume.finish();
  });

  test("a copy that the driver's death interrupted is finished by the next one, whole and of the same instant", async () => {
    const volume = await started({ name: "memory-killed", access: block, parameters });
    await writeToDevice(pattern, volume.targetPath, { direct: true });
    const { snapshotId } = await calls.create("memory-killed-1", volume.id);
    await bed.driver.kill();
    await bed.restart();
    await writeToDevice(other, volume.targetPath, { direct: true });
    expect((await calls.createReady("memory-killed-1", volume.id)).snapshotId).toBe(snapshotId);
    await compare(pattern, snapshotImage(snapshotId, "memory"));
    await calls.delete(snapshotId);
    await volume.finish();
  });

  test("a group is one instant over all members, though their bytes are copied later", async () => {
    const members = [
      await started({ name: "copied-1", access: block, parameters }),
      await started({ name: "copied-2", access: block, parameters }),
    ];
    const imageOf = (snapshotId: string) => snapshotImage(snapshotId, "memory");
    await checkGroupInstants(calls, members, { rounds: 3, imageOf });
    for (const member of members) await member.finish();
  });

  test("a snapshot that does not fit is refused, and leaves nothing", async () => {
    const volume = bed.volume({ name: "too-big", sizeBytes: 300 * mebibyte, access: block, parameters });
    await volume.create();
    await expect(calls.create("too-big-1", volume.id)).rejects.toMatchObject({ code: Code.RESOURCE_EXHAUSTED });
    expect(await calls.listIds()).toEqual([]);
    expect(await readdir(join(poolPathOf("memory"), "snapshots"))).toEqual([]);
    await volume.delete();
  });
});

test("snapshots and groups are there after the driver was killed", async () => {
  const volume = await started({ name: "killed", access: block });
  await writeToDevice(pattern, volume.targetPath, { direct: true });
  const snapshot = await calls.createReady("killed-1", volume.id);
  const group = await calls.createGroupReady("killed-group", [volume.id]);
  await bed.driver.kill();
  await bed.restart();
  expect(await calls.get(snapshot.snapshotId)).toEqual(snapshot);
  expect(await calls.createGroup("killed-group", [volume.id])).toEqual(group);
  await compare(pattern, snapshotImage(snapshot.snapshotId));
  await calls.deleteGroup(group);
  await calls.delete(snapshot.snapshotId);
  await volume.finish();
});

test("what overwriting shared blocks will take is kept free for it", async () => {
  const volume = await started({ name: "promise", access: block });
  await writeToDevice(pattern, volume.targetPath, { direct: true });
  const { snapshotId } = await calls.create("promise-1", volume.id);
  const booked = await readCapacityLeft();
  await writeToDevice(other, volume.targetPath, { direct: true });
  // What the overwriting took had been kept free for it.
  expect(Math.abs((await readCapacityLeft()) - booked)).toBeLessThan(2 * mebibyte);
  await compare(pattern, snapshotImage(snapshotId));
  await calls.delete(snapshotId);
  await volume.finish();
});

async function readCapacityLeft(): Promise<number> {
  const request = GetCapacityRequest.fromPartial({ parameters: { pool: "disk" } });
  return Number((await bed.driver.client.call(ControllerService.getCapacity, request)).availableCapacity);
}
