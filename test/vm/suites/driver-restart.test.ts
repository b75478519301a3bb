import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { countCompletedIo } from "./support/completed-io.js";
import { loadLibrary } from "./support/library.js";
import { runCommand } from "./support/run-command.js";
import { onlyInFull } from "./support/scale.js";
import { TestBed } from "./support/test-bed.js";
import { waitFor } from "./support/wait-for.js";

const mebibyte = 1024 ** 2;
const mount = { kind: "mount", fsType: "ext4" } as const;

let bed: TestBed;

beforeAll(async () => {
  bed = await TestBed.start("restart");
});
afterAll(async () => await bed.dispose());

async function findDeviceState(deviceId: number): Promise<string | undefined> {
  const { listDevices } = await loadLibrary();
  return (await listDevices()).find((device) => device.deviceId === deviceId)?.state;
}

test("SIGTERM: an unused device goes, a used one waits, and the next driver takes it back with its I/O", async () => {
  const used = bed.volume({ name: "used", sizeBytes: 32 * mebibyte, access: mount });
  const unused = bed.volume({ name: "unused", sizeBytes: 16 * mebibyte, access: { kind: "block" } });
  await used.start();
  await unused.create();
  await unused.stage();
  const deviceId = await used.findDeviceId();
  await writeFile(join(used.targetPath, "note"), "still here");
  await runCommand("sync", ["-f", used.targetPath]);

  expect(await bed.driver.terminate()).toBe(0);
  expect(existsSync(bed.driver.client.socketPath)).toBe(false);
  const devices = await readdir("/sys/block");
  expect(devices.filter((name) => name.startsWith("ublkb"))).toEqual([`ublkb${deviceId}`]);
  expect(await findDeviceState(deviceId)).toBe("quiesced");

  const completed = countCompletedIo(deviceId);
  const reader = spawn("dd", [`if=/dev/ublkb${deviceId}`, "of=/dev/null", "iflag=direct", "bs=4096", "count=1"]);
  const readerExit = once(reader, "exit");
  await waitFor("the reader waits in the kernel", async () => /^State:\s+D/m.test(await readStatus(reader.pid)));
  await bed.restart();
  expect(await readerExit).toEqual([0, null]);
  expect(countCompletedIo(deviceId)).toBeGreaterThan(completed);
  expect(await findDeviceState(deviceId)).toBe("live");
  expect(await used.findDeviceId()).toBe(deviceId);
  expect(await readFile(join(used.targetPath, "note"), "utf8")).toBe("still here");

  await unused.stage();
  await unused.publish();
  await unused.finish();
  await used.finish();
});

onlyInFull(() => {
  test("an unchanged claim on a volume is answered by the next driver as by the last", async () => {
    const volume = bed.volume({ name: "claim", sizeBytes: 32 * mebibyte, access: mount });
    await volume.start();
    const { id } = volume;
    const deviceId = await volume.findDeviceId();
    await bed.driver.kill();
    await bed.restart();
    expect((await volume.create()).volumeId).toBe(id);
    await volume.stage();
    await volume.publish();
    expect(await volume.findDeviceId()).toBe(deviceId);
    await volume.finish();
  });

  test("a device whose mount went away while no driver ran is removed when the volume is unstaged", async () => {
    const volume = bed.volume({ name: "unmounted", sizeBytes: 32 * mebibyte, access: mount });
    await volume.start();
    const deviceId = await volume.findDeviceId();
    await runCommand("sync", ["-f", volume.targetPath]);
    await bed.driver.kill();
    await bed.restart();
    await runCommand("umount", [volume.targetPath]);
    await runCommand("umount", [volume.stagingPath]);
    expect(await findDeviceState(deviceId)).toBe("live");
    await volume.finish();
    expect(await findDeviceState(deviceId)).toBeUndefined();
  });
});

async function readStatus(processId: number | undefined): Promise<string> {
  return await readFile(`/proc/${processId}/status`, "utf8").catch(() => "");
}
