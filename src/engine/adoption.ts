import type { DeviceInfo, UblkDevice } from "../ublk/index.js";
import type { Ublk } from "../ublk/ublk.js";
import type { AdoptionEntry } from "./block-devices.js";
import { waitFor } from "./block-nodes.js";
import { toTarget } from "./device-geometry.js";
import { findImageChange } from "./image-identity.js";
import type { Journal } from "./journal.js";
import type { JournalEntry } from "./journal-entry.js";
import { matchDevice, readKernelView } from "./kernel-view.js";

/** What became of one journal entry whose device this process does not serve. */
export interface Reconciliation {
  report: AdoptionEntry;
  /** With the action `adopted`: the device and its new entry. */
  adopted?: { device: UblkDevice; entry: JournalEntry };
}

/** How long a server that was told to go, or was killed, may take to let go of its devices. */
export const defaultOldServerTimeoutMs = 30_000;

/**
 * Brings the journal and the kernel together, one entry at a time: takes back what waits for a server, removes what is
 * ours and dead or half-made, forgets what is gone, and touches nothing where journal, kernel and image disagree.
 */
export class Adoption {
  constructor(
    private readonly ublk: Ublk,
    private readonly journal: Journal,
    private readonly oldServerTimeoutMs = defaultOldServerTimeoutMs,
  ) {}

  /** Never rejects: a failure is reported, and leaves entry and device for the next try. */
  async reconcile(entry: JournalEntry): Promise<Reconciliation> {
    try {
      return await this.reconcileOrThrow(entry);
    } catch (error) {
      return report(entry, "failed", error instanceof Error ? error.message : String(error));
    }
  }

  private async reconcileOrThrow(entry: JournalEntry): Promise<Reconciliation> {
    const match = matchDevice(entry, await readKernelView(this.ublk));
    if (match.kind === "mismatch") return report(entry, "failed", match.reason);
    if (match.kind === "gone") return await this.forget(entry, match.reason);
    const info = await this.waitForOldServer(match.info);
    if (!info) return await this.forget(entry, "its old server removed the device");
    if (info.state === "live") return report(entry, "failed", `it is still served by process ${info.serverPid ?? "?"}`);
    if (entry.state === "adding") return await this.remove(entry, info, "its creation was interrupted");
    if (info.state === "dead") return await this.remove(entry, info, "the device was dead");
    return await this.recover(entry, info);
  }

  private async waitForOldServer(info: DeviceInfo): Promise<DeviceInfo | undefined> {
    let latest: DeviceInfo | undefined = info;
    await waitFor(
      async () => {
        latest = await this.ublk.findDevice(info.deviceId);
        return latest?.state !== "live";
      },
      { timeoutMs: this.oldServerTimeoutMs },
    );
    return latest;
  }

  private async recover(entry: JournalEntry, info: DeviceInfo): Promise<Reconciliation> {
    const change = await findImageChange(entry);
    if (change) return report(entry, "failed", `${change}; the device waits and nothing was touched`);
    const { ownerTag, generation } = entry;
    const waitMs = this.oldServerTimeoutMs;
    const device = await this.ublk.recoverAndServe(info.deviceId, toTarget(entry.image), { ownerTag, waitMs });
    const next = { ...entry, deviceId: info.deviceId, generation: generation + 1 };
    const reason = await this.journal.write(next).then(
      () => `recovered as generation ${next.generation}`,
      // The device serves and the old entry still describes it, so users are better off with it than without.
      (error: unknown) => `recovered, but the journal could not be written: ${String(error)}`,
    );
    return { ...report(next, "adopted", reason), adopted: { device, entry: next } };
  }

  private async remove(entry: JournalEntry, info: DeviceInfo, reason: string): Promise<Reconciliation> {
    await this.ublk.removeDevice(info.deviceId, { force: true });
    const { report: line } = await this.forget(entry, reason);
    return { report: { ...line, deviceId: info.deviceId } };
  }

  private async forget(entry: JournalEntry, reason: string): Promise<Reconciliation> {
    await this.journal.remove(entry.volumeId);
    return report(entry, "removed", reason);
  }
}

function report(entry: JournalEntry, action: AdoptionEntry["action"], reason: string): Reconciliation {
  const { volumeId, deviceId } = entry;
  return { report: { volumeId, ...(deviceId !== undefined && { deviceId }), action, reason } };
}
