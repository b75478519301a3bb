import { rename, rm, truncate, writeFile } from "node:fs/promises";
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { BlockDeviceError } from "../engine/block-devices.js";
import { toDeviceSpec } from "../node/device-spec.js";
import type { Volume } from "../pools/volume/volume.js";
import { blockCapability, mebibyte, rejectionOf, Workspace } from "../testing/workspace.js";
import { IoErrorHistory } from "./io-error-history.js";
import { VolumeHealth } from "./volume-health.js";

let workspace: Workspace;
let health: VolumeHealth;
let nowMs: number;

beforeEach(async () => {
  workspace = await Workspace.create();
  nowMs = Date.parse("2030-01-01T00:00:00Z");
  look();
});
afterEach(async () => await workspace.remove());

/** As a driver that has just been started would. */
function look(): void {
  const { pools, blockDevices } = workspace;
  health = new VolumeHealth({ pools, blockDevices, ioErrors: new IoErrorHistory(blockDevices, () => nowMs) });
}

async function createVolume(name: string): Promise<Volume> {
  const range = { requiredBytes: 2n * mebibyte, limitBytes: undefined };
  return await workspace.provisioner.create({ name, range, capabilities: [blockCapability], parameters: {} });
}

const imagePath = (volume: Volume) => workspace.pools.poolOf(volume).imagePath(volume.id);

async function attach(volume: Volume): Promise<void> {
  await workspace.blockDevices.attach(toDeviceSpec(volume, workspace.pools.poolOf(volume), blockCapability));
}

function failRequest({ id: volumeId }: Volume, errnoName: string): void {
  const request = { operation: "write", offsetBytes: 0n, lengthBytes: 4096 };
  workspace.blockDevices.events.emit({ kind: "io-error", volumeId, deviceId: 0, errnoName, atMs: nowMs, ...request });
}

