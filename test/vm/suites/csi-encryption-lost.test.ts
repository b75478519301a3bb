import { readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { encrypted, findDeviceIdBelow, passphrase } from "./support/encrypted-volume.js";
import { EngineDaemon } from "./support/engine-daemon.js";
import { exists } from "./support/exists.js";
import { findMount } from "./support/mounts.js";
import { runCommand } from "./support/run-command.js";
import { byScale } from "./support/scale.js";
import { stopDevice } from "./support/stranger.js";
import { TestBed } from "./support/test-bed.js";
import type { TestVolume } from "./support/test-volume.js";
import { waitFor } from "./support/wait-for.js";

const mebibyte = 1024 ** 2;

const engineDirectory = "/run/ublk-csi-encryption-lost";
let engine: EngineDaemon;
let bed: TestBed;

beforeAll(async () => {
  engine = await EngineDaemon.start({ directory: engineDirectory });
  bed = await TestBed.start("encryption-lost", { engineSocketPath: engine.socketPath });
});
afterAll(async () => {
  await bed.dispose();
  await engine.terminate();
  await engine.keepLog("csi-encryption-lost");
  await rm(engineDirectory, { recursive: true });
});

async function startWithNote(fsType: string, sizeMiB: number): Promise<TestVolume> {
  const access = { kind: "mount", fsType } as const;
  const wish = { name: `lost-${fsType}`, sizeBytes: sizeMiB * mebibyte, access };
  const volume = bed.volume({ ...wish, parameters: encrypted, secrets: { passphrase } });
  await volume.start();
  await writeFile(join(volume.targetPath, "note"), "durable", { flush: true });
  await runCommand("sync", ["-f", volume.targetPath]);
  return volume;
}

/** The device below the mapping ends, and is not deleted: the mapping keeps it. */
async function endDevice(deviceId: number): Promise<void> {
  await stopDevice(deviceId);
  await waitFor(`device ${deviceId} to be gone`, async () => !(await exists(`/sys/block/ublkb${deviceId}`)));
}

/** There is no engine while it ends; the next one cannot remove it. */
async function loseDevice(volume: TestVolume): Promise<void> {
  const deviceId = await findDeviceIdBelow(volume);
  await engine.kill();
  await endDevice(deviceId);
  engine = await engine.restart();
}

/** It ends under an engine that has started without its image, and so has not taken it back. */
async function loseDeviceLate(volume: TestVolume): Promise<void> {
  const deviceId = await findDeviceIdBelow(volume);
  const image = bed.imagePath(volume);
  await engine.kill();
  await rename(image, `${image}.away`);
  engine = await engine.restart();
  await rename(`${image}.away`, image);
  await endDevice(deviceId);
}

describe("an encrypted volume whose device is gone below its mapping", () => {
  const types = [
    { fsType: "ext4", sizeMiB: 32 },
    { fsType: "xfs", sizeMiB: 320 },
    { fsType: "btrfs", sizeMiB: 128 },
  ];

  test.each(byScale({ full: types, smoke: types.slice(0, 1) }))(
    "$fsType: is staged anew over what it has left, once no pod has it",
    async ({ fsType, sizeMiB }) => {
      const volume = await startWithNote(fsType, sizeMiB);
      await loseDevice(volume);
      await expect(volume.stage()).rejects.toMatchObject({
        details: expect.stringContaining("is in use: unpublish and unstage it first"),
      });
      await volume.unpublish();
      expect(findMount(volume.targetPath)).toBeUndefined();
      await volume.stage();
      await volume.publish();
      expect(await readFile(join(volume.targetPath, "note"), "utf8")).toBe("durable");
      await writeFile(join(volume.targetPath, "next"), "writable", { flush: true });
      await volume.finish();
    },
  );

  test("and which the engine knows to be dead, is staged anew as well", async () => {
    const volume = await startWithNote("ext4", 32);
    await loseDeviceLate(volume);
    const details = expect.stringContaining("is in use: unpublish and unstage it first");
    await expect(volume.stage()).rejects.toMatchObject({ details });
    await volume.unpublish();
    await volume.stage();
    await volume.publish();
    expect(await readFile(join(volume.targetPath, "note"), "utf8")).toBe("durable");
    await volume.finish();
  });
});
