import type { Ublk } from "../../ublk/ublk.js";
import { type AdoptionEntry, BlockDeviceError } from "../block-devices.js";
import type { Journal } from "../journal/journal.js";
import type { JournalEntry } from "../journal/journal-entry.js";
import type { EngineLogger } from "../logger.js";
import {
  type KernelView,
  type Match,
  matchDevice,
  readKernelView,
  readViewOfOne,
} from "../reconciliation/kernel-view.js";
import type { Adoption } from "./adoption.js";
import type { ServedDevice } from "./device-maker.js";
import { toFields, toServingFields } from "./entry-views.js";
import type { ServedDevices } from "./served-devices.js";

/** What {@link VolumeDevices} works with. */
export interface VolumeDevicesParts {
  ublk: Ublk;
  journal: Journal;
  adoption: Adoption;
  served: ServedDevices;
  logger: EngineLogger;
}

/** A look at the journal and the kernel that was taken for many entries at once. */
export interface Seen {
  entry: JournalEntry;
  view: KernelView;
}

/**
 * Leads from a volume to its device: the one that this process serves, or the one that the journal names and nobody
 * serves, which is taken back on the way. For callers with nothing else going on with the volume.
 */
export class VolumeDevices {
  constructor(private readonly parts: VolumeDevicesParts) {}

  /** The device of the volume, served here from now on; undefined when it has none. */
  async find(volumeId: string): Promise<ServedDevice | undefined> {
    return (await this.findServed(volumeId)) ?? (await this.settle(volumeId));
  }

  /** As `find`, but a volume without a device is `not_found`. */
  async require(volumeId: string): Promise<ServedDevice> {
    const served = await this.find(volumeId);
    if (served) return served;
    throw unknownVolume(volumeId);
  }

  /** Settles the volume's journal entry unless its device is served here, and says what was done. */
  async adopt(volumeId: string, seen?: Seen): Promise<AdoptionEntry> {
    const { served, journal, adoption } = this.parts;
    const kept = served.get(volumeId);
    if (kept) return { ...toFields(kept.entry), action: "kept", reason: "this process serves it already" };
    const entry = await journal.read(volumeId);
    if (!entry) return { volumeId, action: "removed", reason: "it was detached meanwhile" };
    // What was seen of an earlier device of the volume says nothing about this one.
    const isSame = seen?.entry.ownerTag === entry.ownerTag && seen.entry.generation === entry.generation;
    const { report, adopted } = await adoption.reconcile(entry, isSame ? seen.view : undefined);
    if (adopted) served.add(adopted, "recovered");
    return report;
  }

  /** What the kernel has for the entry now. */
  async match(entry: JournalEntry): Promise<Match> {
    const { ublk } = this.parts;
    const { deviceId } = entry;
    const view = deviceId === undefined ? await readKernelView(ublk) : await readViewOfOne(ublk, deviceId);
    return matchDevice(entry, view);
  }

  /** The device this process serves for the volume, unless somebody has stopped it behind our back. */
  private async findServed(volumeId: string): Promise<ServedDevice | undefined> {
    const served = this.parts.served.get(volumeId);
    if (!served) return undefined;
    const match = await this.match(served.entry);
    if (match.kind === "mismatch") throw new BlockDeviceError("internal", `volume ${volumeId}: ${match.reason}`);
    if (match.kind === "found" && match.info.state === "live" && served.device.state === "open") return served;
    await this.parts.served.drop(served);
    return undefined;
  }

  /** Settles a journal entry whose device nobody serves here; returns the device if that brought it back. */
  private async settle(volumeId: string): Promise<ServedDevice | undefined> {
    const { journal, adoption, served, logger } = this.parts;
    const entry = await journal.read(volumeId);
    if (!entry) return undefined;
    const { report, adopted } = await adoption.reconcile(entry);
    if (report.action === "failed") throw new BlockDeviceError("unavailable", `volume ${volumeId}: ${report.reason}`);
    if (adopted) {
      served.add(adopted, "recovered");
      logger.info(toServingFields(adopted), "device recovered");
    }
    return adopted;
  }
}

/** The error of a volume that has no device. */
export function unknownVolume(volumeId: string): BlockDeviceError {
  return new BlockDeviceError("not_found", `volume ${volumeId} has no device: attach it first`);
}
