import type { BlockDevices } from "../../engine/block-devices.js";
import { DriverError } from "../../errors.js";
import type { Logger } from "../../log.js";
import { CopyWatch } from "../copies/copy-watch.js";
import { Leftovers } from "../copies/leftovers.js";
import type { ImageSource, Replica } from "../copies/replica.js";
import type { Replicator } from "../copies/replicator.js";
import type { SnapshotImage } from "../images/changed-blocks.js";
import { cutImage, isOutOfSpace, readAllocatedBytes } from "../images/image.js";
import type { Pool } from "../pool/pool.js";
import type { Pools } from "../pool/pools.js";
import { headerSizeBytesOf } from "../volume/image-size.js";
import type { Snapshot } from "../volume/snapshot.js";
import { CopySettlement } from "./copy-settlement.js";
import { SnapshotIndex } from "./snapshot-index.js";

export interface SnapshotStoreParts {
  pools: Pools;
  blockDevices: BlockDevices;
  replicator: Replicator;
  logger: Logger;
  /** How often the engine is asked how its copies do. */
  copyIntervalMs: number;
}

/** A snapshot to be made: all but what is known only afterwards. */
export interface SnapshotPlan {
  snapshot: Omit<Snapshot, "state" | "bookedBytes" | "createdAt">;
  source: ImageSource;
}

/** The snapshots on disk: makes and removes them, and follows those whose bytes are still being copied. */
export class SnapshotStore {
  readonly index = new SnapshotIndex();
  /** Of snapshots, and of volumes that were to be made from something. */
  readonly leftovers: Leftovers;
  private readonly watch: CopyWatch;
  private readonly settlement: CopySettlement;

  constructor(private readonly parts: SnapshotStoreParts) {
    this.watch = new CopyWatch({ ...parts, intervalMs: parts.copyIntervalMs });
    const poolOf = ({ pool }: Snapshot) => this.poolNamed(pool);
    this.settlement = new CopySettlement({ ...parts, index: this.index, poolOf });
    this.leftovers = new Leftovers({ ...parts, pauseMs: parts.copyIntervalMs });
  }

  /**
   * Makes snapshots of one instant, all or none; they exist once `commit` has succeeded. Where blocks cannot be shared they
   * are `copying` at first.
   */
  async make(
    plans: readonly SnapshotPlan[],
    commit: (made: readonly Snapshot[]) => Promise<void> = async () => undefined,
  ): Promise<Snapshot[]> {
    await this.leftovers.clear(plans.map(({ source }) => source.id));
    try {
      for (const plan of plans) await this.reserve(plan);
      const made = await this.makeImages(plans);
      for (const snapshot of made) await this.write(snapshot);
      await commit(made);
      for (const snapshot of made) {
        await this.finish(snapshot);
        this.follow(snapshot);
      }
      return made;
    } catch (error) {
      for (const plan of plans) await this.unmake(plan);
      throw explain(error, plans);
    }
  }

  /** Takes a snapshot that is on disk into the index, and follows its copy if it has one. */
  follow(snapshot: Snapshot): void {
    this.index.put(snapshot);
    if (snapshot.state !== "copying" && snapshot.hasCopy !== true) return;
    this.watch.start(snapshot.id, (outcome) => this.settlement.settle(snapshot.id, outcome));
  }

  /** Removes a snapshot in whatever state. The index forgets it last, so that a removal that fails can be repeated. */
  async remove({ id, pool }: Snapshot): Promise<void> {
    await this.watch.stop(id);
    const snapshot = this.index.get(id);
    // A copy that goes on would write into an image that is gone.
    if (snapshot.state === "copying" || snapshot.hasCopy === true) await this.endCopyOf(snapshot);
    await this.poolNamed(pool).deleteSnapshot(id);
    this.index.remove(id);
  }

  /** The image of a snapshot whose bytes are all there. */
  getImage(id: string): SnapshotImage {
    const snapshot = this.index.get(id);
    const { state, sourceVolumeId, sizeBytes, content } = snapshot;
    if (state === "failed")
      throw new DriverError("refused", `snapshot ${id} has failed: delete it (${snapshot.reason})`);
    if (state === "copying")
      throw new DriverError("busy", `snapshot ${id} is still being copied: ask again when it is ready`);
    const path = this.poolNamed(snapshot.pool).snapshots.imagePath(id);
    return { id, path, sourceVolumeId, sizeBytes, dataOffsetBytes: headerSizeBytesOf(content.parameters) };
  }

