import type { DeviceInfo, UblkDevice } from "../../ublk/index.js";
import { lostRequestHint } from "../../ublk/recover.js";
import type { Ublk } from "../../ublk/ublk.js";
import type { AdoptionEntry } from "../block-devices.js";
import type { ImageCopies } from "../image-copies.js";
import type { Journal } from "../journal/journal.js";
import type { JournalEntry } from "../journal/journal-entry.js";
import { type Decision, decide } from "../reconciliation/decision.js";
import { type KernelView, matchDevice, readKernelView } from "../reconciliation/kernel-view.js";
import { waitFor } from "./block-nodes.js";
import { toTarget } from "./device-geometry.js";

/** What became of one journal entry whose device this process does not serve. */
export interface Reconciliation {
  report: AdoptionEntry;
  /** With the action `adopted`: the device and its new entry. */
  adopted?: { device: UblkDevice; entry: JournalEntry };
}

/** How long a server that was told to go, or was killed, may take to let go of its devices. */
export const defaultOldServerTimeoutMs = 30_000;

/** What {@link Adoption} works with. */
export interface AdoptionParts {
  ublk: Ublk;
  journal: Journal;
  copies: ImageCopies;
  oldServerTimeoutMs: number;
}

type Adoptable = Extract<Decision, { action: "adopt" }>;

/**
 * Brings the journal and the kernel together, one entry at a time: takes back what waits for a server, removes what is
 * ours and dead or half-made, forgets what is gone, and touches nothing where journal, kernel and image disagree.
 */
export class Adoption {
  constructor(private readonly parts: AdoptionParts) {}

  /**
   * Never rejects: a failure is reported, and leaves entry and device for the next try. `view` spares a look at every
   * device of the machine to whoever has just taken one.
   */
  async reconcile(entry: JournalEntry, view?: KernelView): Promise<Reconciliation> {
    try {
      return await this.reconcileOrThrow(entry, view ?? (await readKernelView(this.parts.ublk)));
    } catch (error) {
      return report(entry, "failed", error instanceof Error ? error.message : String(error));
    }
  }

  private async reconcileOrThrow(entry: JournalEntry, view: KernelView): Promise<Reconciliation> {
    const decision = await decide(entry, matchDevice(entry, view));
    return await this.act(entry, decision.action === "wait" ? await this.outwait(entry, decision.info) : decision);
  }

  private async act(entry: JournalEntry, decision: Decision): Promise<Reconciliation> {
    if (decision.action === "adopt") return await this.recover(decision);
    if (decision.action === "remove") return await this.remove(entry, decision.info, decision.reason);
    return report(
      entry,
      "failed",
      decision.action === "wait" ? `${decision.reason}: end it; ${lostRequestHint}` : decision.reason,
    );
  }

  /** Decides again once the old server has let go of the device, or has taken too long to. */
  private async outwait(entry: JournalEntry, { deviceId }: DeviceInfo): Promise<Decision> {
    let latest: DeviceInfo | undefined;
    await waitFor(
      async () => {
        latest = await this.parts.ublk.findDevice(deviceId);
        return latest?.state !== "live";
      },
      { timeoutMs: this.parts.oldServerTimeoutMs },
    );
    if (latest) return await decide(entry, matchDevice(entry, { devices: [latest], unreadable: [] }));
    return { action: "remove", info: undefined, reason: "its old server removed the device" };
  }

  private async recover({ entry, info }: Adoptable): Promise<Reconciliation> {
    const { ownerTag, generation, limits } = entry;
    // Before I/O goes on: what a copy still needs must not be changed by what waits.
    const copies = await this.parts.copies.activeOf(entry.volumeId);
    const options = { ownerTag, limits, copies, waitMs: this.parts.oldServerTimeoutMs };
    const device = await this.parts.ublk.recoverAndServe(info.deviceId, toTarget(entry.image), options);
    const next = { ...entry, deviceId: info.deviceId, generation: generation + 1 };
    const reason = await this.parts.journal.write(next).then(
      () => `recovered as generation ${next.generation}`,
      // The device serves and the old entry still describes it, so users are better off with it than without.
      (error: unknown) => `recovered, but the journal could not be written: ${String(error)}`,
    );
    return { ...report(next, "adopted", reason), adopted: { device, entry: next } };
  }

  private async remove(entry: JournalEntry, info: DeviceInfo | undefined, reason: string): Promise<Reconciliation> {
    if (info) await this.parts.ublk.removeDevice(info.deviceId, { force: true, ownerTag: entry.ownerTag });
    await this.parts.journal.remove(entry.volumeId);
    return report(info ? { ...entry, deviceId: info.deviceId } : entry, "removed", reason);
  }
}

function report(entry: JournalEntry, action: AdoptionEntry["action"], reason: string): Reconciliation {
  const { volumeId, deviceId } = entry;
  return { report: { volumeId, ...(deviceId !== undefined && { deviceId }), action, reason } };
}
