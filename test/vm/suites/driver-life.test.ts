import { mkdir, open, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import {
  VolumeCapability_AccessMode_Mode as AccessMode,
  ControllerService,
  GetPluginInfoRequest,
  IdentityService,
  ListVolumesRequest,
} from "../../../src/gen/csi/csi.js";
import { createRandomFile, digest, readBlockAttribute, writeToDevice } from "./support/device-io.js";
import { checkFileSystem } from "./support/file-system.js";
import { readMachineState, waitUntilNothingIsLeft } from "./support/machine-state.js";
import { findMount } from "./support/mounts.js";
import { runCommand, tryCommand } from "./support/run-command.js";
import { byScale, onlyInFull } from "./support/scale.js";
import { TestBed } from "./support/test-bed.js";
import type { TestVolume, VolumeWish } from "./support/test-volume.js";

const mebibyte = 1024 ** 2;
const block = { kind: "block" } as const;

let bed: TestBed;

beforeAll(async () => {
  bed = await TestBed.start("life");
});
afterAll(async () => await bed.dispose());

async function writeDurably(path: string, text: string): Promise<void> {
  const file = await open(path, "w");
  await file.writeFile(text);
  await file.sync();
  await file.close();
}

/** Through unmount and device removal and back: whatever is read afterwards comes from the image. */
async function restage(volume: TestVolume): Promise<void> {
  await volume.unpublish();
  await volume.unstage();
  await volume.stage();
  await volume.publish();
}

test("the driver says who it is", async () => {
  const info = await bed.driver.client.call(IdentityService.getPluginInfo, GetPluginInfoRequest.fromPartial({}));
  expect(info).toMatchObject({ name: "csi.ublk.io", vendorVersion: expect.stringMatching(/^\d+\.\d+\.\d+/) });
});

describe("a mounted volume", () => {
  const wishes: VolumeWish[] = [
    { name: "file-ext4", sizeBytes: 64 * mebibyte, access: { kind: "mount", fsType: "ext4" } },
    { name: "file-xfs", sizeBytes: 320 * mebibyte, access: { kind: "mount", fsType: "xfs" } },
    {
      name: "memory-ext4",
      sizeBytes: 64 * mebibyte,
      access: { kind: "mount", fsType: "ext4" },
      parameters: { pool: "memory" },
    },
    {
      name: "memory-xfs-4k",
      sizeBytes: 320 * mebibyte,
      access: { kind: "mount", fsType: "xfs" },
      parameters: { pool: "memory", logicalBlockSize: "4096" },
    },
  ];

  const chosen = wishes.filter(({ name }) => name === "file-ext4" || name === "memory-xfs-4k");

  test.each(byScale({ full: wishes, smoke: chosen }))(
    "$name: keeps its files over a remount, passes fsck, and goes without a trace",
    async (wish) => {
      const before = await readMachineState();
      const volume = bed.volume(wish);
      await volume.start();
      const deviceId = await volume.findDeviceId();
      await writeDurably(join(volume.targetPath, "note"), "durable");
      const data = await createRandomFile(join(volume.targetPath, "data"), mebibyte);
      const written = await digest(data, mebibyte);
      await restage(volume);
      expect(await readFile(join(volume.targetPath, "note"), "utf8")).toBe("durable");
      expect(await digest(data, mebibyte)).toBe(written);
      const fsType = findMount(volume.stagingPath)?.fsType;
      expect(fsType).toBe(wish.access.kind === "mount" ? wish.access.fsType : undefined);
      expect(await readBlockAttribute(`/dev/ublkb${deviceId}`, "queue/logical_block_size")).toBe(
        wish.parameters?.logicalBlockSize ?? "512",
      );
      await volume.unpublish();
      await checkFileSystem(volume.stagingPath);
      await volume.unstage();
      await volume.delete();
      await waitUntilNothingIsLeft(before);
    },
  );

  test("every verb may be repeated", async () => {
    const wish = { name: "twice", sizeBytes: 64 * mebibyte, access: { kind: "mount", fsType: "ext4" } } as const;
    const volume = bed.volume(wish);
    const { volumeId } = await volume.create();
    expect((await volume.create()).volumeId).toBe(volumeId);
    for (const verb of ["stage", "stage", "publish", "publish"] as const) await volume[verb]();
    await writeFile(join(volume.targetPath, "kept"), "kept");
    expect(await readFile(join(volume.stagingPath, "kept"), "utf8")).toBe("kept");
    for (const verb of ["unpublish", "unpublish", "unstage", "unstage"] as const) await volume[verb]();
    await volume.delete();
  });

  onlyInFull(() => {
    test("published read-only it can be read and not written", async () => {
      const wish = { name: "read-only", sizeBytes: 64 * mebibyte, access: { kind: "mount", fsType: "ext4" } } as const;
      const volume = bed.volume(wish);
      await volume.create();
      await volume.stage();
      await writeFile(join(volume.stagingPath, "note"), "look");
      await volume.publish({ readOnly: true });
      expect(await readFile(join(volume.targetPath, "note"), "utf8")).toBe("look");
      await expect(writeFile(join(volume.targetPath, "note"), "touch")).rejects.toMatchObject({ code: "EROFS" });
      await volume.finish();
    });

    test("a device with anything on it is not formatted", async () => {
      const access = { kind: "mount", fsType: "ext4" } as const;
      const volume = bed.volume({ name: "foreign-bytes", sizeBytes: 16 * mebibyte, access });
      await volume.create();
      const image = bed.imagePath(volume);
      await runCommand("mkswap", ["--quiet", image]);
      const before = await digest(image, 16 * mebibyte);
      await expect(volume.stage()).rejects.toMatchObject({ details: expect.stringContaining("holds swap") });
      expect(await digest(image, 16 * mebibyte)).toBe(before);
      await volume.unstage();
      await volume.delete();
    });

    test("its statistics follow what is written", async () => {
      const wish = { name: "stats", sizeBytes: 64 * mebibyte, access: { kind: "mount", fsType: "ext4" } } as const;
      const volume = bed.volume(wish);
      await volume.start();
      const [before] = (await volume.readStats()).usage;
      await createRandomFile(join(volume.targetPath, "data"), 8 * mebibyte);
      await runCommand("sync", ["-f", volume.targetPath]);
      const [after] = (await volume.readStats()).usage;
      expect(Number((after?.used ?? 0n) - (before?.used ?? 0n))).toBeGreaterThanOrEqual(8 * mebibyte);
      await volume.finish();
    });
  });
});

describe("a raw block volume", () => {
  test("is the device itself, and keeps what was written over a restage", async () => {
    const volume = bed.volume({ name: "raw", sizeBytes: 32 * mebibyte, access: block });
    await volume.start();
    expect((await runCommand("blockdev", ["--getsize64", volume.targetPath])).trim()).toBe(String(32 * mebibyte));
    const data = await createRandomFile(join(bed.directory, "raw-data"), mebibyte);
    await writeToDevice(data, volume.targetPath);
    const image = bed.imagePath(volume);
    await restage(volume);
    expect((await tryCommand("cmp", ["-n", String(mebibyte), data, volume.targetPath])).exitCode).toBe(0);
    await volume.unpublish();
    await volume.unstage();
    expect((await tryCommand("cmp", ["-n", String(mebibyte), data, image])).exitCode).toBe(0);
    await volume.delete();
  });

  const readOnlyWays = [
    { name: "raw-read-only-publish", accessMode: AccessMode.SINGLE_NODE_WRITER, readOnly: true },
    { name: "raw-reader-only", accessMode: AccessMode.SINGLE_NODE_READER_ONLY, readOnly: false },
  ];

  test.each(readOnlyWays.slice(0, byScale({ full: 2, smoke: 1 })))(
    "$name: refuses writes and stays as it was",
    async ({ name, accessMode, readOnly }) => {
      const volume = bed.volume({ name, sizeBytes: 16 * mebibyte, access: block, accessMode });
      await volume.create();
      await volume.stage();
      await volume.publish({ readOnly });
      const data = await createRandomFile(join(bed.directory, name), mebibyte);
      await expect(writeToDevice(data, volume.targetPath, { direct: true })).rejects.toThrow(/not permitted|Read-only/);
      await runCommand("cmp", ["-n", String(mebibyte), volume.targetPath, "/dev/zero"]);
      await volume.finish();
    },
  );

  onlyInFull(() => {
    test("a read-only publication ends with it: published again it can be written", async () => {
      const volume = bed.volume({ name: "raw-again", sizeBytes: 16 * mebibyte, access: block });
      await volume.create();
      await volume.stage();
      await volume.publish({ readOnly: true });
      await volume.unpublish();
      await volume.publish();
      const data = await createRandomFile(join(bed.directory, "raw-again"), mebibyte);
      await writeToDevice(data, volume.targetPath, { direct: true });
      await volume.finish();
    });
  });
});

test("a deleted volume leaves neither record nor image nor journal entry", async () => {
  const volume = bed.volume({ name: "gone", sizeBytes: 16 * mebibyte, access: block });
  await volume.start();
  const request = ListVolumesRequest.fromPartial({});
  const list = () => bed.driver.client.call(ControllerService.listVolumes, request);
  expect((await list()).entries.map(({ volume }) => volume?.volumeId)).toEqual([volume.id]);
  await volume.finish();
  expect((await list()).entries).toEqual([]);
  expect(await readdir(join(bed.poolPath, "volumes"))).toEqual([]);
  expect(await readdir(join(bed.stateDir, "engine/devices"))).toEqual([]);
});

onlyInFull(() => {
  test("directories that kubelet made are left to kubelet", async () => {
    const wish = { name: "kubelet", sizeBytes: 64 * mebibyte, access: { kind: "mount", fsType: "ext4" } } as const;
    const volume = bed.volume(wish);
    await volume.create();
    await mkdir(volume.stagingPath, { recursive: true });
    await writeFile(join(volume.stagingPath, "../vol_data.json"), "{}");
    await volume.stage();
    await expect(volume.unstage()).rejects.toMatchObject({ code: "ENOTEMPTY" });
    expect(await readdir(join(volume.stagingPath, ".."))).toEqual(["vol_data.json"]);
    await runCommand("rm", [join(volume.stagingPath, "../vol_data.json")]);
    await volume.finish();
  });
});
