import { stat } from "node:fs/promises";
import { hasErrno } from "../errors.js";
import { maxBytes } from "./bytes.js";
import { Families } from "./families.js";
import { readAllocatedBytes } from "./image.js";
import { imageSizeBytesOf } from "./image-size.js";
import type { Freshness, SharedBytes } from "./shared-bytes.js";
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
  private readonly families = new Families();
  private changeCount = 0;

  constructor(private readonly images: PoolImages) {}

  /** A volume is there, or has another size. */
  noteVolume(volume: Volume): void {
    const { id, contentSource, parameters } = volume;
    this.noteChange(id);
    if (parameters.provisioning === "thin") this.thinSizes.set(id, imageSizeBytesOf(volume));
    if (contentSource === undefined) return;
    this.cloneIds.add(id);
    const sourceId = contentSource.kind === "volume" ? contentSource.volumeId : contentSource.snapshotId;
    this.families.join(id, sourceId);
    this.noteChange(sourceId);
  }

  /** The source is unknown of a snapshot whose record cannot be read. */
  noteSnapshot(snapshotId: string, sourceVolumeId?: string): void {
    this.noteChange(snapshotId);
    this.snapshotIds.add(snapshotId);
    if (sourceVolumeId !== undefined) this.families.join(snapshotId, sourceVolumeId);
  }

  /** Another booking, or another image that has its blocks. */
  noteChange(id: string): void {
    this.settledIds.delete(id);
    this.changeCount += 1;
    this.images.sharedBytes?.forget(id);
  }

  /** A volume or a snapshot is gone. */
  noteRemoval(id: string): void {
    this.thinSizes.delete(id);
    this.snapshotIds.delete(id);
    this.cloneIds.delete(id);
    this.settledIds.delete(id);
    this.changeCount += 1;
    this.families.remove(id);
    this.images.sharedBytes?.forgetAll();
  }

  /** Of these bookings, with shares of blocks that may be so old. Never too little. */
  async read(bookings: ReadonlyArray<[id: string, bytes: bigint]>, sharedAgeMsMax = 0): Promise<PromisedBytes> {
    const promised = { outstandingBytes: 0n, demandBytes: 0n };
    const { changeCount } = this;
    const stamps = new Map<ReadonlySet<string>, string | undefined>();
    const booked = new Set(bookings.map(([id]) => id));
    for (const [id, bookedBytes] of bookings) {
      const path = this.snapshotIds.has(id) ? this.images.snapshotPathOf(id) : this.images.imagePathOf(id);
      let sharedBytes = 0n;
      if (this.images.sharedBytes !== undefined && (this.snapshotIds.has(id) || this.cloneIds.has(id))) {
        const family = this.families.of(id);
        if (!stamps.has(family)) stamps.set(family, await this.readStamp(family, booked));
        sharedBytes = await this.readShared(id, path, { stamp: stamps.get(family), ageMsMax: sharedAgeMsMax });
      }
      const missing = await this.readMissing(id, path, { bookedBytes, changeCount });
      promised.outstandingBytes += missing.ofBooked + sharedBytes;
      promised.demandBytes += missing.ofSize + sharedBytes;
    }
    return promised;
  }

  /** When the volumes of a family were last written to. Clocks of file systems are coarse: too near to now says nothing. */
  private async readStamp(family: ReadonlySet<string>, booked: ReadonlySet<string>): Promise<string | undefined> {
    const times: string[] = [];
    for (const id of family) {
      if (!booked.has(id) || this.snapshotIds.has(id)) continue;
      const { mtimeMs, mtimeNs } = await stat(this.images.imagePathOf(id), { bigint: true }).catch(() => neverWritten);
      if (Date.now() - Number(mtimeMs) < coarseMs) return undefined;
      times.push(`${id} ${mtimeNs}`);
    }
    return times.join();
  }

  private async readMissing(
    id: string,
    path: string,
    { bookedBytes, changeCount }: { bookedBytes: bigint; changeCount: number },
  ): Promise<{ ofBooked: bigint; ofSize: bigint }> {
    if (this.settledIds.has(id)) return { ofBooked: 0n, ofSize: 0n };
    const allocatedBytes = await readAllocatedBytes(path);
    const thinSizeBytes = this.thinSizes.get(id);
    const isSettled = thinSizeBytes === undefined && allocatedBytes >= bookedBytes;
    // More may be booked for it since the bookings were read.
    if (isSettled && changeCount === this.changeCount) this.settledIds.add(id);
    const missingOf = (bytes: bigint) => maxBytes(bytes - allocatedBytes, 0n);
    return { ofBooked: missingOf(bookedBytes), ofSize: missingOf(thinSizeBytes ?? bookedBytes) };
  }

  // Of images that share a block all but the first were made from another one: leaving those out counts none too few.
  private async readShared(id: string, path: string, freshness: Freshness): Promise<bigint> {
    try {
      return (await this.images.sharedBytes?.read(id, path, freshness)) ?? 0n;
    } catch (error) {
      if (hasErrno(error, "ENOENT")) return 0n;
      throw error;
    }
  }
}

const coarseMs = 1_000;
const neverWritten = { mtimeMs: 0n, mtimeNs: 0n };
