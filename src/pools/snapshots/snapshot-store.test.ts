import { readdir } from "node:fs/promises";
import { afterEach, beforeEach, expect, test } from "@jest/globals";
import { BlockDeviceError } from "../../engine/block-devices.js";
import { mebibyte, mountCapability, rejectionOf, Workspace } from "../../testing/workspace.js";
import type { Snapshot } from "../volume/snapshot.js";
import type { Volume } from "../volume/volume.js";

let workspace: Workspace;
let volume: Volume;

beforeEach(async () => {
  workspace = await Workspace.create();
  volume = await createVolume("data");
});

afterEach(() => workspace.remove());

async function createVolume(name: string): Promise<Volume> {
  const range = { requiredBytes: 2n * mebibyte };
  return await workspace.provisioner.create({ name, range, capabilities: [mountCapability], parameters: {} });
}

const createSnapshot = (): Promise<Snapshot> =>
  workspace.snapshotter.create({ name: "snap", sourceVolumeId: volume.id, parameters: {} });
const folders = () => readdir(workspace.path("disk", "snapshots"));
const bookedBytes = () => workspace.pools.poolOf(volume).ledger.reservedBytes;
const unavailable = async () => Promise.reject(new BlockDeviceError("unavailable", "the engine does not answer"));

/** The engine is away from the start of a copy on, which it may have begun. Returns what brings it back. */
function loseEngineAtCopy(): () => void {
  const { blockDevices } = workspace;
  const startCopies = blockDevices.startCopies.bind(blockDevices);
  const endCopy = blockDevices.endCopy.bind(blockDevices);
  blockDevices.startCopies = async (specs) => {
    await startCopies(specs);
    await unavailable();
  };
  blockDevices.endCopy = unavailable;
  return () => Object.assign(blockDevices, { startCopies, endCopy });
}

test("a clone that fails has no copy to be ended first, and leaves nothing", async () => {
  const before = bookedBytes();
  const find = async () => Promise.reject(new BlockDeviceError("internal", "the journal cannot be read"));
  Object.assign(workspace.blockDevices, { find, endCopy: unavailable });
  expect(await rejectionOf(createSnapshot())).toMatchObject({ code: "internal" });
  expect(await folders()).toEqual([]);
  expect(bookedBytes()).toBe(before);
});

test("copies that fail while the engine is away are one left-over together, which goes when it is back", async () => {
  workspace.imageFiles.canShare = false;
  const before = bookedBytes();
  const bringBack = loseEngineAtCopy();
  for (let attempt = 0; attempt < 3; attempt++) {
    expect(await rejectionOf(createSnapshot())).toMatchObject({ code: "unavailable" });
  }
  expect(await folders()).toEqual(workspace.blockDevices.copyIds);
  expect(bookedBytes()).toBe(before + 2n * mebibyte);
  bringBack();
  while ((await folders()).length > 0) await new Promise(setImmediate);
  expect(workspace.blockDevices.copyIds).toEqual([]);
  const { id } = await createSnapshot();
  expect(await workspace.snapshots.store.whenSettled(id)).toMatchObject({ state: "ready" });
  expect(await folders()).toEqual([id]);
});

test("a left-over is removed by the next start at the latest", async () => {
  workspace.imageFiles.canShare = false;
  const bringBack = loseEngineAtCopy();
  await rejectionOf(createSnapshot());
  await workspace.snapshots.store.close();
  bringBack();
  expect(await folders()).toEqual(workspace.blockDevices.copyIds);
  await workspace.reopen();
  expect(await folders()).toEqual([]);
  expect(workspace.blockDevices.copyIds).toEqual([]);
});

test("one copy of a group that cannot be ended keeps none of the others", async () => {
  workspace.imageFiles.canShare = false;
  const sourceVolumeIds = [volume.id, (await createVolume("other")).id];
  const { blockDevices } = workspace;
  const endCopy = blockDevices.endCopy.bind(blockDevices);
  loseEngineAtCopy();
  let stuck: string | undefined;
  blockDevices.endCopy = async (id) => {
    stuck ??= id;
    if (id === stuck) await unavailable();
    await endCopy(id);
  };
  const error = await rejectionOf(workspace.groups.create({ name: "group", sourceVolumeIds, parameters: {} }));
  expect(error).toMatchObject({ code: "unavailable" });
  expect(blockDevices.copyIds).toEqual([stuck]);
  expect(await folders()).toEqual([stuck]);
  blockDevices.endCopy = endCopy;
  while ((await folders()).length > 0) await new Promise(setImmediate);
});
