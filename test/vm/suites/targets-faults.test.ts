import { spawn } from "node:child_process";
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "@jest/globals";
import {
  createAndServe,
  type DeathPoint,
  type DeviceEvent,
  type FaultRule,
  recoverAndServe,
} from "../../../src/ublk/index.js";
import { compareDevice, createRandomFile, writeToDevice } from "./support/device-io.js";
import { DeviceServer } from "./support/device-server.js";
import { failure, mebibyte, sizeBytes, useLibraryRig, waitForState } from "./support/library-rig.js";
import { runCommand, tryCommand } from "./support/run-command.js";
import { waitFor } from "./support/wait-for.js";

const rig = useLibraryRig();

async function serveFaults(rules: FaultRule[]) {
  return await createAndServe({ target: { kind: "fault", over: { kind: "memory" }, rules }, sizeBytes });
}

/** One direct write of one block; 0 is success. */
async function writeBlock(device: string, block: number, from = "/dev/zero"): Promise<number> {
  const args = [`if=${from}`, `of=${device}`, "bs=4096", "count=1", `seek=${block}`, "oflag=direct", "conv=notrunc"];
  return (await tryCommand("dd", args)).exitCode;
}

describe("faults", () => {
  test("an error hits the range it is meant for, and the listener hears of it", async () => {
    const rule = { error: "ENOSPC", operations: ["write"], offsetBytes: 8192n, lengthBytes: 4096n } as const;
    const device = await serveFaults([rule]);
    const events: DeviceEvent[] = [];
    device.onEvent((event) => events.push(event));
    expect(await writeBlock(device.path, 1)).toBe(0);
    expect(await writeBlock(device.path, 2)).not.toBe(0);
    await waitFor("the event arrives", () => events.length > 0);
    expect(events).toEqual([
      { kind: "io-error", operation: "write", errnoName: "ENOSPC", offsetBytes: 8192n, lengthBytes: 4096 },
    ]);
    await device.setFaultRules([]);
    expect(await writeBlock(device.path, 2)).toBe(0);
    await device.stop();
  });

  test("a torn write leaves its beginning, and fails", async () => {
    const data = await createRandomFile(join(rig.scratch, "torn"), 4096);
    const device = await serveFaults([{ tearAfterBytes: 1024, operations: ["write"], times: 1 }]);
    expect(await writeBlock(device.path, 0, data)).not.toBe(0);
    await runCommand("cmp", ["-n", "1024", data, device.path]);
    await runCommand("cmp", ["-i", "1024:0", "-n", "3072", device.path, "/dev/zero"]);
    await device.stop();
  });

  test("a request hangs until there are other rules", async () => {
    const device = await serveFaults([{ hang: true, operations: ["write"], times: 1 }]);
    const args = [
      "if=/dev/zero",
      `of=${device.path}`,
      "bs=4096",
      "count=1",
      "oflag=direct",
      "conv=notrunc",
      "status=none",
    ];
    const writer = spawn("dd", args, { stdio: "ignore" });
    const exited = once(writer, "exit");
    await waitFor("the write hangs", () => device.stats().inFlight === 1);
    await runCommand("dd", [`if=${device.path}`, "of=/dev/null", "bs=4096", "count=1", "iflag=direct", "status=none"]);
    expect(writer.exitCode).toBeNull();
    await device.setFaultRules([]);
    expect((await exited)[0]).toBe(0);
    await device.stop();
  });

  test("a delay delays", async () => {
    const device = await serveFaults([{ delayMs: 400, operations: ["write"], times: 1 }]);
    const begin = performance.now();
    expect(await writeBlock(device.path, 0)).toBe(0);
    expect(performance.now() - begin).toBeGreaterThanOrEqual(400);
    await device.stop();
  });

  test("rules that are wrong are refused and leave the others in force", async () => {
    const device = await serveFaults([{ error: "EIO", operations: ["write"] }]);
    expect((await failure(device.setFaultRules([{ error: "EPERHAPS" }]))).code).toBe("invalid_option");
    expect(await writeBlock(device.path, 0)).not.toBe(0);
    await device.stop();
  });

  test.each<DeathPoint>(["before-io", "after-io", "after-commit"])(
    "a server that dies %s is recovered, and the write is there",
    async (die) => {
      const path = await rig.images.createImage(sizeBytes);
      const over = { kind: "file", path } as const;
      const rules = [{ die, operations: ["write" as const] }];
      const server = await DeviceServer.start({
        create: [{ target: { kind: "fault", over, rules } }, { recoverable: true }],
      });
      const died = once(server.process, "exit");
      const data = await createRandomFile(join(rig.scratch, "data"), mebibyte);
      const writing = writeToDevice(data, `/dev/ublkb${server.deviceId}`, { direct: true });
      expect((await died)[1]).toBe("SIGKILL");
      await waitForState(server.deviceId, "quiesced");
      const device = await recoverAndServe(server.deviceId, over);
      await writing;
      await compareDevice(data, device.path);
      await device.stop();
    },
  );
});

