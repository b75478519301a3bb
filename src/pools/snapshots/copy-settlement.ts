import { DriverError } from "../../errors.js";
import type { Logger } from "../../log.js";
import type { CopyOutcome } from "../copies/copy-watch.js";
import type { Replicator } from "../copies/replicator.js";
import { readAllocatedBytes, readImageSize } from "../images/image.js";
import type { Pool } from "../pool/pool.js";
import { findPoolFault } from "../pool/pool-presence.js";
import type { Snapshot } from "../volume/snapshot.js";
import type { SnapshotIndex } from "./snapshot-index.js";

export interface CopySettlementParts {
  index: SnapshotIndex;
  poolOf: (snapshot: Snapshot) => Pool;
  replicator: Replicator;
  logger: Logger;
}

/** Makes of a snapshot what became of its copy. */
export class CopySettlement {
  constructor(private readonly parts: CopySettlementParts) {}

  /** Records how a copy ended before the engine forgets it. May be repeated, whatever of it has failed. */
  async settle(id: string, outcome: CopyOutcome): Promise<void> {
    const { index, poolOf, replicator } = this.parts;
    const before = index.get(id);
    if (before.state === "copying") await this.record(before, outcome);
    await replicator.endCopy(id);
    const { hasCopy: _ended, ...settled } = index.get(id);
    const pool = poolOf(settled);
    if (settled.state === "failed") await pool.snapshots.removeImage(id);
    await pool.snapshots.write(settled);
    index.put(settled);
    pool.bookSnapshot(id, settled.bookedBytes);
  }

  private async record(snapshot: Snapshot, outcome: CopyOutcome): Promise<void> {
    const reason = outcome.state === "failed" ? outcome.reason : await this.findFault(snapshot);
    this.parts.logger.info({ snapshotId: snapshot.id, reason }, "copy of a snapshot has ended");
    if (reason === undefined) await this.recordReady(snapshot);
    else await this.recordFailed(snapshot, reason);
  }

  private async findFault(snapshot: Snapshot): Promise<string | undefined> {
    const foundBytes = await readImageSize(this.imagePathOf(snapshot));
    if (foundBytes >= snapshot.imageSizeBytes) return undefined;
    // An image that is missing with its pool is not lost: asked again until the pool is back.
    const fault = await findPoolFault(this.parts.poolOf(snapshot));
    if (fault !== undefined) throw new DriverError("refused", fault);
    return `its image has ${foundBytes} bytes, and not ${snapshot.imageSizeBytes}`;
  }

  private async recordReady(snapshot: Snapshot): Promise<void> {
    const bookedBytes = await readAllocatedBytes(this.imagePathOf(snapshot));
    const ready: Snapshot = { ...snapshot, state: "ready", hasCopy: true, bookedBytes };
    await this.parts.poolOf(ready).snapshots.write(ready);
    this.parts.index.put(ready);
  }

  // A full pool has no room for a record either: the bytes are given back first, and whoever asks is told already.
  private async recordFailed(snapshot: Snapshot, reason: string): Promise<void> {
    const failed: Snapshot = { ...snapshot, state: "failed", hasCopy: true, bookedBytes: 0n, reason };
    const pool = this.parts.poolOf(failed);
    this.parts.index.put(failed);
    await pool.snapshots.emptyImage(failed.id);
    pool.bookSnapshot(failed.id, 0n);
    await pool.snapshots.write(failed);
  }

  private imagePathOf(snapshot: Snapshot): string {
    return this.parts.poolOf(snapshot).snapshots.imagePath(snapshot.id);
  }
}
