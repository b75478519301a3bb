import { rm } from "node:fs/promises";
import type { BlockDevices, ImageCopySpec } from "../../engine/block-devices.js";
import { createSparseImage } from "../images/image.js";
import { BlockSharing, type BlockSharingParts } from "./block-sharing.js";
import type { Replica } from "./replica.js";

/** How images came to be, and the one instant that all of them are of. */
export interface Replication {
  /** `copying`: `BlockDevices.findCopy` by the replica's id tells how each of them does. */
  way: "cloned" | "copying";
  instant: Date;
}

/** How long I/O may stand still before the engine ends it by itself, and with it the attempt. */
const freezeMsMax = 5_000;

/** Makes images from images: by sharing blocks where that can be, else by a copy that the engine makes in the background. */
export class Replicator {
  private readonly blockDevices: BlockDevices;
  private readonly sharing: BlockSharing;
  private readonly begun = new Set<string>();

  constructor(parts: BlockSharingParts) {
    this.blockDevices = parts.blockDevices;
    this.sharing = new BlockSharing(parts);
  }

  /**
   * Makes all of these, or begins to. The caller keeps sources without a device from getting one meanwhile. After a
   * failure no copy is under way, and none of the targets is left, but those that `endBegun` has yet to end.
   */
  async replicate(replicas: readonly Replica[]): Promise<Replication> {
    const instant = await this.sharing.share(replicas);
    if (instant !== undefined) return { way: "cloned", instant };
    return { way: "copying", instant: await this.startCopies(replicas) };
  }

  private async startCopies(replicas: readonly Replica[]): Promise<Date> {
    try {
      for (const { source, targetPath } of replicas) await createSparseImage(targetPath, source.sizeBytes);
      for (const { id } of replicas) this.begun.add(id);
      await this.blockDevices.startCopies(replicas.map(toCopySpec), { deadlineMs: freezeMsMax });
      return new Date();
    } catch (error) {
      for (const replica of replicas) await this.abandon(replica);
      throw error;
    }
  }

  /** Ends a copy if the engine may have one that was begun here: its target may be removed only then. */
  async endBegun(id: string): Promise<void> {
    if (this.begun.has(id)) await this.endCopy(id);
  }

  /** Ends a copy, whoever began it; an unknown one is a success. */
  async endCopy(id: string): Promise<void> {
    await this.blockDevices.endCopy(id);
    this.begun.delete(id);
  }

  // The failure of the start is what counts, and one copy that cannot be ended keeps none of the others.
  private async abandon({ id, targetPath }: Replica): Promise<void> {
    try {
      await this.endBegun(id);
      await rm(targetPath, { force: true });
    } catch {
      // It fails again when the caller ends the copy, or removes what the target lies in.
    }
  }
}

function toCopySpec({ id, source, targetPath }: Replica): ImageCopySpec {
  const image = { kind: source.pool.spec.kind, path: source.path };
  return { copyId: id, volumeId: source.id, source: image, sizeBytes: source.sizeBytes, targetPath };
}
