import type { BlockDeviceSpec } from "../engine/block-devices.js";
import type { Pool } from "../pools/pool/pool.js";
import { imageSizeBytesOf } from "../pools/volume/image-size.js";
import type { Volume, VolumeCapability } from "../pools/volume/volume.js";

/**
 * The device that a volume needs for a use. Only raw block access makes the device itself read-only: a file system
 * asked for reading may still have to replay its journal first.
 */
export function toDeviceSpec(volume: Volume, pool: Pool, capability: VolumeCapability): BlockDeviceSpec {
  const { logicalBlockSizeBytes, provisioning, queueCount, queueDepth } = volume.parameters;
  return {
    volumeId: volume.id,
    image: { kind: pool.spec.kind, path: pool.imagePath(volume.id) },
    sizeBytes: imageSizeBytesOf(volume),
    readOnly: capability.accessType === "block" && isReadOnlyUse(capability),
    logicalBlockSizeBytes,
    discard: provisioning === "thin",
    ...(queueCount === undefined ? {} : { queueCount }),
    ...(queueDepth === undefined ? {} : { queueDepth }),
  };
}

/** Whether nobody may write through this capability. */
export function isReadOnlyUse(capability: VolumeCapability): boolean {
  if (capability.accessMode === "SINGLE_NODE_READER_ONLY") return true;
  return capability.accessType === "mount" && capability.mountFlags.includes("ro");
}