describe("a volume is", () => {
  test("well with and without a device", async () => {
    const volume = await createVolume("a");
    expect(await health.check(volume.id)).toEqual([]);
    await attach(volume);
    expect(await health.check(volume.id)).toEqual([]);
  });

  test("unknown when nobody made it", async () => {
    expect(await rejectionOf(health.check("no-such-volume"))).toMatchObject({ code: "missing" });
  });

  test("lost when its image is missing, or cut short", async () => {
    const volume = await createVolume("a");
    await truncate(imagePath(volume), 4096);
    const [cut] = await health.check(volume.id);
    expect(cut).toMatchObject({ status: "data_loss", reason: "ImageLost", message: /has 4096 bytes, .* has 2097152/ });
    await rm(imagePath(volume));
    const [missing] = await health.check(volume.id);
    expect(missing).toMatchObject({ status: "data_loss", reason: "ImageLost", message: /is missing/ });
  });

  test("lost after a start that found no image, though it cannot be used otherwise", async () => {
    const volume = await createVolume("a");
    await rm(imagePath(volume));
    await workspace.reopen();
    look();
    expect(await health.check(volume.id)).toMatchObject([{ status: "data_loss", reason: "ImageLost" }]);
  });

  test("inaccessible when its record cannot be read", async () => {
    const volume = await createVolume("a");
    await writeFile(workspace.pools.poolOf(volume).recordPath(volume.id), "{");
    await workspace.reopen();
    look();
    expect(await health.check(volume.id)).toMatchObject([{ status: "inaccessible", reason: "RecordUnusable" }]);
  });

  test("inaccessible, and not lost, when its pool is gone", async () => {
    const volume = await createVolume("a");
    await rename(workspace.path("disk"), workspace.path("elsewhere"));
    await workspace.makeDirectory("disk");
    expect(await health.check(volume.id)).toMatchObject([{ status: "inaccessible", reason: "PoolUnavailable" }]);
    expect(await health.checkStorage()).toMatchObject([{ status: "unreachable", reason: "PoolUnavailable" }]);
  });

  test.each([
    { state: "dead" as const, reason: "DeviceDead" },
    { state: "quiesced" as const, reason: "DeviceQuiesced" },
  ])("inaccessible while its device is $state", async ({ state, reason }) => {
    const volume = await createVolume("a");
    await attach(volume);
    workspace.blockDevices.setState(volume.id, state);
    expect(await health.check(volume.id)).toMatchObject([{ status: "inaccessible", reason }]);
    workspace.blockDevices.setState(volume.id, "live");
    expect(await health.check(volume.id)).toEqual([]);
  });

  test("well when its device is handed from one engine to the next meanwhile", async () => {
    const volume = await createVolume("a");
    await attach(volume);
    workspace.blockDevices.setState(volume.id, "quiesced");
    const checked = health.check(volume.id);
    workspace.blockDevices.setState(volume.id, "live");
    expect(await checked).toEqual([]);
  });

  test("well when its device is being detached meanwhile", async () => {
    const volume = await createVolume("a");
    await attach(volume);
    workspace.blockDevices.setState(volume.id, "dead");
    const checked = health.check(volume.id);
    await workspace.blockDevices.detach(volume.id);
    expect(await checked).toEqual([]);
  });

  test("inaccessible while the engine does not answer", async () => {
    const volume = await createVolume("a");
    const unavailable = new BlockDeviceError("unavailable", "the engine does not answer");
    workspace.blockDevices.find = () => Promise.reject(unavailable);
    workspace.blockDevices.capabilities = () => Promise.reject(unavailable);
    expect(await health.check(volume.id)).toMatchObject([{ status: "inaccessible", reason: "EngineUnavailable" }]);
    expect(await health.checkStorage()).toMatchObject([{ status: "unreachable", reason: "EngineUnavailable" }]);
  });

  test("inaccessible while the engine hangs, which is not waited for as other calls wait", async () => {
    const volume = await createVolume("a");
    const [{ pools, blockDevices }, never] = [workspace, new Promise<never>(() => undefined)];
    blockDevices.find = () => never;
    blockDevices.capabilities = () => never;
    const ioErrors = new IoErrorHistory(blockDevices);
    const impatient = new VolumeHealth({ pools, blockDevices, ioErrors, engineAnswerMsMax: 1 });
    const message = "the engine has not answered for 1 ms: look whether it is running, or hangs";
    const finding = { reason: "EngineUnavailable", message };
    expect(await impatient.check(volume.id)).toEqual([{ status: "inaccessible", ...finding }]);
    expect(await impatient.checkStorage()).toEqual([{ status: "unreachable", ...finding }]);
  });
});

describe("requests that failed", () => {
  test("for want of space degrade the volume and its pool", async () => {
    const volume = await createVolume("a");
    failRequest(volume, "ENOSPC");
    failRequest(volume, "ENOSPC");
    const message = expect.stringContaining("a write failed with ENOSPC at 2030-01-01T00:00:00.000Z");
    expect(await health.check(volume.id)).toEqual([{ status: "degraded", reason: "PoolOutOfSpace", message }]);
    expect(await health.checkStorage()).toMatchObject([{ status: "degraded", reason: "PoolOutOfSpace" }]);
  });

  test("by the disk degrade the volume alone", async () => {
    const [sick, well] = [await createVolume("a"), await createVolume("b")];
    failRequest(sick, "EIO");
    expect(await health.check(sick.id)).toMatchObject([{ status: "degraded", reason: "ImageIoErrors" }]);
    expect(await health.check(well.id)).toEqual([]);
    expect(await health.checkStorage()).toEqual([]);
  });

  test("are told for ten minutes after the last one", async () => {
    const volume = await createVolume("a");
    failRequest(volume, "EIO");
    expect(await health.check(volume.id)).toHaveLength(1);
    nowMs += 599_000;
    failRequest(volume, "EIO");
    expect(await health.check(volume.id)).toHaveLength(1);
    nowMs += 599_000;
    expect(await health.check(volume.id)).toHaveLength(1);
    nowMs += 1_000;
    expect(await health.check(volume.id)).toEqual([]);
  });

  test("are told as of then by a driver that started after them", async () => {
    const volume = await createVolume("a");
    failRequest(volume, "EIO");
    nowMs += 300_000;
    look();
    const message = expect.stringContaining("a write failed with EIO at 2030-01-01T00:00:00.000Z");
    expect(await health.check(volume.id)).toEqual([{ status: "degraded", reason: "ImageIoErrors", message }]);
    nowMs += 300_000;
    expect(await health.check(volume.id)).toEqual([]);
  });

  test("are forgotten with the device", async () => {
    const volume = await createVolume("a");
    failRequest(volume, "EIO");
    workspace.blockDevices.events.emit({ kind: "detached", volumeId: volume.id, deviceId: 0 });
    expect(await health.check(volume.id)).toEqual([]);
    look();
    expect(await health.check(volume.id)).toEqual([]);
  });
});

