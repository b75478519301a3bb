import { mkdtemp, rm } from "node:fs/promises";
import { isDeepStrictEqual } from "node:util";
import { afterAll, afterEach, beforeAll, beforeEach, expect } from "@jest/globals";
import {
  createAndServe,
  type DeviceInfo,
  type DeviceOptions,
  type DeviceState,
  getFeatures,
  listDevices,
  type UblkDevice,
  UblkError,
} from "../../../../src/ublk/index.js";
import { ImageDirectory } from "./image-directory.js";
import { type MachineState, readMachineState, waitUntilNothingIsLeft } from "./machine-state.js";
import { type ProcessResources, readProcessResources } from "./process-resources.js";
import { waitFor } from "./wait-for.js";

export const mebibyte = 1024 ** 2;
/** The size of a device where nothing asks for another. */
export const sizeBytes = 4 * mebibyte;

/** Where a suite of the library keeps its files. Filled in before the first case. */
export class LibraryRig {
  images!: ImageDirectory;
  /** A directory on a tmpfs. */
  scratch!: string;
  private readonly served: UblkDevice[] = [];

  /** A device over a new image. */
  async serveFile(options: DeviceOptions = {}, size = sizeBytes): Promise<{ path: string; device: UblkDevice }> {
    const path = await this.images.createImage(size);
    const device = await createAndServe({ target: { kind: "file", path } }, options);
    this.served.push(device);
    return { path, device };
  }

  /** So that a case that failed with a device in its hands does not fail all that come after it. */
  async stopServed(): Promise<void> {
    for (const device of this.served.splice(0)) await device.stop().catch(() => undefined);
  }
}

/**
 * To be called once by a test file: after each case the machine holds nothing that it did not hold before it, and after
 * the last one this process holds no thread, descriptor, mapping or locked memory that it did not hold before the first.
 */
export function useLibraryRig(): LibraryRig {
  const rig = new LibraryRig();
  let resourcesBefore: ProcessResources;
  let machineBefore: MachineState;
  beforeAll(async () => {
    rig.images = await ImageDirectory.create();
    rig.scratch = await mkdtemp("/tmp/ublk-library-");
    // The first call starts the control thread, which stays for the life of the process.
    await getFeatures();
    resourcesBefore = await readProcessResources();
  });
  beforeEach(async () => {
    machineBefore = await readMachineState();
  });
  afterEach(async () => {
    await waitUntilNothingIsLeft(machineBefore).finally(() => rig.stopServed());
  });
  afterAll(async () => {
    await waitUntilEqual(readProcessResources, resourcesBefore);
    await rig.images.destroy();
    await rm(rig.scratch, { recursive: true });
  });
  return rig;
}

/** What the promise was rejected with; anything but a `UblkError` fails the test. */
export async function failure(promise: Promise<unknown>): Promise<UblkError> {
  const error = await promise.then(
    () => new Error("it succeeded, and was expected to fail"),
    (reason: unknown) => reason,
  );
  if (!(error instanceof UblkError)) throw error;
  return error;
}

export async function findInfo(deviceId: number): Promise<DeviceInfo | undefined> {
  return (await listDevices()).find((info) => info.deviceId === deviceId);
}

/** The kernel changes the state when the last reference to the server's side is gone, a moment after its end. */
export async function waitForState(deviceId: number, state: DeviceState): Promise<void> {
  await waitFor(`device ${deviceId} is ${state}`, async () => (await findInfo(deviceId))?.state === state);
}

/** Threads end and mappings go a moment after the promise that announces it. */
async function waitUntilEqual<T>(read: () => Promise<T>, expected: T): Promise<void> {
  let now: T | undefined;
  const isEqual = async () => {
    now = await read();
    return isDeepStrictEqual(now, expected);
  };
  await waitFor("what it was before", isEqual, { timeoutMs: 5_000 }).catch(() => undefined);
  expect(now).toEqual(expected);
}
