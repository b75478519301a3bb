import { readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import {
  ControllerExpandVolumeRequest,
  type ControllerExpandVolumeResponse,
  ControllerGetVolumeRequest,
  ControllerService,
  PluginCapability_VolumeExpansion_Type as ExpansionType,
  GetPluginCapabilitiesRequest,
  IdentityService,
} from "../../../src/gen/csi/csi.js";
import { startVerifiedWrites } from "./support/background-fio.js";
import { createRandomFile, digest, readBlockAttribute, writeToDevice } from "./support/device-io.js";
import { exercised } from "./support/exercised.js";
import { kernelHas } from "./support/kernel-has.js";
import { runCommand } from "./support/run-command.js";
import { TestBed } from "./support/test-bed.js";
import type { TestVolume } from "./support/test-volume.js";
import { waitFor } from "./support/wait-for.js";

const mebibyte = 1024 ** 2;
const block = { kind: "block" } as const;
const mount = { kind: "mount", fsType: "ext4" } as const;
const pools = ["disk", "memory"] as const;

let bed: TestBed;
let canGrowInUse: boolean;

beforeAll(async () => {
  bed = await TestBed.start("expansion");
  canGrowInUse = await kernelHas("UPDATE_SIZE");
});
afterAll(async () => await bed.dispose());

async function expand({ id }: TestVolume, sizeBytes: number): Promise<ControllerExpandVolumeResponse> {
  const capacityRange = { requiredBytes: BigInt(sizeBytes) };
  const request = ControllerExpandVolumeRequest.fromPartial({ volumeId: id, capacityRange });
  return await bed.driver.client.call(ControllerService.controllerExpandVolume, request);
}

async function readRecordedSize({ id }: TestVolume): Promise<number> {
  const request = ControllerGetVolumeRequest.fromPartial({ volumeId: id });
  const { volume } = await bed.driver.client.call(ControllerService.controllerGetVolume, request);
  return Number(volume?.capacityBytes);
}

const readDeviceSize = async (path: string) => Number(await runCommand("blockdev", ["--getsize64", path]));

test("what is advertised is what the kernel can do", async () => {
  const request = GetPluginCapabilitiesRequest.fromPartial({});
  const { capabilities } = await bed.driver.client.call(IdentityService.getPluginCapabilities, request);
  const [expansion] = capabilities.filter(({ type }) => type?.$case === "volumeExpansion");
  expect(expansion?.type?.value).toEqual({ type: canGrowInUse ? ExpansionType.ONLINE : ExpansionType.OFFLINE });
});

describe.each(pools)("a raw block volume of the pool %s", (pool) => {
  test("grows while it is written, keeps every byte, and takes writes at its new end", async () => {
    const volume = bed.volume({
      name: `online-${pool}`,
      sizeBytes: 16 * mebibyte,
      access: block,
      parameters: { pool },
    });
    await volume.start();
    const deviceId = await volume.findDeviceId();
    if (!canGrowInUse) {
      const details = expect.stringContaining("UPDATE_SIZE (first in kernel 6.16)");
      await expect(expand(volume, 24 * mebibyte)).rejects.toMatchObject({ code: 9, details });
      expect(await readDeviceSize(volume.targetPath)).toBe(16 * mebibyte);
      return await volume.finish();
    }
    const device = { path: volume.targetPath, deviceId };
    const writes = startVerifiedWrites(device, { sizeBytes: 16 * mebibyte, seconds: 3 });
    await writes.running;
    for (const size of [20, 24]) {
      const answer = { capacityBytes: BigInt(size * mebibyte), nodeExpansionRequired: false };
      for (let round = 0; round < 2; round++) expect(await expand(volume, size * mebibyte)).toEqual(answer);
      expect(await readDeviceSize(volume.targetPath)).toBe(size * mebibyte);
    }
    await writes.done;
    const data = await createRandomFile(join(bed.directory, `end-${pool}`), mebibyte);
    await writeToDevice(data, volume.targetPath, { seekBlocks: 23, direct: true });
    await runCommand("cmp", ["-n", String(mebibyte), "-i", `${23 * mebibyte}:0`, volume.targetPath, data]);
    exercised("UPDATE_SIZE");
    await volume.finish();
  });

  test("grows while it has no device, and has the new size when it gets one", async () => {
    const volume = bed.volume({
      name: `offline-${pool}`,
      sizeBytes: 16 * mebibyte,
      access: block,
      parameters: { pool },
    });
    await volume.start();
    const data = await createRandomFile(join(bed.directory, `offline-${pool}`), mebibyte);
    await writeToDevice(data, volume.targetPath);
    await volume.unpublish();
    await volume.unstage();
    expect(await expand(volume, 20 * mebibyte)).toMatchObject({ capacityBytes: BigInt(20 * mebibyte) });
    await volume.stage();
    await volume.publish();
    expect(await readDeviceSize(volume.targetPath)).toBe(20 * mebibyte);
    expect(await digest(volume.targetPath, mebibyte)).toBe(await digest(data, mebibyte));
    await volume.finish();
  });
});

test("a mounted volume keeps its files, and the node is asked to go on", async () => {
  const volume = bed.volume({ name: "mounted", sizeBytes: 32 * mebibyte, access: mount });
  await volume.start();
  await writeFile(join(volume.targetPath, "note"), "kept");
  if (canGrowInUse) {
    const answer = { capacityBytes: BigInt(48 * mebibyte), nodeExpansionRequired: true };
    expect(await expand(volume, 48 * mebibyte)).toEqual(answer);
    expect(await readDeviceSize(`/dev/ublkb${await volume.findDeviceId()}`)).toBe(48 * mebibyte);
  }
  expect(await readFile(join(volume.targetPath, "note"), "utf8")).toBe("kept");
  await volume.finish();
});

test("a growth that does not fit is RESOURCE_EXHAUSTED and leaves nothing", async () => {
  const volume = bed.volume({ name: "too-big", sizeBytes: 16 * mebibyte, access: block });
  await volume.create();
  await expect(expand(volume, 64 * 1024 * mebibyte)).rejects.toMatchObject({ code: 8 });
  expect(await readRecordedSize(volume)).toBe(16 * mebibyte);
  expect((await stat(bed.imagePath(volume))).size).toBe(16 * mebibyte);
  await volume.finish();
});

test("a driver killed while a volume in use grows: the next one has one size in record, image and device", async () => {
  const volume = bed.volume({ name: "killed", sizeBytes: 16 * mebibyte, access: mount });
  await volume.start();
  await writeFile(join(volume.targetPath, "note"), "kept");
  const deviceId = await volume.findDeviceId();
  const readRecord = () => readFile(join(bed.imagePath(volume), "../volume.json"), "utf8");
  const readSectors = async () => Number(await readBlockAttribute(`ublkb${deviceId}`, "size"));
  let sizeBytes = 16 * mebibyte;
  const moments: Array<[string, (toBytes: number) => Promise<boolean>]> = [
    ["the record says that it grows", async () => (await readRecord()).includes("growingToBytes")],
    ["the image has grown", async () => (await stat(bed.imagePath(volume))).size > sizeBytes],
    ["the record has the new size", async (toBytes) => (await readRecord()).includes(`"sizeBytes": "${toBytes}"`)],
    ["the device has grown", async () => (await readSectors()) * 512 > sizeBytes],
  ];
  for (const [what, hasCome] of moments) {
    const toBytes = sizeBytes + 64 * mebibyte;
    const answers: unknown[] = [];
    const growing = expand(volume, toBytes).catch((error: unknown) => error);
    void growing.then((answer) => answers.push(answer));
    // A moment may be over before it was seen: then the driver dies right after its answer.
    await waitFor(what, async () => answers.length > 0 || (await hasCome(toBytes)), { intervalMs: 0 });
    await bed.driver.kill();
    await growing;
    await bed.restart();
    sizeBytes = await readRecordedSize(volume);
    expect((await stat(bed.imagePath(volume))).size).toBe(sizeBytes);
    expect((await readSectors()) * 512).toBe(sizeBytes);
    if (!canGrowInUse) continue;
    expect(await expand(volume, toBytes)).toMatchObject({ capacityBytes: BigInt(toBytes) });
    expect((await readSectors()) * 512).toBe(toBytes);
    sizeBytes = toBytes;
  }
  expect(await readFile(join(volume.targetPath, "note"), "utf8")).toBe("kept");
  await volume.finish();
}, 300_000);
