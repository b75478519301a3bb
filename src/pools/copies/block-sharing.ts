import { rm } from "node:fs/promises";
import { join } from "node:path";
import { BlockDeviceError, type BlockDevices } from "../../engine/block-devices.js";
import type { Logger } from "../../log.js";
import { writeFileDurably } from "../../system/files.js";
import type { ImageFiles } from "../../system/image-files.js";
import { hasMoreExtents } from "../images/extent-count.js";
import type { Pool } from "../pool/pool.js";
import type { Replica } from "./replica.js";

export interface BlockSharingParts {
  blockDevices: BlockDevices;
  imageFiles: ImageFiles;
  logger: Logger;
  /** Milliseconds of a clock that never goes back. */
  now?: () => number;
}

/** How long I/O stands still for clones at most: the next one is not begun then, and those that were made are worthless. */
export const shareMsMax = 1_000;

/**
 * How many extents are cloned under a device. A file system clones extent by extent, cannot be told to stop, and lets nobody
 * write to the file meanwhile, whatever the engine does. xfs takes some 50,000 a second on a fast machine.
 */
export const sharedExtentsMax = 30_000;

/** Why bytes are copied though the pool can share blocks. */
class SharingEnded extends Error {}

/** Makes images that share their blocks with those they are made from. */
export class BlockSharing {
  private readonly canShare = new Map<string, Promise<boolean>>();

  constructor(private readonly parts: BlockSharingParts) {}

  /**
   * Makes all of these of one instant, at which the I/O of sources that have a device stands still. Resolves with the
   * instant, or with undefined when their bytes have to be copied: where blocks cannot be shared, or not soon enough.
   * None of the targets is there then, nor after a failure.
   */
  async share(replicas: readonly Replica[]): Promise<Date | undefined> {
    if (!(await this.canShareAll(replicas))) return undefined;
    try {
      return await this.shareTogether(replicas);
    } catch (error) {
      for (const { targetPath } of replicas) await rm(targetPath, { force: true });
      if (!(error instanceof SharingEnded)) throw error;
      const volumeIds = replicas.map(({ source }) => source.id);
      this.parts.logger.info({ volumeIds, reason: error.message }, "blocks are not shared, the bytes are copied");
      return undefined;
    }
  }

  private async canShareAll(replicas: readonly Replica[]): Promise<boolean> {
    for (const { source, targetPool, isOwnOnly = false } of replicas) {
      if (isOwnOnly || source.pool !== targetPool || !(await this.canShareBlocks(targetPool))) return false;
    }
    return true;
  }

  private async shareTogether(replicas: readonly Replica[]): Promise<Date> {
    const { blockDevices } = this.parts;
    const devices = await Promise.all(replicas.map(({ source }) => blockDevices.find(source.id)));
    // Nothing is written through a device that is dead, and none can be held.
    const held = replicas.filter((_, position) => ![undefined, "dead"].includes(devices[position]?.state));
    const volumeIds = held.map(({ source }) => source.id);
    if (held.length === 0) return await this.cloneAll(replicas);
    await this.assertFewExtents(held);
    const { now = () => performance.now() } = this.parts;
    const endMs = now() + shareMsMax;
    const freeze = await orEnded(blockDevices.freeze(volumeIds, { deadlineMs: shareMsMax }));
    let instant: Date;
    try {
      instant = await this.cloneAll(replicas, () => now() >= endMs);
    } catch (error) {
      // The failure of the work is what counts, and a freeze ends by itself.
      await blockDevices.thaw(volumeIds, freeze).catch(() => undefined);
      throw error;
    }
    await orEnded(blockDevices.thaw(volumeIds, freeze));
    return instant;
  }

  private async assertFewExtents(replicas: readonly Replica[]): Promise<void> {
    const paths = replicas.map(({ source }) => source.path);
    if (await hasMoreExtents(this.parts.imageFiles, paths, sharedExtentsMax))
      throw new SharingEnded(
        `the images have more than ${sharedExtentsMax} extents, and I/O would stand still too long`,
      );
  }

  private async cloneAll(replicas: readonly Replica[], isLate = () => false): Promise<Date> {
    const instant = new Date();
    for (const { source, targetPath } of replicas) {
      if (isLate()) throw new SharingEnded(`I/O has stood still for ${shareMsMax} ms, and not all was cloned`);
      if ((await this.parts.imageFiles.clone(source.path, targetPath)) === "cloned") continue;
      throw new SharingEnded(`${source.path} cannot share blocks, though other files of its pool can`);
    }
    return instant;
  }

  /** Asks each pool once. */
  private canShareBlocks(pool: Pool): Promise<boolean> {
    const known = this.canShare.get(pool.name) ?? this.tryToShare(pool);
    this.canShare.set(pool.name, known);
    known.catch(() => this.canShare.delete(pool.name));
    return known;
  }

  private async tryToShare(pool: Pool): Promise<boolean> {
    const [source, target] = [join(pool.directory.path, ".share-from"), join(pool.directory.path, ".share-to")];
    try {
      await rm(target, { force: true });
      await writeFileDurably(source, "x".repeat(4096));
      return (await this.parts.imageFiles.clone(source, target)) === "cloned";
    } finally {
      await rm(source, { force: true });
      await rm(target, { force: true });
    }
  }
}

/** A freeze that did not come about in time, or did not last, is what a copy can do without. */
async function orEnded<T>(freezing: Promise<T>): Promise<T> {
  return await freezing.catch((cause: unknown) => {
    if (!(cause instanceof BlockDeviceError)) throw cause;
    throw cause.code === "frozen" || cause.code === "unavailable" ? new SharingEnded(cause.message, { cause }) : cause;
  });
}
