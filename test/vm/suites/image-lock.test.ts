import { describe, expect, test } from "@jest/globals";
import { createAndServe, recoverAndServe } from "../../../src/ublk/index.js";
import { DeviceServer } from "./support/device-server.js";
import { failure, findInfo, sizeBytes, useLibraryRig, waitForState } from "./support/library-rig.js";
import { runCommand } from "./support/run-command.js";

const rig = useLibraryRig();

async function expectInUse(attempt: Promise<unknown>, path: string, server: DeviceServer): Promise<void> {
  const error = await failure(attempt);
  expect(error).toMatchObject({ code: "image_in_use", step: "LOCK_IMAGE" });
  expect(error.message).toContain(`${path} is served by another device already`);
  expect(error.message).toContain(`it is locked by node (${server.pid})`);
}

describe("an image that another process serves", () => {
  test("gets no second device, writable or not, until that process is killed", async () => {
    const path = await rig.images.createImage(sizeBytes);
    const target = { kind: "file", path } as const;
    const server = await DeviceServer.start({ create: [{ target }, { recoverable: true }] });
    await expectInUse(createAndServe({ target }), path, server);
    await expectInUse(createAndServe({ target }, { readOnly: true }), path, server);
    expect((await findInfo(server.deviceId))?.serverPid).toBe(server.pid);
    await server.kill();
    const device = await recoverAndServe(server.deviceId, target);
    expect((await failure(createAndServe({ target }))).message).toContain(`it is locked by node (${process.pid})`);
    await device.stop();
    await (await createAndServe({ target })).stop();
  });

  test("is not given to a device that waits, which can be recovered afterwards", async () => {
    const path = await rig.images.createImage(sizeBytes);
    const target = { kind: "file", path } as const;
    const dead = await DeviceServer.start({ create: [{ target }, { recoverable: true }] });
    await dead.kill();
    await waitForState(dead.deviceId, "quiesced");
    const other = await DeviceServer.start({ create: [{ target }, {}] });
    await expectInUse(recoverAndServe(dead.deviceId, target), path, other);
    expect(await findInfo(dead.deviceId)).toMatchObject({ state: "quiesced" });
    expect(await other.exit()).toBe(0);
    await (await recoverAndServe(dead.deviceId, target)).stop();
  });

  test("is shared by devices that only read it", async () => {
    const path = await rig.images.createImage(sizeBytes);
    const target = { kind: "file", path } as const;
    const server = await DeviceServer.start({ create: [{ target }, { readOnly: true }] });
    await (await createAndServe({ target }, { readOnly: true })).stop();
    await expectInUse(createAndServe({ target }), path, server);
    expect(await server.exit()).toBe(0);
  });

  test("is locked in memory too", async () => {
    const path = await rig.images.createImage(sizeBytes, rig.scratch);
    const target = { kind: "memory", path } as const;
    const server = await DeviceServer.start({ create: [{ target }, {}] });
    await expectInUse(createAndServe({ target }), path, server);
    expect(await server.exit()).toBe(0);
  });

  test("is locked as a block device too", async () => {
    const image = await rig.images.createImage(sizeBytes);
    const path = (await runCommand("losetup", ["--find", "--show", image])).trim();
    try {
      const target = { kind: "file", path } as const;
      const server = await DeviceServer.start({ create: [{ target }, {}] });
      await expectInUse(createAndServe({ target }), path, server);
      expect(await server.exit()).toBe(0);
    } finally {
      await runCommand("losetup", ["--detach", path]);
    }
  });
});
