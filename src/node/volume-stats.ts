import { statfs } from "node:fs/promises";
import { isAbsolute } from "node:path";
import { DriverError } from "../errors.js";
import type { NodeDependencies } from "./node-dependencies.js";
import { findMount, resolveTargetPath } from "./target-path.js";

/** How full a volume is. Of a raw block volume only the owner knows what is used, so it has a total alone. */
export interface VolumeStats {
  bytes: Usage | { total: bigint };
  inodes?: Usage;
}

export interface Usage {
  total: bigint;
  used: bigint;
  available: bigint;
}

/** Measures a volume at a place where it is published or staged; at any other it is missing, in a relative one too. */
export async function readVolumeStats(
  volumeId: string,
  volumePath: string,
  { pools, devices, mounter }: NodeDependencies,
): Promise<VolumeStats> {
  const volume = pools.getVolume(volumeId);
  const device = await devices.find(volumeId);
  if (device === undefined || !isAbsolute(volumePath)) throw missingAt(volumeId, volumePath);
  const path = await resolveTargetPath(volumePath);
  const entry = findMount(await mounter.list(), path);
  if (entry?.deviceNumber === device.number) return await readUsage(path);
  if (entry !== undefined && (await mounter.findDeviceNumber(path)) === device.number) {
    return { bytes: { total: volume.sizeBytes } };
  }
  throw missingAt(volumeId, volumePath);
}

async function readUsage(path: string): Promise<VolumeStats> {
  const { bsize, blocks, bfree, bavail, files, ffree } = await statfs(path, { bigint: true });
  return {
    bytes: { total: blocks * bsize, used: (blocks - bfree) * bsize, available: bavail * bsize },
    inodes: { total: files, used: files - ffree, available: ffree },
  };
}

function missingAt(volumeId: string, path: string): DriverError {
  return new DriverError("missing", `volume ${volumeId} is not at ${path}: publish it there first`);
}