test("a volume whose device the engine cannot tell of is in the list, and hides no other from it", async () => {
  const [broken, lost] = [await createVolume("a"), await createVolume("b")];
  await attach(broken);
  await rm(imagePath(lost));
  const { blockDevices } = workspace;
  const find = blockDevices.find.bind(blockDevices);
  blockDevices.find = async (volumeId) => {
    if (volumeId === broken.id) throw new BlockDeviceError("internal", "its journal entry is not JSON");
    return await find(volumeId);
  };
  const message = "its journal entry is not JSON";
  expect(await health.check(broken.id)).toEqual([{ status: "inaccessible", reason: "DeviceUnusable", message }]);
  expect((await health.listAbnormal()).map(({ id }) => id)).toEqual([broken.id, lost.id].sort());
});

test("a list asks the engine for those volumes only that have a device", async () => {
  const [one, other] = [await createVolume("a"), await createVolume("b")];
  await attach(other);
  const asked: string[] = [];
  const find = workspace.blockDevices.find.bind(workspace.blockDevices);
  workspace.blockDevices.find = (volumeId) => {
    asked.push(volumeId);
    return find(volumeId);
  };
  await rm(imagePath(one));
  expect((await health.listAbnormal()).map(({ id }) => id)).toEqual([one.id]);
  expect(asked).toEqual([other.id]);
});

test("a list from an engine that does not answer names every volume, after one question", async () => {
  const ids = [await createVolume("a"), await createVolume("b")].map(({ id }) => id).sort();
  const [{ pools, blockDevices }, never] = [workspace, new Promise<never>(() => undefined)];
  let questions = 0;
  const ask = () => {
    questions++;
    return never;
  };
  Object.assign(blockDevices, { listVolumeIds: ask, find: ask });
  const ioErrors = new IoErrorHistory(blockDevices);
  const impatient = new VolumeHealth({ pools, blockDevices, ioErrors, engineAnswerMsMax: 1 });
  const findings = [expect.objectContaining({ reason: "EngineUnavailable" })];
  expect(await impatient.listAbnormal()).toEqual(ids.map((id) => ({ id, findings })));
  expect(questions).toBe(1);
});

test("the list has the volumes that are not well, and they alone, in the order of their ids", async () => {
  const volumes = [await createVolume("a"), await createVolume("b"), await createVolume("c"), await createVolume("d")];
  const [sick, lost, broken] = volumes as [Volume, Volume, Volume];
  await writeFile(workspace.pools.poolOf(broken).recordPath(broken.id), "{");
  await workspace.reopen();
  look();
  failRequest(sick, "EIO");
  await rm(imagePath(lost));
  const listed = await health.listAbnormal();
  expect(listed.map(({ id }) => id)).toEqual([sick.id, lost.id, broken.id].sort());
  expect(new Set(listed.flatMap(({ findings }) => findings.map(({ reason }) => reason)))).toEqual(
    new Set(["ImageIoErrors", "ImageLost", "RecordUnusable"]),
  );
});