  /** The snapshot once its bytes are there, or cannot come any more. */
  async whenSettled(id: string): Promise<Snapshot> {
    await this.watch.whenEnded(id);
    return this.index.get(id);
  }

  /** Stops following copies, which go on in the engine, and removing left-overs, which the next start does. */
  async close(): Promise<void> {
    await Promise.all([this.watch.stopAll(), this.leftovers.close()]);
  }

  poolNamed(name: string): Pool {
    const pool = this.parts.pools.find(name);
    if (pool === undefined) throw new Error(`bug: a snapshot was loaded from unknown pool ${name}`);
    return pool;
  }

  private async reserve({ snapshot, source }: SnapshotPlan): Promise<void> {
    await source.pool.reserveSnapshot(snapshot.id, await readAllocatedBytes(source.path), source.id);
    await source.pool.snapshots.prepare(snapshot.id);
  }

  private async makeImages(plans: readonly SnapshotPlan[]): Promise<Snapshot[]> {
    const { way, instant } = await this.parts.replicator.replicate(plans.map(toReplica));
    const createdAt = instant.toISOString();
    if (way === "copying") {
      return plans.map(({ snapshot, source }) => {
        const bookedBytes = source.pool.ledger.bookedBytes(snapshot.id);
        return { ...snapshot, state: "copying", bookedBytes, createdAt };
      });
    }
    for (const { source } of plans) source.pool.noteShared(source.id);
    return await Promise.all(plans.map((plan) => this.toCloned(plan, createdAt)));
  }

  // A clone has only what was written, where the file system leaves out what is merely allocated: it books no more. It has
  // the length of the image, too, which is more than the volume's after a growth that failed.
  private async toCloned({ snapshot, source }: SnapshotPlan, createdAt: string): Promise<Snapshot> {
    const path = source.pool.snapshots.imagePath(snapshot.id);
    await cutImage(path, snapshot.imageSizeBytes);
    const bookedBytes = await readAllocatedBytes(path);
    source.pool.bookSnapshot(snapshot.id, bookedBytes);
    return { ...snapshot, state: "ready", bookedBytes, createdAt };
  }

  // The record counts: a mark that stays beside it is taken away by the next start.
  private async finish({ id, pool }: Snapshot): Promise<void> {
    await this.poolNamed(pool)
      .snapshots.finish(id)
      .catch((err: unknown) => this.parts.logger.warn({ err, snapshotId: id }, "mark of a finished snapshot stays"));
  }

  private async unmake({ snapshot: { id }, source }: SnapshotPlan): Promise<void> {
    const { replicator } = this.parts;
    const remove = async () => {
      // First, so that the next start takes it for what it is when the engine cannot be reached.
      await source.pool.snapshots.abandon(id);
      await replicator.endBegun(id);
      await source.pool.deleteSnapshot(id);
    };
    await remove().catch((error: unknown) => this.leftovers.add({ id, sourceId: source.id, remove }, error));
  }

  /** A copy that goes on after all is followed on. One that was ended has failed, should its removal fail. */
  private async endCopyOf(snapshot: Snapshot): Promise<void> {
    try {
      await this.parts.replicator.endCopy(snapshot.id);
    } catch (error) {
      this.follow(snapshot);
      throw error;
    }
    if (snapshot.state !== "copying") return;
    this.index.put({ ...snapshot, state: "failed", reason: "the copy was ended for a deletion, which then failed" });
  }

  private async write(snapshot: Snapshot): Promise<void> {
    await this.poolNamed(snapshot.pool).snapshots.write(snapshot);
  }
}

function toReplica({ snapshot, source }: SnapshotPlan): Replica {
  const targetPath = source.pool.snapshots.imagePath(snapshot.id);
  return { source, id: snapshot.id, targetPath, targetPool: source.pool };
}

function explain(cause: unknown, plans: readonly SnapshotPlan[]): unknown {
  if (!isOutOfSpace(cause)) return cause;
  const names = [...new Set(plans.map(({ source }) => source.pool.name))].join(" or ");
  return new DriverError("no_space", `pool ${names} is full: the snapshot does not fit`, { cause });
}
