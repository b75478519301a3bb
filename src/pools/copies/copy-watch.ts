import type { BlockDevices, ImageCopy } from "../../engine/block-devices.js";
import type { Logger } from "../../log.js";
import { RetryPace } from "../../system/retry-pace.js";

/** How a copy ended. */
export type CopyOutcome = { state: "done" } | { state: "failed"; reason: string };

export interface CopyWatchOptions {
  blockDevices: BlockDevices;
  logger: Logger;
  /** How often the engine is asked; after failures less and less often. */
  intervalMs: number;
}

/** Watches copies that the engine makes, one watch for each. */
export class CopyWatch {
  private readonly watches = new Map<string, { stop: AbortController; ended: Promise<void> }>();

  constructor(private readonly options: CopyWatchOptions) {}

  /**
   * Calls `settle` when the copy has ended in whatever way, and again until that succeeds; not any more once the watch is
   * stopped.
   */
  start(copyId: string, settle: (outcome: CopyOutcome) => Promise<void>): void {
    const stop = new AbortController();
    const ended = this.watch(copyId, stop.signal, settle).finally(() => this.watches.delete(copyId));
    this.watches.set(copyId, { stop, ended });
  }

  /** Ends the watch of a copy; a settlement under way is finished first. */
  async stop(copyId: string): Promise<void> {
    const watch = this.watches.get(copyId);
    watch?.stop.abort();
    await watch?.ended;
  }

  async stopAll(): Promise<void> {
    await Promise.all([...this.watches.keys()].map((copyId) => this.stop(copyId)));
  }

  /** Resolves when this copy is watched no longer. */
  async whenEnded(copyId: string): Promise<void> {
    await this.watches.get(copyId)?.ended;
  }

  private async watch(copyId: string, signal: AbortSignal, settle: (outcome: CopyOutcome) => Promise<void>) {
    const { blockDevices, logger, intervalMs } = this.options;
    const pace = new RetryPace(intervalMs);
    while (!signal.aborted) {
      try {
        const outcome = toOutcome(await blockDevices.findCopy(copyId));
        if (outcome !== undefined) return await settle(outcome);
        pace.reset();
      } catch (err) {
        const what = "the end of a copy could not be seen or recorded, trying again";
        if (pace.noteFailure(err)) logger.warn({ err, copyId }, what);
      }
      await pace.pause(signal);
    }
  }
}

/** What the state of a copy means, or undefined while it is under way. */
export function toOutcome(copy: ImageCopy | undefined): CopyOutcome | undefined {
  if (copy === undefined) return { state: "failed", reason: "the engine knows nothing of the copy any more" };
  if (copy.state === "copying") return undefined;
  return copy.state === "done" ? { state: "done" } : { state: "failed", reason: copy.reason ?? "the copy failed" };
}
