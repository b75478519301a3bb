import { mkdir, readdir, readFile, rm, rmdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { status } from "@grpc/grpc-js";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { ControllerService, GetCapacityRequest, ListVolumesRequest } from "../../../src/gen/csi/csi.js";
import { createRandomFile, digest } from "./support/device-io.js";
import { exists } from "./support/exists.js";
import { InlineVolume, type InlineWish } from "./support/inline-volume.js";
import { readMachineState, waitUntilNothingIsLeft } from "./support/machine-state.js";
import { findMount } from "./support/mounts.js";
import { runCommand } from "./support/run-command.js";
import { TestBed } from "./support/test-bed.js";
import { waitFor } from "./support/wait-for.js";

const mebibyte = 1024 ** 2;

let bed: TestBed;

beforeAll(async () => {
  bed = await TestBed.start("ephemeral");
});
afterAll(async () => await bed.dispose());

const inline = (wish: InlineWish, from = bed) =>
  new InlineVolume(wish, join(from.directory, "kubelet"), () => from.driver.client);

const listImages = () => readdir(join(bed.poolPath, "volumes"));

async function readCapacity(from = bed): Promise<bigint> {
  const request = GetCapacityRequest.fromPartial({});
  return (await from.driver.client.call(ControllerService.getCapacity, request)).availableCapacity;
}

describe("an inline volume", () => {
  test.each<InlineWish>([
    { pod: "1", attributes: { size: "64Mi" } },
    { pod: "2", attributes: { size: "320Mi", provisioning: "thin" }, fsType: "xfs" },
  ])("%j: has its size and file system, and goes without a trace", async (wish) => {
    const before = await readMachineState();
    const capacity = await readCapacity();
    const volume = inline(wish);
    await volume.publish();
    const { source, fsType } = findMount(volume.targetPath) ?? {};
    expect(fsType).toBe(wish.fsType ?? "ext4");
    const sizeBytes = Number(await runCommand("blockdev", ["--getsize64", source ?? ""]));
    expect(sizeBytes).toBe(Number.parseInt(wish.attributes?.size ?? "", 10) * mebibyte);
    await createRandomFile(join(volume.targetPath, "data"), mebibyte);
    await volume.unpublish();
    expect(await listImages()).toEqual([]);
    expect(await readCapacity()).toBe(capacity);
    await waitUntilNothingIsLeft(before);
    await volume.unpublish(); // once more, of what is gone
  });

  test("published again it keeps its files, and is not among the controller's volumes", async () => {
    const volume = inline({ pod: "3", attributes: { size: "32Mi" } });
    await volume.publish();
    await writeFile(join(volume.targetPath, "note"), "kept");
    await volume.publish();
    expect(await readFile(join(volume.targetPath, "note"), "utf8")).toBe("kept");
    const request = ListVolumesRequest.fromPartial({});
    expect((await bed.driver.client.call(ControllerService.listVolumes, request)).entries).toEqual([]);
    await volume.unpublish();
  });

  test("read-only it takes no files", async () => {
    const volume = inline({ pod: "4", attributes: { size: "32Mi" } });
    await volume.publish({ readOnly: true });
    await expect(writeFile(join(volume.targetPath, "note"), "x")).rejects.toMatchObject({ code: "EROFS" });
    await volume.unpublish();
  });
});

describe("what an author may not have leaves nothing", () => {
  test.each<[Record<string, string>, status, string]>([
    [{ size: "100Gi" }, status.INVALID_ARGUMENT, "at most"],
    [{ pool: "memory" }, status.INVALID_ARGUMENT, "allowed is one of: disk"],
    [{ mkfsOptions: "-E root_owner=0:0" }, status.INVALID_ARGUMENT, "unknown"],
    [{ size: "9Gi" }, status.RESOURCE_EXHAUSTED, "bytes available"], // the disk has 8 GiB
  ])("%j", async (attributes, code, reason) => {
    const before = await readMachineState();
    const volume = inline({ pod: "5", attributes });
    await expect(volume.publish()).rejects.toMatchObject({ code, details: expect.stringContaining(reason) });
    await volume.removePodDirectory();
    expect(await listImages()).toEqual([]);
    await waitUntilNothingIsLeft(before);
  });
});

test("a publication that fails at its mount takes device, image and target away", async () => {
  const before = await readMachineState();
  const volume = inline({ pod: "6", attributes: { size: "32Mi" } });
  await mkdir(volume.targetPath, { recursive: true });
  await writeFile(join(volume.targetPath, "in-the-way"), "somebody's");
  await expect(volume.publish()).rejects.toMatchObject({ details: expect.stringContaining("is not empty") });
  expect(await readdir(volume.targetPath)).toEqual(["in-the-way"]);
  expect(await listImages()).toEqual([]);
  await waitUntilNothingIsLeft(before);
  await rm(join(volume.targetPath, "in-the-way"));
  await rmdir(volume.targetPath);
  await volume.removePodDirectory();
});

test("a later publication that fails at its mount keeps the volume with its files", async () => {
  const volume = inline({ pod: "6", attributes: { size: "32Mi" } });
  await volume.publish();
  await writeFile(join(volume.targetPath, "note"), "kept");
  await runCommand("umount", [volume.targetPath]); // as a reboot of the node does
  const obstacle = join(volume.targetPath, "in-the-way");
  await writeFile(obstacle, "somebody's");
  await expect(volume.publish()).rejects.toMatchObject({ details: expect.stringContaining("is not empty") });
  expect(await listImages()).toEqual([volume.id]);
  await rm(obstacle);
  await volume.publish();
  expect(await readFile(join(volume.targetPath, "note"), "utf8")).toBe("kept");
  await volume.unpublish();
  expect(await listImages()).toEqual([]);
});

test("in a memory pool it may have the pool's budget and no more", async () => {
  const settings = { pools: {}, memoryPools: { memory: 256 * mebibyte } };
  const other = await TestBed.startIn(join(bed.directory, "memory-bed"), async () => noPlace, settings);
  const capacity = await readCapacity(other);
  const first = inline({ pod: "7", attributes: { size: "200Mi" } }, other);
  const second = inline({ pod: "8", attributes: { size: "100Mi" } }, other);
  await first.publish();
  await expect(second.publish()).rejects.toMatchObject({ code: status.RESOURCE_EXHAUSTED });
  await first.unpublish();
  await second.publish();
  await second.unpublish();
  expect(await readCapacity(other)).toBe(capacity);
  await other.dispose();
});

test("has the limits that the administrator sets, and lower ones of its pod's choice", async () => {
  const configPath = join(bed.directory, "limits.yaml");
  await writeFile(configPath, "ephemeral: { pools: [memory], limits: { iops: 400, burst: 100ms } }\n");
  const settings = { pools: {}, memoryPools: { memory: 256 * mebibyte }, configPath };
  const other = await TestBed.startIn(join(bed.directory, "limits-bed"), async () => noPlace, settings);
  /** The operations a second of so many direct reads. */
  const measure = async (volume: InlineVolume, readCount: number) => {
    const { source = "" } = findMount(volume.targetPath) ?? {};
    const startMs = performance.now();
    const size = ["bs=4096", `count=${readCount}`];
    await runCommand("dd", [`if=${source}`, "of=/dev/null", ...size, "iflag=direct", "status=none"]);
    return (readCount * 1000) / (performance.now() - startMs);
  };
  const usual = inline({ pod: "a", attributes: { size: "32Mi" } }, other);
  await usual.publish();
  expect(await measure(usual, 2000)).toBeLessThan(440);
  const modest = inline({ pod: "b", attributes: { size: "32Mi", iops: "100" } }, other);
  await modest.publish();
  expect(await measure(modest, 500)).toBeLessThan(110);
  const greedy = inline({ pod: "c", attributes: { size: "32Mi", iops: "401" } }, other);
  await expect(greedy.publish()).rejects.toMatchObject({
    code: status.INVALID_ARGUMENT,
    details: expect.stringContaining("an inline volume may have 400 here"),
  });
  await greedy.removePodDirectory();
  for (const volume of [usual, modest]) await volume.unpublish();
  await other.dispose();
});

const noPlace = { path: "/nonexistent", release: async () => undefined };

describe("a driver that is killed", () => {
  test("gives the next one the volumes of pods that run", async () => {
    const volume = inline({ pod: "9", attributes: { size: "64Mi" } });
    await volume.publish();
    const data = await createRandomFile(join(volume.targetPath, "data"), 8 * mebibyte);
    const written = await digest(data, 8 * mebibyte);
    await bed.driver.kill();
    await bed.restart();
    await volume.publish();
    await runCommand("sync", ["-f", volume.targetPath]);
    expect(await digest(data, 8 * mebibyte)).toBe(written);
    await volume.unpublish();
    expect(await listImages()).toEqual([]);
  });

  test("leaves the volumes of pods that vanish meanwhile to the next one, which removes them", async () => {
    const before = await readMachineState();
    const volume = inline({ pod: "a", attributes: { size: "64Mi" } });
    await volume.publish();
    await bed.driver.terminate();
    const vanish = runCommand("umount", [volume.targetPath]);
    await bed.restart(); // a device without a server serves the unmount only when the next driver is there
    await vanish;
    expect(await listImages()).toHaveLength(1);
    await rmdir(volume.targetPath);
    await volume.removePodDirectory();
    await bed.driver.kill();
    await bed.restart();
    expect(await listImages()).toEqual([]);
    await bed.driver.terminate();
    await waitUntilNothingIsLeft(before);
    await bed.restart();
  });

  test("in the middle of a publication leaves one that can be finished", async () => {
    const volume = inline({ pod: "b", attributes: { size: "1Gi" } });
    const cut = volume.publish();
    const mark = join(bed.poolPath, "volumes", volume.id, "formatting");
    await Promise.all([
      expect(cut).rejects.toThrow(),
      waitFor("mkfs runs", () => exists(mark), { intervalMs: 1 }).then(() => bed.driver.kill()),
    ]);
    await bed.restart();
    await volume.publish();
    expect(findMount(volume.targetPath)?.fsType).toBe("ext4");
    await volume.unpublish();
    expect(await listImages()).toEqual([]);
  });
});
