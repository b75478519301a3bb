import { rm } from "node:fs/promises";
import type { BlockDevices } from "../../engine/block-devices.js";
import type { Logger } from "../../log.js";
import type { ImageFiles } from "../../system/image-files.js";
import { Replicator } from "../copies/replicator.js";
import { ChangedBlocks } from "../images/changed-blocks.js";
import { ImageUse } from "../images/image-use.js";
import type { Pool } from "../pool/pool.js";
import type { Pools } from "../pool/pools.js";
import type { UnfinishedMark } from "../records/unfinished-mark.js";
import type { Snapshot } from "../volume/snapshot.js";
import { scanSnapshots } from "./snapshot-scan.js";
import { SnapshotStore } from "./snapshot-store.js";

export interface SnapshotParts {
  pools: Pools;
  blockDevices: BlockDevices;
  imageFiles: ImageFiles;
  logger: Logger;
  /** How often the engine is asked how its copies do. */
  copyIntervalMs?: number;
}

/** All that snapshots, and volumes made from something, are made with. */
export interface Snapshots {
  store: SnapshotStore;
  replicator: Replicator;
  imageUse: ImageUse;
  changedBlocks: ChangedBlocks;
}

const usualIntervalMs = 250;

/**
 * Reads the snapshots of all pools once their devices are back: removes what a crash left unfinished, and follows the
 * copies that are still under way.
 */
export async function openSnapshots(parts: SnapshotParts): Promise<Snapshots> {
  const logger = parts.logger.child({ component: "snapshots" });
  const replicator = new Replicator({ ...parts, logger });
  const store = new SnapshotStore({ copyIntervalMs: usualIntervalMs, ...parts, replicator, logger });
  const opening = new Opening(parts, store, logger);
  for (const pool of parts.pools.all) await opening.readPool(pool);
  await opening.finish();
  return { store, replicator, imageUse: new ImageUse(), changedBlocks: new ChangedBlocks(parts.imageFiles) };
}

class Opening {
  private readonly found: Snapshot[] = [];
  private readonly leftovers: Array<{ pool: Pool; id: string }> = [];
  private readonly unfinishedGroups = new Map<string, UnfinishedMark>();

  constructor(
    private readonly parts: SnapshotParts,
    private readonly store: SnapshotStore,
    private readonly logger: Logger,
  ) {}

  async readPool(pool: Pool): Promise<void> {
    const { snapshots, groups, unusable, orphans, marked, ...unfinished } = await scanSnapshots(pool);
    for (const path of unfinished.unwrittenGroups) await rm(path, { force: true });
    for (const { id, mark } of unfinished.unfinishedGroups) this.unfinishedGroups.set(id, mark);
    for (const id of marked) await pool.snapshots.finish(id);
    this.found.push(...snapshots);
    for (const group of groups) this.store.index.putGroup(group);
    for (const id of orphans) this.leftovers.push({ pool, id });
    for (const { id, reason } of unusable) {
      this.store.index.putUnusable(id, reason);
      this.logger.error({ snapshotId: id, pool: pool.name, reason }, "snapshot cannot be used, left as it is");
    }
  }

  /** Groups are known only now: their record may lie in a pool that was read after their members'. */
  async finish(): Promise<void> {
    for (const snapshot of this.found) {
      if (this.isHalfAGroup(snapshot)) {
        this.leftovers.push({ pool: this.store.poolNamed(snapshot.pool), id: snapshot.id });
      } else {
        this.reportLostGroup(snapshot);
        this.store.follow(snapshot);
      }
    }
    let isAllGone = true;
    for (const leftover of this.leftovers) if (!(await this.remove(leftover))) isAllGone = false;
    if (isAllGone) for (const mark of this.unfinishedGroups.values()) await mark.clear();
  }

  private isHalfAGroup({ group }: Snapshot): boolean {
    return group !== undefined && !this.store.index.has(group.id) && this.unfinishedGroups.has(group.id);
  }

  /** Its bytes are all there, and can be restored. Of a group whose pool is not here nothing can be said. */
  private reportLostGroup({ id, group }: Snapshot): void {
    if (group === undefined || this.store.index.has(group.id)) return;
    if (!this.parts.pools.all.some(({ directory }) => directory.uuid === group.poolUuid)) return;
    const remedy = "restore it from a backup, or delete the group";
    this.logger.error({ snapshotId: id, groupId: group.id }, `the record of a snapshot's group is missing: ${remedy}`);
  }

  private async remove({ pool, id }: { pool: Pool; id: string }): Promise<boolean> {
    try {
      await this.parts.blockDevices.endCopy(id);
      await pool.deleteSnapshot(id);
      this.logger.warn({ snapshotId: id, pool: pool.name }, "left-over of an unfinished snapshot removed");
      return true;
    } catch (err) {
      this.logger.error({ snapshotId: id, err }, "left-over of an unfinished snapshot not removed");
      return false;
    }
  }
}
