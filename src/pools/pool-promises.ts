import { hasErrno } from "../errors.js";
import { maxBytes } from "./bytes.js";
import { readAllocatedBytes } from "./image.js";
import { imageSizeBytesOf } from "./image-size.js";
import type { SharedBytes } from "./shared-bytes.js";
import type { Volume } from "./volume.js";

/** What a pool has promised to its images, and they have not taken yet. */
export interface PromisedBytes {
  /** Of what is booked: the ledger hands out none of it. */
  outstandingBytes: bigint;
  /** Of what images may really take: with an over-commit thin volumes may take more than is booked for them. */
  demandBytes: bigint;
}

export interface PoolImages {
  /** Undefined where no blocks can be shared. */
  sharedBytes: SharedBytes | undefined;
  imagePathOf: (volumeId: string) => string;
  snapshotPathOf: (snapshotId: string) => string;
}

/** Follows which images of a pool may take more of it, and reads how much. */
export class PoolPromises {
  private readonly thinSizes = new Map<string, bigint>();
  private readonly snapshotIds = new Set<string>();
  /** Of volumes that may share blocks with what they were made from. */
  private readonly cloneIds = new Set<string>();
  /** Of images that have all that is booked for them, and never give any of it back: thick volumes, and snapshots. */
  private readonly settledIds = new Set<string>();

  constructor(private readonly images: PoolImages) {}

  /** A volume is there, or has another size. */
  noteVolume(volume: Volume): void {
    const { id, contentSource, parameters } = volume;
    this.noteChange(id);
    if (parameters.provisioning === "thin") this.thinSizes.set(id, imageSizeBytesOf(volume));
    if (contentSource === undefined) return;
    this.cloneIds.add(id);
    this.noteChange(contentSource.kind === "volume" ? contentSource.volumeId : contentSource.snapshotId);
  }

  noteSnapshot(snapshotId: string): void {
    this.noteChange(snapshotId);
    this.snapshotIds.add(snapshotId);
  }

  /** Another booking, or another image that has its blocks. */
  noteChange(id: string): void {
    this.settledIds.delete(id);
    this.images.sharedBytes?.forget(id);
  }

  /** A volume or a snapshot is gone. */
  noteRemoval(id: string): void {
    this.thinSizes.delete(id);
    this.snapshotIds.delete(id);
    this.cloneIds.delete(id);
    this.settledIds.delete(id);
    this.images.sharedBytes?.forgetAll();
  }

  /** Of these bookings, with shares of blocks that were looked up at most so long ago. Never too little. */
  async read(bookings: ReadonlyArray<[id: string, bytes: bigint]>, sharedAgeMsMax: number): Promise<PromisedBytes> {
    const promised = { outstandingBytes: 0n, demandBytes: 0n };
    for (const [id, bookedBytes] of bookings) {
      const path = this.snapshotIds.has(id) ? this.images.snapshotPathOf(id) : this.images.imagePathOf(id);
      const sharedBytes = await this.readShared(id, path, sharedAgeMsMax);
      const missing = await this.readMissing(id, path, bookedBytes);
      promised.outstandingBytes += missing.ofBooked + sharedBytes;
      promised.demandBytes += missing.ofSize + sharedBytes;
    }
    return promised;
  }

  private async readMissing(
    id: string,
    path: string,
    bookedBytes: bigint,
  ): Promise<{ ofBooked: bigint; ofSize: bigint }> {
    if (this.settledIds.has(id)) return { ofBooked: 0n, ofSize: 0n };
    const allocatedBytes = await readAllocatedBytes(path);
    const thinSizeBytes = this.thinSizes.get(id);
    if (thinSizeBytes === undefined && allocatedBytes >= bookedBytes) this.settledIds.add(id);
    const missingOf = (bytes: bigint) => maxBytes(bytes - allocatedBytes, 0n);
    return { ofBooked: missingOf(bookedBytes), ofSize: missingOf(thinSizeBytes ?? bookedBytes) };
  }

  // Of images that share a block all but the first were made from another one: leaving those out counts none too few.
  private async readShared(id: string, path: string, ageMsMax: number): Promise<bigint> {
    if (!(this.snapshotIds.has(id) || this.cloneIds.has(id))) return 0n;
    try {
      return (await this.images.sharedBytes?.read(id, path, ageMsMax)) ?? 0n;
    } catch (error) {
      if (hasErrno(error, "ENOENT")) return 0n;
      throw error;
    }
  }
}
