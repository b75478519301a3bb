import { rm } from "node:fs/promises";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { createRandomFile, digest, writeToDevice } from "./support/device-io.js";
import { DeviceServer } from "./support/device-server.js";
import { loadLibrary } from "./support/library.js";
import { type MachineState, readMachineState, waitUntilNothingIsLeft } from "./support/machine-state.js";
import { onlyInFull } from "./support/scale.js";
import { TestBed } from "./support/test-bed.js";
import { waitFor } from "./support/wait-for.js";

const mebibyte = 1024 ** 2;
const sizeBytes = 8 * mebibyte;
const imagePath = "/run/foreign-image";

/** Served by a process that knows nothing of CSI. */
let live: DeviceServer;
/** Left by a process that died: it waits for a server of its own, not for ours. */
let waiting: DeviceServer;
let written: string;
let bed: TestBed;
let before: MachineState;

beforeAll(async () => {
  before = await readMachineState();
  live = await DeviceServer.start({ create: [{ target: { kind: "memory" }, sizeBytes }, {}] });
  await createRandomFile(imagePath, sizeBytes);
  const target = { kind: "memory", path: imagePath } as const;
  waiting = await DeviceServer.start({ create: [{ target, sizeBytes }, { recoverable: true }] });
  await waiting.kill();
  const data = await createRandomFile("/run/foreign-data", sizeBytes);
  await writeToDevice(data, `/dev/ublkb${live.deviceId}`);
  written = await digest(data, sizeBytes);
  bed = await TestBed.start("foreign");
});

afterAll(async () => {
  await bed.dispose();
  await live.kill();
  await removeWithoutServer(live.deviceId);
  await removeWithoutServer(waiting.deviceId);
  for (const path of [imagePath, "/run/foreign-data"]) await rm(path);
  await waitUntilNothingIsLeft(before);
});

/** The kernel shows a device as live for a moment after its server has died. */
async function removeWithoutServer(deviceId: number): Promise<void> {
  const { listDevices, removeDevice } = await loadLibrary();
  await waitFor(`device ${deviceId} to have no server`, async () => {
    const device = (await listDevices()).find((found) => found.deviceId === deviceId);
    return device?.state !== "live";
  });
  await removeDevice(deviceId, { force: true });
}

async function expectUntouched(): Promise<void> {
  const { listDevices } = await loadLibrary();
  const states = (await listDevices()).map(({ deviceId, state, serverPid }) => ({ deviceId, state, serverPid }));
  expect(states).toContainEqual({ deviceId: live.deviceId, state: "live", serverPid: live.pid });
  expect(states).toContainEqual(expect.objectContaining({ deviceId: waiting.deviceId, state: "quiesced" }));
  expect(await digest(`/dev/ublkb${live.deviceId}`, sizeBytes)).toBe(written);
}

test("devices of others are untouched by start, work, crash, adoption and stop of the driver", async () => {
  await expectUntouched();
  const volume = bed.volume({ name: "own", sizeBytes: 16 * mebibyte, access: { kind: "block" } });
  await volume.start();
  expect([live.deviceId, waiting.deviceId]).not.toContain(await volume.findDeviceId());
  await bed.driver.kill();
  await expectUntouched();
  await bed.restart();
  await expectUntouched();
  await volume.finish();
  await bed.driver.terminate();
  await expectUntouched();
});

onlyInFull(() => {
  test("the device that waited is still good for its own server", async () => {
    const target = { kind: "memory", path: imagePath } as const;
    const server = await DeviceServer.start({ recover: [waiting.deviceId, target, {}] });
    expect(await digest(`/dev/ublkb${waiting.deviceId}`, sizeBytes)).toBe(await digest(imagePath, sizeBytes));
    await server.kill();
  });
});
