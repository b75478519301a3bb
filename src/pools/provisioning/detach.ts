import { setTimeout as sleep } from "node:timers/promises";
import { BlockDeviceError, type BlockDevices } from "../../engine/block-devices.js";
import { DriverError } from "../../errors.js";

export interface DetachOptions {
  blockDevices: BlockDevices;
  /** How long to wait for those who open every new or closed device for a moment, such as udev. */
  waitMsMax: number;
}

const retryMs = 50;

/** Removes the device of a volume; one that stays in use is refused, and keeps serving. */
export async function detachDevice(volumeId: string, { blockDevices, waitMsMax }: DetachOptions): Promise<void> {
  const deadlineMs = Date.now() + waitMsMax;
  for (;;) {
    try {
      return await blockDevices.detach(volumeId);
    } catch (cause) {
      if (!(cause instanceof BlockDeviceError && cause.code === "in_use")) throw cause;
      if (Date.now() >= deadlineMs) {
        const message = `volume ${volumeId} is in use: unpublish and unstage it first (${cause.message})`;
        throw new DriverError("refused", message, { cause });
      }
    }
    await sleep(retryMs);
  }
}
