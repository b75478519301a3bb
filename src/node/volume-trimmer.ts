import { setTimeout as delay } from "node:timers/promises";
import { readAllocatedBytes } from "../pools/images/image.js";
import type { Volume } from "../pools/volume/volume.js";
import type { NodeDependencies } from "./node-dependencies.js";

/** What trimming has brought since this process started. */
export interface TrimTotals {
  runCount: number;
  failureCount: number;
  /** What file systems said was unused. */
  trimmedBytes: bigint;
  /** What images have become smaller by, which is less where a range was unused before. */
  reclaimedBytes: bigint;
}

export interface TrimRequest {
  volume: Volume;
  /** Where its file system is mounted. */
  mountPoint: string;
  timeoutMs: number;
}

type Outcome = "done" | "failed" | "stopped";

interface Running {
  stop: AbortController;
  outcome: Promise<Outcome>;
}

const stopWaitMsMax = 10_000;

/**
 * Gives the unused space of mounted file systems back to their pool. One at a time for each volume, and none while the
 * volume is about to be unstaged. A failure is logged and counted, and disturbs nobody.
 */
export class VolumeTrimmer {
  private readonly running = new Map<string, Running>();
  private readonly barred = new Set<string>();

  constructor(
    private readonly dependencies: Pick<NodeDependencies, "pools" | "filesystems" | "logger">,
    /** Counted up. */
    readonly totals: TrimTotals = { runCount: 0, failureCount: 0, trimmedBytes: 0n, reclaimedBytes: 0n },
  ) {}

  /** Trims now; `stopped` when it was not to begin, or not to end. */
  async trim(request: TrimRequest): Promise<Outcome> {
    const { id } = request.volume;
    if (this.running.has(id) || this.barred.has(id)) return "stopped";
    return await this.start(request);
  }

  /** Holds trimming off a volume while something is done for which its file system must not be in use. */
  async without<T>(volumeId: string, action: () => Promise<T>): Promise<T> {
    this.barred.add(volumeId);
    try {
      await this.stop(volumeId);
      return await action();
    } finally {
      this.barred.delete(volumeId);
    }
  }

  /** The last trim before a volume is unstaged, where `without` holds off all others. */
  async trimFinally(request: TrimRequest): Promise<void> {
    await this.start(request);
  }

  /** Ends a trim that is going on, and waits for its end, but not for ever. */
  async stop(volumeId: string): Promise<void> {
    const running = this.running.get(volumeId);
    if (running === undefined) return;
    running.stop.abort();
    await Promise.race([running.outcome, delay(stopWaitMsMax, undefined, { ref: false })]);
  }

  private start(request: TrimRequest): Promise<Outcome> {
    const { id } = request.volume;
    const stop = new AbortController();
    const outcome = this.run(request, stop.signal).finally(() => this.running.delete(id));
    this.running.set(id, { stop, outcome });
    return outcome;
  }

  private async run({ volume, mountPoint, timeoutMs }: TrimRequest, signal: AbortSignal): Promise<Outcome> {
    const { pools, filesystems, logger } = this.dependencies;
    const imagePath = pools.poolOf(volume).imagePath(volume.id);
    const fields = { volumeId: volume.id, mountPoint };
    try {
      const beforeBytes = await readAllocatedBytes(imagePath);
      const trimmedBytes = await filesystems.trim(mountPoint, { signal, timeoutMs });
      const differenceBytes = beforeBytes - (await readAllocatedBytes(imagePath));
      const reclaimedBytes = differenceBytes > 0n ? differenceBytes : 0n;
      this.totals.runCount++;
      this.totals.trimmedBytes += trimmedBytes;
      this.totals.reclaimedBytes += reclaimedBytes;
      logger.info({ ...fields, trimmedBytes: `${trimmedBytes}`, reclaimedBytes: `${reclaimedBytes}` }, "trimmed");
      return "done";
    } catch (err) {
      if (signal.aborted) {
        logger.info(fields, "trimming stopped");
        return "stopped";
      }
      this.totals.failureCount++;
      logger.warn({ ...fields, err }, "trimming failed");
      return "failed";
    }
  }
}
