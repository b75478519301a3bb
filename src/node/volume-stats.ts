import { isAbsolute } from "node:path";
import { DriverError } from "../errors.js";
import { readAllocatedBytes } from "../pools/images/image.js";
import { minBytes } from "../pools/volume/bytes.js";
import type { Volume } from "../pools/volume/volume.js";
import { DeviceMounts } from "./mounts/device-mounts.js";
import type { FilesystemSpace } from "./mounts/filesystem-space.js";
import { resolveTargetPath } from "./mounts/target-path.js";
import type { NodeDependencies } from "./node-dependencies.js";

/** How full a volume is. File systems that make inodes as they need them, such as btrfs, have no number of them. */
export interface VolumeStats {
  bytes: Usage;
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
  const mounts = await DeviceMounts.read(device, mounter);
  const entry = mounts.at(path);
  if (entry === undefined) throw missingAt(volumeId, volumePath);
  if (mounts.shows(entry)) return toStats(await mounter.readSpace(path));
  if ((await mounter.findDeviceNumber(path)) !== device.number) throw missingAt(volumeId, volumePath);
  return { bytes: await readBlockUsage(volume, pools.poolOf(volume).imagePath(volume.id)) };
}

/** A raw block volume's owner keeps the book; what can be seen from here is what the image takes of the pool. */
async function readBlockUsage({ sizeBytes }: Volume, imagePath: string): Promise<Usage> {
  const used = minBytes(await readAllocatedBytes(imagePath), sizeBytes);
  return { total: sizeBytes, used, available: sizeBytes - used };
}

function toStats({ blockSizeBytes, ...space }: FilesystemSpace): VolumeStats {
  const bytes = {
    total: space.blockCount * blockSizeBytes,
    used: (space.blockCount - space.freeBlockCount) * blockSizeBytes,
    available: space.availableBlockCount * blockSizeBytes,
  };
  const { inodeCount: total, freeInodeCount: available } = space;
  return total === 0n ? { bytes } : { bytes, inodes: { total, used: total - available, available } };
}

function missingAt(volumeId: string, path: string): DriverError {
  return new DriverError("missing", `volume ${volumeId} is not at ${path}: publish it there first`);
}
