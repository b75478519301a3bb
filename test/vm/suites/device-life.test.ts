import { open, truncate } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "@jest/globals";
import { findDeviceUsers } from "../../../src/ublk/diagnosis/device-users.js";
import { createAndServe, recoverAndServe, type UblkDevice } from "../../../src/ublk/index.js";
import { startVerifiedWrites } from "./support/background-fio.js";
import { compareDevice, createRandomFile, readBlockAttribute, writeToDevice } from "./support/device-io.js";
import { DeviceServer } from "./support/device-server.js";
import { exercised } from "./support/exercised.js";
import { kernelHas } from "./support/kernel-has.js";
import { failure, findInfo, mebibyte, sizeBytes, useLibraryRig, waitForState } from "./support/library-rig.js";
import { mountPrivately } from "./support/private-mount.js";
import { runCommand } from "./support/run-command.js";
import { onlyInFull } from "./support/scale.js";

const rig = useLibraryRig();

async function readSize(device: { path: string }): Promise<number> {
  return Number(await readBlockAttribute(device.path, "size")) * 512;
}

describe("resize", () => {
  const grownBytes = 2 * sizeBytes;

  /** Where the kernel cannot, the refusal is what has to be right; it ends the case. */
  async function resizeOrRefusal(device: UblkDevice, bytes: number): Promise<boolean> {
    if (await kernelHas("UPDATE_SIZE")) {
      await device.resize(bytes);
      return true;
    }
    const error = await failure(device.resize(bytes));
    expect(error).toMatchObject({ code: "feature_missing" });
    expect(error.message).toContain("UPDATE_SIZE (first in kernel 6.16)");
    expect(await readSize(device)).toBe(sizeBytes);
    await device.stop();
    return false;
  }

  test("a file device grows under a verifying writer, and keeps its size through recovery", async () => {
    const { path, device } = await rig.serveFile({ recoverable: true, queueCount: 2 });
    const writer = startVerifiedWrites(device, { sizeBytes, seconds: 2 });
    await writer.running;
    await truncate(path, grownBytes);
    if (!(await resizeOrRefusal(device, grownBytes)))
      return await writer.done.then(
        () => undefined,
        () => undefined,
      );
    await writer.done;
    expect(await readSize(device)).toBe(grownBytes);

    const data = await createRandomFile(join(rig.scratch, "data"), grownBytes);
    await writeToDevice(data, device.path);
    await device.release();
    await waitForState(device.deviceId, "quiesced");
    expect(await findInfo(device.deviceId)).toMatchObject({ sizeBytes: BigInt(grownBytes) });
    const again = await recoverAndServe(device.deviceId, { kind: "file", path });
    expect(again.sizeBytes).toBe(BigInt(grownBytes));
    await compareDevice(data, again.path);
    await again.stop();
    await runCommand("cmp", [data, path]);
    exercised("UPDATE_SIZE");
  });

  onlyInFull(() => {
    test("memory grows, with or without a file", async () => {
      const path = await rig.images.createImage(sizeBytes, rig.scratch);
      for (const target of [{ kind: "memory" }, { kind: "memory", path }] as const) {
        const device = await createAndServe({ target, sizeBytes });
        if ("path" in target) await truncate(path, grownBytes);
        if (!(await resizeOrRefusal(device, grownBytes))) continue;
        const data = await createRandomFile(join(rig.scratch, "data"), grownBytes);
        await writeToDevice(data, device.path);
        await compareDevice(data, device.path);
        await device.stop();
      }
    });
  });

  onlyInFull(() => {
    test("an image that is too small keeps the device as it was", async () => {
      const { device } = await rig.serveFile();
      if (await kernelHas("UPDATE_SIZE")) {
        const error = await failure(device.resize(grownBytes));
        expect(error).toMatchObject({ code: "image_unusable", step: "GROW_TARGET", errnoName: "ENODATA" });
        expect(error.message).toContain("grow the image first");
      }
      expect((await failure(device.resize(sizeBytes / 2))).message).toContain("a device can only grow");
      expect(await readSize(device)).toBe(sizeBytes);
      await device.stop();
    });
  });
});

describe("quiesce", () => {
  test("hands a device over under a verifying writer", async () => {
    const { path, device } = await rig.serveFile({ recoverable: true, queueCount: 2 });
    const writer = startVerifiedWrites(device, { sizeBytes, seconds: 2 });
    await writer.running;
    if (await kernelHas("QUIESCE")) {
      await device.quiesce({ timeoutMs: 5_000 });
    } else {
      const error = await failure(device.quiesce());
      expect(error).toMatchObject({ code: "feature_missing" });
      expect(error.message).toContain("QUIESCE (first in kernel 6.16)");
      await device.release();
    }
    expect(device.state).toBe("stopped");
    const again = await recoverAndServe(device.deviceId, { kind: "file", path });
    await writer.done;
    expect(again.stats().errors).toBe(0n);
    await again.stop();
    if (await kernelHas("QUIESCE")) exercised("QUIESCE");
  });
});

describe("stop with onlyIfUnused", () => {
  test("names a process that merely has the device open, and changes nothing", async () => {
    const { device } = await rig.serveFile();
    const file = await open(device.path, "r");
    const error = await failure(device.stop({ onlyIfUnused: true }));
    expect(error.code).toBe("device_busy");
    expect(error.message).toMatch(new RegExp(`is in use by process .* \\(${process.pid}\\)`));
    expect(device.state).toBe("open");
    expect((await file.read(Buffer.alloc(512), 0, 512, 0)).bytesRead).toBe(512);
    await file.close();
    await device.stop({ onlyIfUnused: true });
    expect(await findInfo(device.deviceId)).toBeUndefined();
    if (await kernelHas("SAFE_STOP_DEV")) exercised("SAFE_STOP_DEV");
  });

  onlyInFull(() => {
    test("names a mount in another mount namespace, and a device on top", async () => {
      const server = await DeviceServer.start({
        create: [{ target: { kind: "memory" }, sizeBytes: 32 * mebibyte }, { recoverable: false }],
      });
      const path = `/dev/ublkb${server.deviceId}`;
      await runCommand("mkfs.ext4", ["-q", path]);
      const mount = await mountPrivately(path, rig.scratch);
      expect(await findDeviceUsers(server.deviceId, true)).toContainEqual({ kind: "mount", name: rig.scratch });
      await mount.end();
      const loop = (await runCommand("losetup", ["--find", "--show", path])).trim();
      const users = await findDeviceUsers(server.deviceId, true);
      expect(users).toContainEqual({ kind: "holder", name: loop.replace("/dev/", "") });
      await runCommand("losetup", ["--detach", loop]);
      await server.exit();
    });
  });
});
