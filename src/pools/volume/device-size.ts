import { BlockDeviceError, type BlockDevices } from "../../engine/block-devices.js";
import { DriverError } from "../../errors.js";
import { imageSizeBytesOf } from "./image-size.js";
import type { Volume } from "./volume.js";

/**
 * Gives the device of a volume, if it has one, the size that the volume has on disk. A device that is dead gets it when
 * it is made again. May be repeated.
 */
export async function growDevice(volume: Volume, blockDevices: BlockDevices): Promise<void> {
  const device = await blockDevices.find(volume.id);
  const sizeBytes = imageSizeBytesOf(volume);
  if (device === undefined || device.state === "dead" || device.sizeBytes >= sizeBytes) return;
  try {
    await blockDevices.resize(volume.id, sizeBytes);
  } catch (cause) {
    if (!(cause instanceof BlockDeviceError && cause.code === "unsupported")) throw cause;
    throw cannotGrowInUse(volume.id, cause);
  }
}

/** Refuses, before anything is changed, what `growDevice` could not finish. */
export async function assertDeviceCanGrow(volumeId: string, blockDevices: BlockDevices): Promise<void> {
  const device = await blockDevices.find(volumeId);
  if (device === undefined || device.state === "dead") return;
  if ((await blockDevices.capabilities()).onlineResize) return;
  throw cannotGrowInUse(volumeId);
}

function cannotGrowInUse(volumeId: string, cause?: unknown): DriverError {
  const kernel =
    "growing a device in use takes ublk's UPDATE_SIZE (first in kernel 6.16), which this one does not have";
  const message = `volume ${volumeId} is staged, and ${kernel}: unpublish and unstage it, then expand it`;
  return new DriverError("refused", message, { cause });
}