describe("a full file system", () => {
  test("fails the write with ENOSPC, tells the listener where, and goes on when there is space", async () => {
    const folder = join(rig.scratch, "full");
    await runCommand("mkdir", [folder]);
    await runCommand("mount", ["-t", "tmpfs", "-o", "size=8M", "none", folder]);
    try {
      const path = await rig.images.createImage(2 * sizeBytes, folder);
      const filler = join(folder, "filler");
      await writeFile(filler, Buffer.alloc(7 * mebibyte, 1));
      const device = await createAndServe({ target: { kind: "file", path } });
      const events: DeviceEvent[] = [];
      device.onEvent((event) => events.push(event));
      const data = await createRandomFile(join(rig.scratch, "data"), 2 * mebibyte);
      const args = [`if=${data}`, `of=${device.path}`, "bs=128k", "seek=8", "oflag=direct", "conv=notrunc"];
      const failed = await tryCommand("dd", args);
      expect(failed.stderr).toContain("No space left on device");
      await waitFor("the event arrives", () => events.length > 0);
      expect(events[0]).toMatchObject({ kind: "io-error", operation: "write", errnoName: "ENOSPC" });
      const { offsetBytes, lengthBytes } = events[0] as DeviceEvent & { kind: "io-error" };
      expect(offsetBytes).toBeGreaterThanOrEqual(BigInt(mebibyte));
      expect(offsetBytes).toBeLessThan(BigInt(3 * mebibyte));
      expect(lengthBytes).toBeGreaterThan(0);
      await writeFile(filler, "");
      await runCommand("dd", [...args, "status=none"]);
      await runCommand("cmp", ["-i", `0:${mebibyte}`, "-n", String(2 * mebibyte), data, device.path]);
      await device.stop();
    } finally {
      await runCommand("umount", [folder]);
    }
  });

  test("a thick image on a tmpfs is zeroed without losing its space", async () => {
    const path = await rig.images.createImage(sizeBytes, rig.scratch);
    const device = await createAndServe({ target: { kind: "file", path } }, { discard: false });
    const data = await createRandomFile(join(rig.scratch, "data"), sizeBytes);
    await writeToDevice(data, device.path, { direct: true });
    await runCommand("blkdiscard", ["--zeroout", "--offset", "4096", "--length", String(mebibyte), device.path]);
    expect(device.stats()).toMatchObject({ errors: 0n });
    expect(device.stats().writeZeroes).toBeGreaterThan(0n);
    await device.stop();
    await runCommand("cmp", ["-i", "4096:0", "-n", String(mebibyte), path, "/dev/zero"]);
    await runCommand("cmp", ["-i", String(4096 + mebibyte), data, path]);
    await runCommand("rm", [path]);
  });
});
