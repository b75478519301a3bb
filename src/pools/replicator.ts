import { rm } from "node:fs/promises";
import { join } from "node:path";
import type { BlockDevices, ImageCopySpec } from "../engine/block-devices.js";
import { DriverError } from "../errors.js";
import { writeFileDurably } from "../system/files.js";
import type { ImageFiles } from "../system/image-files.js";
import { createSparseImage } from "./image.js";
import type { Pool } from "./pool.js";

/** An image to be had twice, as it is at one instant. */
export interface Replica {
  source: ImageSource;
  /** Id of what the new image belongs to. */
  id: string;
  /** Where the new image will be; nothing is there yet. */
  targetPath: string;
  targetPool: Pool;
}

/** The image of a volume or a snapshot. */
export interface ImageSource {
  id: string;
  pool: Pool;
  path: string;
  sizeBytes: bigint;
}

/** How long I/O may stand still before the engine ends it by itself, and with it the attempt. */
const freezeMsMax = 5_000;

/**
 * Makes images from images: by sharing blocks where source and target lie in one pool that can, else by a copy that the
 * engine makes in the background. Either way all replicas of one call are of one instant.
 */
export class Replicator {
  private readonly canShare = new Map<string, Promise<boolean>>();

  constructor(
    private readonly blockDevices: BlockDevices,
    private readonly imageFiles: ImageFiles,
  ) {}

  /** Whether all of these can be made by sharing blocks. Asks each pool once. */
  async canCloneAll(replicas: readonly Replica[]): Promise<boolean> {
    for (const { source, targetPool } of replicas) {
      if (source.pool !== targetPool || !(await this.canShareBlocks(targetPool))) return false;
    }
    return true;
  }

  /**
   * Shares blocks, while the I/O of all sources that have a device stands still. The caller keeps sources without a
   * device from getting one meanwhile. Resolves with the instant; after a failure none of the targets is left.
   */
  async cloneTogether(replicas: readonly Replica[]): Promise<Date> {
    try {
      return await this.atOneInstant(replicas, async () => {
        for (const { source, targetPath } of replicas) await this.clone(source.path, targetPath);
      });
    } catch (error) {
      for (const { targetPath } of replicas) await rm(targetPath, { force: true });
      throw error;
    }
  }

  /**
   * Begins copies, and resolves with their instant; `BlockDevices.findCopy` by the replica's id tells how they do. After a
   * failure none of them is under way, and none of the targets is left.
   */
  async copyTogether(replicas: readonly Replica[]): Promise<Date> {
    try {
      for (const { source, targetPath } of replicas) await createSparseImage(targetPath, source.sizeBytes);
      await this.blockDevices.startCopies(replicas.map(toCopySpec), { deadlineMs: freezeMsMax });
      return new Date();
    } catch (error) {
      for (const { id, targetPath } of replicas) {
        await this.blockDevices.endCopy(id);
        await rm(targetPath, { force: true });
      }
      throw error;
    }
  }

  private async atOneInstant(replicas: readonly Replica[], work: () => Promise<void>): Promise<Date> {
    const devices = await Promise.all(replicas.map(({ source }) => this.blockDevices.find(source.id)));
    const volumeIds = devices.flatMap((device) => (device === undefined ? [] : [device.volumeId]));
    if (volumeIds.length === 0) return await doneAt(work);
    const freeze = await this.blockDevices.freeze(volumeIds, { deadlineMs: freezeMsMax });
    let instant: Date;
    try {
      instant = await doneAt(work);
    } catch (error) {
      // The failure of the work is what counts, and a freeze ends by itself.
      await this.blockDevices.thaw(volumeIds, freeze).catch(() => undefined);
      throw error;
    }
    await this.blockDevices.thaw(volumeIds, freeze);
    return instant;
  }

  private async clone(sourcePath: string, targetPath: string): Promise<void> {
    if ((await this.imageFiles.clone(sourcePath, targetPath)) === "cloned") return;
    const message = `${sourcePath} and ${targetPath} cannot share blocks, though others of this pool could: try again`;
    throw new DriverError("internal", message);
  }

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
      return (await this.imageFiles.clone(source, target)) === "cloned";
    } finally {
      await rm(source, { force: true });
      await rm(target, { force: true });
    }
  }
}

async function doneAt(work: () => Promise<void>): Promise<Date> {
  const instant = new Date();
  await work();
  return instant;
}

function toCopySpec({ id, source, targetPath }: Replica): ImageCopySpec {
  const image = { kind: source.pool.spec.kind, path: source.path };
  return { copyId: id, volumeId: source.id, source: image, sizeBytes: source.sizeBytes, targetPath };
}
