import { mkdir, readdir, readFile, rmdir, unlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, expect, test } from "@jest/globals";
import { NodeGetVolumeHealthRequest, NodeService } from "../../../src/gen/csi/csi.js";
import { restage } from "./support/encrypted-volume.js";
import { HangingDisk } from "./support/hanging-disk.js";
import { findMount } from "./support/mounts.js";
import { runCommand } from "./support/run-command.js";
import { TestBed } from "./support/test-bed.js";
import type { TestVolume } from "./support/test-volume.js";
import { waitFor } from "./support/wait-for.js";

const mebibyte = 1024 ** 2;
const root = "/run/ublk-csi-hanging";
const [place, backing, configPath] = [`${root}/pool`, `${root}/disk`, `${root}/config.yaml`];
// More than the threads that the driver has for files, each of which could have hung with one.
const sickCount = 5;
// The driver gives a file system five seconds. Kubelet waits longer than this.
const answerMsMax = 30_000;

let loop: string;
let disk: HangingDisk;
let bed: TestBed;

beforeAll(async () => {
  await mkdir(place, { recursive: true });
  await runCommand("truncate", ["-s", String(256 * mebibyte), backing]);
  loop = (await runCommand("losetup", ["--find", "--show", backing])).trim();
  disk = await HangingDisk.create(loop);
  await runCommand("mkfs.ext4", ["-q", "-m", "0", "-E", "nodiscard", disk.path]);
  await runCommand("mount", [disk.path, place]);
  await writeFile(configPath, `pools: [{ name: hanging, kind: file, directory: ${place} }]\n`);
  bed = await TestBed.start("hanging", { configPath });
});
afterEach(async () => await disk.goOn());
afterAll(async () => {
  await bed.dispose();
  await runCommand("umount", [place]);
  await disk.remove();
  await runCommand("losetup", ["--detach", loop]);
  for (const file of [backing, configPath]) await unlink(file);
  for (const directory of [place, root]) await rmdir(directory);
});

async function start(name: string, pool: string): Promise<TestVolume> {
  const access = { kind: "mount", fsType: "ext4" } as const;
  const volume = bed.volume({ name, sizeBytes: 16 * mebibyte, access, parameters: { pool } });
  await volume.start();
  await writeFile(join(volume.targetPath, "note"), name, { flush: true });
  return volume;
}

/** What was read of it is read anew from the disk. A journal would keep what was written since the file system was mounted. */
async function forget(volume: TestVolume): Promise<void> {
  await restage(volume);
  await runCommand("blockdev", ["--flushbufs", `/dev/ublkb${await volume.findDeviceId()}`]);
}

async function readHealth({ id: volumeId }: TestVolume) {
  const request = NodeGetVolumeHealthRequest.fromPartial({ volumeId });
  const { volumeHealth } = await bed.driver.client.call(NodeService.nodeGetVolumeHealth, request, answerMsMax);
  return volumeHealth?.healthStatuses;
}

/** The programs that look at file systems at the moment. */
async function countLooks(): Promise<number> {
  const processes = (await readdir("/proc")).filter((name) => /^\d+$/.test(name));
  const names = await Promise.all(processes.map((id) => readFile(`/proc/${id}/comm`, "utf8").catch(() => "")));
  return names.filter((name) => name === "find\n").length;
}

/** As for a pod that comes and goes. */
async function liveWhole(name: string): Promise<void> {
  const volume = await start(name, "disk");
  expect(await readHealth(volume)).toEqual([]);
  expect((await volume.readStats()).usage).toHaveLength(2);
  await volume.finish();
}

test("volumes on a disk that hangs are told of in time, and stop no others, until the disk goes on", async () => {
  const names = Array.from({ length: sickCount }, (_, index) => `sick-${index}`);
  const sick: TestVolume[] = [];
  for (const name of names) sick.push(await start(name, "hanging"));
  const well = await start("well", "disk");
  for (const volume of sick) await forget(volume);
  await disk.hang();

  const message = expect.stringContaining("has not answered for 5 s");
  const told = { reason: "FilesystemUnusable", message };
  // Polled one after another, as kubelet does.
  for (let round = 0; round < 3; round++) {
    expect(await Promise.all(sick.map(readHealth))).toMatchObject(sick.map(() => [told]));
  }
  expect(await countLooks()).toBe(sickCount);
  const [first, second] = sick as [TestVolume, TestVolume];
  const unavailable = { code: 14, details: message };
  await expect(first.publish({ targetPath: `${first.targetPath}-2` })).rejects.toMatchObject(unavailable);
  await expect(first.stage()).rejects.toMatchObject(unavailable);
  expect(findMount(first.stagingPath)).toMatchObject({ fsType: "ext4" });
  await second.unpublish();
  expect(findMount(second.targetPath)).toBeUndefined();
  expect(await readHealth(well)).toEqual([]);
  await liveWhole("meanwhile");
  expect(await countLooks()).toBe(sickCount);

  await disk.goOn();
  await waitFor("the programs are gone", async () => (await countLooks()) === 0);
  expect(await Promise.all(sick.map(readHealth))).toEqual(sick.map(() => []));
  await second.publish();
  const notes = sick.map(({ targetPath }) => readFile(join(targetPath, "note"), "utf8"));
  expect(await Promise.all(notes)).toEqual(names);
  for (const volume of [...sick, well]) await volume.finish();
});

test("the room of a file system that hangs is not waited for, and none is asked twice at a time", async () => {
  const volume = await start("stats", "hanging");
  await forget(volume);
  await disk.hang();
  expect(await readHealth(volume)).toHaveLength(1);
  const request = { volumeId: volume.id, volumePath: volume.stagingPath };
  const { client } = bed.driver;
  const readStats = () =>
    client.call(NodeService.nodeGetVolumeStats, { ...request, stagingTargetPath: "" }, answerMsMax);
  for (let count = 0; count < 6; count++) await expect(readStats()).rejects.toMatchObject({ code: 14 });
  expect(await countLooks()).toBe(1);
  await disk.goOn();
  await waitFor("the program is gone", async () => (await countLooks()) === 0);
  expect((await readStats()).usage).toHaveLength(2);
  await volume.finish();
});
