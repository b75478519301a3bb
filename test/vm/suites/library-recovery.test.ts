import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { describe, expect, test } from "@jest/globals";
import {
  createAndServe,
  type DeviceEvent,
  recoverAndServe,
  removeDevice,
  type UblkDevice,
} from "../../../src/ublk/index.js";
import { compareDevice, createRandomFile, writeToDevice } from "./support/device-io.js";
import { DeviceServer } from "./support/device-server.js";
import { exercised } from "./support/exercised.js";
import { failure, findInfo, mebibyte, sizeBytes, useLibraryRig, waitForState } from "./support/library-rig.js";
import { runCommand } from "./support/run-command.js";
import { waitFor } from "./support/wait-for.js";

const rig = useLibraryRig();

describe("another life", () => {
  async function startRecoverable(): Promise<{ path: string; server: DeviceServer }> {
    const path = await rig.images.createImage(sizeBytes);
    const server = await DeviceServer.start({
      create: [{ target: { kind: "file", path } }, { recoverable: true, queueCount: 2 }],
    });
    return { path, server };
  }

  /** A writer that goes on for ever, block after block, and reports each pass. */
  function startWriter(device: string, data: string): { child: ChildProcess; passes: () => number } {
    let count = 0;
    const script =
      'while dd if="$1" of="$2" bs=64k oflag=direct conv=notrunc,nocreat status=none; do echo pass; done; exit 1';
    const args = ["-c", script, "writer", data, device];
    const child = spawn("bash", args, { detached: true, stdio: ["ignore", "pipe", "inherit"] });
    child.stdout?.on("data", (chunk: Buffer) => {
      count += chunk.toString().split("pass").length - 1;
    });
    return { child, passes: () => count };
  }

  /** Ends the writer together with the dd that it runs, which would open the device when it is gone. */
  async function endWriter(child: ChildProcess): Promise<void> {
    expect(child.exitCode).toBeNull();
    const closed = once(child, "close");
    process.kill(-Number(child.pid), "SIGKILL");
    await closed;
  }

  test("a killed server's device waits, and another process takes it over under a running writer", async () => {
    const { path, server } = await startRecoverable();
    const devicePath = `/dev/ublkb${server.deviceId}`;
    const data = await createRandomFile(join(rig.scratch, "data"), sizeBytes);
    const writer = startWriter(devicePath, data);
    await waitFor("the writer writes", () => writer.passes() > 0);

    await server.kill();
    const device = await recoverAndServe(server.deviceId, { kind: "file", path });
    const passes = writer.passes();
    await waitFor("the writer goes on", () => writer.passes() > passes + 1);
    await endWriter(writer.child);

    await compareDevice(data, devicePath);
    expect(device.stats().errors).toBe(0n);
    await device.stop();
    await runCommand("cmp", [data, path]);
    exercised("USER_RECOVERY", "USER_RECOVERY_REISSUE");
  });

  test("a device is taken over again and again", async () => {
    const { path, server: first } = await startRecoverable();
    let server = first;
    for (let round = 0; round < 3; round++) {
      await server.kill();
      server = await DeviceServer.start({ recover: [first.deviceId, { kind: "file", path }, {}] });
      const data = await createRandomFile(join(rig.scratch, "data"), mebibyte);
      await writeToDevice(data, `/dev/ublkb${first.deviceId}`);
    }
    await server.kill();
    const device = await recoverAndServe(first.deviceId, { kind: "file", path });
    expect(device).toMatchObject({ deviceId: first.deviceId, queueCount: 2, sizeBytes: BigInt(sizeBytes) });
    await device.stop();
  });

  test.each(["START_USER_RECOVERY", "END_USER_RECOVERY"].flatMap((step) => [`before:${step}`, `after:${step}`]))(
    "a device whose next server died %s is taken over by another, and answers what waits",
    async (dieAt) => {
      const { path, server } = await startRecoverable();
      const { deviceId } = server;
      await server.kill();
      const target = { kind: "file", path } as const;
      await expect(DeviceServer.start({ recover: [deviceId, target, {}], dieAt })).rejects.toThrow(
        "ended with SIGKILL",
      );
      const writing = writeToDevice(
        await createRandomFile(join(rig.scratch, "data"), mebibyte),
        `/dev/ublkb${deviceId}`,
      );
      const device = await recoverAndServe(deviceId, target);
      await writing;
      await device.stop();
      await runCommand("cmp", ["-n", String(mebibyte), join(rig.scratch, "data"), path]);
    },
  );

  test("a released device is recovered in the same process", async () => {
    const path = await rig.images.createImage(sizeBytes);
    const device = await createAndServe({ target: { kind: "file", path } }, { recoverable: true, ownerTag: 5n });
    await device.release();
    await waitForState(device.deviceId, "quiesced");
    const stranger = recoverAndServe(device.deviceId, { kind: "file", path }, { ownerTag: 6n });
    expect((await failure(stranger)).code).toBe("owner_mismatch");
    const again = await recoverAndServe(device.deviceId, { kind: "file", path }, { ownerTag: 5n });
    expect(await findInfo(device.deviceId)).toMatchObject({ state: "live" });
    await again.stop();
  });

  test("a memory device in a file survives its server", async () => {
    const path = await rig.images.createImage(sizeBytes, rig.scratch);
    const target = { kind: "memory", path } as const;
    const server = await DeviceServer.start({ create: [{ target }, { recoverable: true }] });
    const data = await createRandomFile(join(rig.scratch, "data"), mebibyte);
    await writeToDevice(data, `/dev/ublkb${server.deviceId}`);
    await server.kill();
    const device = await recoverAndServe(server.deviceId, target);
    await compareDevice(data, device.path);
    await device.stop();
  });

  test("a killed server's device that is not recoverable is dead, and can be removed", async () => {
    const server = await DeviceServer.start({ create: [{ target: { kind: "null" }, sizeBytes }, {}] });
    await server.kill();
    await waitForState(server.deviceId, "dead");
    expect((await failure(recoverAndServe(server.deviceId, { kind: "null" }))).code).toBe("not_recoverable");
    await removeDevice(server.deviceId);
    expect(await findInfo(server.deviceId)).toBeUndefined();
  });

  test("a device that waits is removed only by force", async () => {
    const { server } = await startRecoverable();
    await server.kill();
    await waitForState(server.deviceId, "quiesced");
    expect((await failure(removeDevice(server.deviceId))).code).toBe("device_busy");
    await removeDevice(server.deviceId, { force: true });
  });

  test("a process that exits takes its devices along, unless they are recoverable", async () => {
    const plain = await DeviceServer.start({ create: [{ target: { kind: "memory" }, sizeBytes }, {}] });
    const { path, server: kept } = await startRecoverable();
    expect(await plain.exit()).toBe(0);
    expect(await findInfo(plain.deviceId)).toBeUndefined();
    expect(await kept.exit()).toBe(0);
    await waitForState(kept.deviceId, "quiesced");
    await (await recoverAndServe(kept.deviceId, { kind: "file", path })).stop();
  });

  test("a device that somebody else removes says so, and is freed", async () => {
    const device: UblkDevice = await createAndServe({ target: { kind: "null" }, sizeBytes });
    const events: DeviceEvent[] = [];
    device.onEvent((event) => events.push(event));
    const script = `require("./native/build/Release/ublk.node").removeDevice(${device.deviceId})`;
    const stranger = runCommand(process.execPath, ["-e", script]);
    await waitFor("the device has ended", () => device.state === "ended");
    expect(events).toEqual([{ kind: "stopped" }]);
    await Promise.all([device.stop(), stranger]);
    expect(await findInfo(device.deviceId)).toBeUndefined();
  });
});
