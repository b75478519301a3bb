import { within } from "../../system/within.js";
import type { DeviceInfo, UblkDevice } from "../../ublk/index.js";
import type { Ublk } from "../../ublk/ublk.js";
import { BlockDeviceError } from "../block-devices.js";
import type { Journal } from "../journal/journal.js";
import type { JournalEntry } from "../journal/journal-entry.js";
import type { EngineLogger } from "../logger.js";
import type { Match } from "../reconciliation/kernel-view.js";
import type { ServedDevice } from "./device-maker.js";
import { isFrozen } from "./device-tuning.js";
import { toFields } from "./entry-views.js";
import type { ServedDevices } from "./served-devices.js";
import type { UsageGuard } from "./usage-guard.js";

/** What {@link DeviceRemoval} works with. */
export interface DeviceRemovalParts {
  ublk: Ublk;
  journal: Journal;
  served: ServedDevices;
  guard: UsageGuard;
  logger: EngineLogger;
  /** How long a device may take to end when all of them do. */
  endMs: number;
}

/** How devices go, one at a time or all at the end: never from under somebody who uses them. */
export class DeviceRemoval {
  constructor(private readonly parts: DeviceRemovalParts) {}

  /** Removes the device that the kernel has for the entry, if any, and the entry. */
  async remove(entry: JournalEntry, match: Match): Promise<void> {
    if (match.kind === "mismatch") throw new BlockDeviceError("internal", `volume ${entry.volumeId}: ${match.reason}`);
    if (match.kind === "found") await this.removeDevice(entry, match.info);
    const served = this.parts.served.get(entry.volumeId);
    if (served) await this.parts.served.drop(served);
    await this.parts.journal.remove(entry.volumeId);
  }

  /** Ends what this process serves, all at once; one that resists is logged and keeps no other. */
  async endEach(end: (served: ServedDevice) => Promise<void>): Promise<void> {
    const { served, logger, endMs } = this.parts;
    const endOne = async (device: ServedDevice) => {
      try {
        await within(endMs, end(device), () => new Error(`it has not ended in ${endMs} ms`));
        served.remove(device);
      } catch (error) {
        logger.error({ ...toFields(device.entry), err: error }, "the device cannot be left in good order");
      }
    };
    await Promise.all(served.all().map(endOne));
  }

  /** Removes a device that nobody uses, and leaves any other to the next server. */
  async close({ entry, device }: ServedDevice, match: Match): Promise<void> {
    if (await this.stopIfUnused(device, match)) await this.parts.journal.remove(entry.volumeId);
    else await device.release();
  }

  private async removeDevice(entry: JournalEntry, info: DeviceInfo): Promise<void> {
    const { ublk, guard } = this.parts;
    const served = this.parts.served.get(entry.volumeId);
    if (!served && info.state === "live") {
      const server = `process ${info.serverPid ?? "?"}`;
      throw new BlockDeviceError("unavailable", `${info.path} is served by ${server}: stop that process first`);
    }
    if (served && isFrozen(served)) throw new BlockDeviceError("frozen", `${info.path} is frozen: thaw it first`);
    if (served) return await guard.stopUnused(served.device, info);
    await guard.assertUnused(info);
    await ublk.removeDevice(info.deviceId, { force: true, ownerTag: entry.ownerTag });
  }

  /** False when the device has to stay for the next server. */
  private async stopIfUnused(device: UblkDevice, match: Match): Promise<boolean> {
    if (match.kind === "mismatch") return false;
    if (match.kind === "found") return await this.parts.guard.tryStop(device, match.info);
    await device.stop();
    return true;
  }
}
