import { UblkError } from "../../ublk/index.js";
import type { Ublk } from "../../ublk/ublk.js";
import { BlockDeviceError, type BlockDeviceLimits, type FreezeToken } from "../block-devices.js";
import { identifyImage } from "../journal/image-identity.js";
import type { Journal } from "../journal/journal.js";
import type { JournalEntry } from "../journal/journal-entry.js";
import type { ServedDevice } from "./device-maker.js";

/** What can be changed about a device while it is used. Its callers see to it that one volume is changed once at a time. */
export class DeviceTuning {
  constructor(
    private readonly ublk: Ublk,
    private readonly journal: Journal,
  ) {}

  /** Returns whether the size has changed. The journal knows both sizes while the kernel may have either. */
  async resize(served: ServedDevice, sizeBytes: bigint): Promise<boolean> {
    if (served.entry.resizingToBytes !== undefined) await this.settleResize(served, true);
    const { entry, device } = served;
    if (sizeBytes === entry.sizeBytes) return false;
    this.assertResizable(served, sizeBytes);
    await identifyImage(entry.image, sizeBytes);
    await this.replace(served, { ...entry, resizingToBytes: sizeBytes });
    try {
      await device.resize(sizeBytes);
    } catch (error) {
      const isLate = error instanceof UblkError && error.code === "timeout";
      await this.settleResize(served, isLate).catch(() => undefined); // the entry still knows both sizes
      throw error;
    }
    await this.replace(served, { ...entry, sizeBytes });
    return true;
  }

  /** After a resize that failed the kernel says which size it has; one that was only too slow may get the new one yet. */
  private async settleResize(served: ServedDevice, isLate: boolean): Promise<void> {
    const { entry, device } = served;
    const info = await this.ublk.findDevice(device.deviceId);
    if (info && info.sizeBytes === entry.resizingToBytes) {
      await this.replace(served, { ...entry, sizeBytes: info.sizeBytes, resizingToBytes: undefined });
    } else if (info?.sizeBytes === entry.sizeBytes && !isLate) {
      await this.replace(served, { ...entry, resizingToBytes: undefined });
    }
  }

  private async replace(served: ServedDevice, entry: JournalEntry): Promise<void> {
    await this.journal.write(entry);
    served.entry = entry;
  }

  /** The device first, which checks them; limits that cannot be remembered are taken back. */
  async setLimits(served: ServedDevice, limits: BlockDeviceLimits): Promise<void> {
    const { entry, device } = served;
    await device.setLimits(limits);
    const next = { ...entry, limits };
    try {
      await this.journal.write(next);
    } catch (error) {
      await device.setLimits(entry.limits);
      throw error;
    }
    served.entry = next;
  }

  async freeze(group: readonly ServedDevice[], deadlineMs: number): Promise<FreezeToken> {
    const frozen = group.filter(isFrozen);
    if (frozen.length > 0) throw new BlockDeviceError("frozen", `${nameAll(frozen)} is frozen already: thaw it first`);
    return await this.ublk.freeze(
      group.map(({ device }) => device),
      { deadlineMs },
    );
  }

  /** Ends this freeze of all of them, and complains afterwards. */
  async thaw(group: readonly ServedDevice[], token: FreezeToken): Promise<void> {
    const wasFrozen = await Promise.all(group.map(({ device }) => device.thaw(token)));
    const early = group.filter((_, position) => !wasFrozen[position]);
    if (early.length === 0) return;
    throw new BlockDeviceError(
      "frozen",
      `${nameAll(early)} was not frozen by this freeze any more: what was done meanwhile may not hold together, so do it again`,
    );
  }

  private assertResizable({ entry, device }: ServedDevice, sizeBytes: bigint): void {
    const { volumeId, sizeBytes: hasBytes, resizingToBytes = sizeBytes } = entry;
    if (resizingToBytes !== sizeBytes) {
      const reason = `a resize to ${resizingToBytes} bytes has not ended: repeat that one first`;
      throw new BlockDeviceError("unavailable", `volume ${volumeId} cannot be resized: ${reason}`);
    }
    if (sizeBytes < hasBytes) {
      const reason = `${sizeBytes} bytes are fewer than the ${hasBytes} it has, and what lies behind would be lost`;
      throw new BlockDeviceError("invalid", `volume ${volumeId} cannot be resized: ${reason}`);
    }
    if (sizeBytes % BigInt(entry.logicalBlockSizeBytes) !== 0n) {
      const expected = `a multiple of the logical block of ${entry.logicalBlockSizeBytes} bytes`;
      throw new BlockDeviceError("invalid", `volume ${volumeId} cannot have ${sizeBytes} bytes: expected ${expected}`);
    }
    if (device.features.includes("UPDATE_SIZE")) return;
    const advice = "detach the volume and attach it with the new size";
    const reason = `${device.path} was made without UPDATE_SIZE (first in kernel 6.16)`;
    throw new BlockDeviceError("unsupported", `volume ${volumeId} cannot be resized in use: ${reason}: ${advice}`);
  }
}

/** Whether the device holds its I/O back now. */
export function isFrozen({ device }: ServedDevice): boolean {
  return device.state === "open" && device.stats().frozen;
}

function nameAll(group: readonly ServedDevice[]): string {
  return group.map(({ entry }) => `volume ${entry.volumeId}`).join(", ");
}
