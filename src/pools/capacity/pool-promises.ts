import { stat } from "node:fs/promises";
import { hasErrno, toMessage } from "../../errors.js";
import { AllocatedBytes } from "../images/allocated-bytes.js";
import { Families } from "../images/families.js";
import type { Freshness, SharedBytes } from "../images/shared-bytes.js";
import { maxBytes } from "../volume/bytes.js";
import { imageSizeBytesOf } from "../volume/image-size.js";
import type { Volume } from "../volume/volume.js";

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
  /** Told once of each image that cannot be looked at. */
  onUnreadable?: ((path: string, reason: string) => void) | undefined;
}

/** How good what is remembered has to be. By default only a share of blocks is taken that nobody can have changed. */
export interface PromisesFreshness {
  /** What the file system has free now, or had a moment ago. */
  freeBytes: bigint;
  allocatedAgeMsMax?: number | undefined;
  sharedAgeMsMax?: number | undefined;
}

/** Follows which images of a pool may take more of it, and reads how much. */
export class PoolPromises {
  private readonly thinSizes = new Map<string, bigint>();
  private readonly snapshotIds = new Set<string>();
  /** Of volumes that may share blocks with what they were made from. */
  private readonly cloneIds = new Set<string>();
  /** Of images that have all that is booked for them, and never give any of it back: thick volumes, and snapshots. */
  private readonly settledIds = new Set<string>();
  /** Of images that nobody could look at. */
  private readonly unreadableIds = new Set<string>();
  private readonly families = new Families();
  private readonly allocatedBytes = new AllocatedBytes();
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
    this.allocatedBytes.forget(id);
    this.images.sharedBytes?.forget(id);
  }

  /** A volume or a snapshot is gone. */
  noteRemoval(id: string): void {
    this.thinSizes.delete(id);
    this.snapshotIds.delete(id);
    this.cloneIds.delete(id);
    this.unreadableIds.delete(id);
    this.settledIds.delete(id);
    this.changeCount += 1;
    this.allocatedBytes.forget(id);
    // Others may share less; relatives that are not known as such have a number that is too large for a while.
    for (const relative of this.families.of(id)) this.images.sharedBytes?.forget(relative);
    this.families.remove(id);
  }

  /**
   * Of these bookings. Never too little, unless remembered allocations are allowed: an image that cannot be looked at may
   * yet take all of its size.
   */
  async read(
    bookings: ReadonlyArray<[id: string, bytes: bigint]>,
    { freeBytes, allocatedAgeMsMax = 0, sharedAgeMsMax = 0 }: PromisesFreshness,
  ): Promise<PromisedBytes> {
    const allocation = { freeBytes, ageMsMax: allocatedAgeMsMax };
    const promised = { outstandingBytes: 0n, demandBytes: 0n };
    const { changeCount } = this;
    const since = this.allocatedBytes.changes;
    const stamps = new Map<ReadonlySet<string>, string | undefined>();
    const booked = new Set(bookings.map(([id]) => id));
    const add = (ofBooked: bigint, ofSize: bigint) => {
      promised.outstandingBytes += ofBooked;
      promised.demandBytes += ofSize;
    };
    for (const [id, bookedBytes] of bookings) {
      const thinSizeBytes = this.thinSizes.get(id);
      const sizeBytes = thinSizeBytes ?? bookedBytes;
      if (this.images.sharedBytes !== undefined && (this.snapshotIds.has(id) || this.cloneIds.has(id))) {
        const family = this.families.of(id);
        if (!stamps.has(family)) stamps.set(family, await this.readStamp(family, booked));
        const sharedBytes = await this.readShared(id, { stamp: stamps.get(family), ageMsMax: sharedAgeMsMax });
        add(sharedBytes ?? sizeBytes, sharedBytes ?? sizeBytes);
        // What it shares it has, and no more than that is missing.
        if (sharedBytes === undefined) continue;
      }
      if (this.settledIds.has(id)) continue;
      // Without an await for what is remembered, which would be most of the time that a call takes.
      const allocatedBytes = this.allocatedBytes.peek(id, allocation) ?? (await this.lookAt(id, { freeBytes, since }));
      const isSettled = thinSizeBytes === undefined && allocatedBytes >= bookedBytes;
      // More may be booked for it since the bookings were read.
      if (isSettled && changeCount === this.changeCount) this.settledIds.add(id);
      const missingOf = (bytes: bigint) => maxBytes(bytes - allocatedBytes, 0n);
      add(missingOf(bookedBytes), missingOf(sizeBytes));
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

  private async lookAt(id: string, reading: { freeBytes: bigint; since: number }): Promise<bigint> {
    try {
      return await this.allocatedBytes.look({ id, path: this.pathOf(id) }, reading);
    } catch (error) {
      this.tellUnreadable(id, error);
      return 0n;
    }
  }

  // Of images that share a block all but the first were made from another one: leaving those out counts none too few.
  private async readShared(id: string, freshness: Freshness): Promise<bigint | undefined> {
    try {
      return (await this.images.sharedBytes?.read(id, this.pathOf(id), freshness)) ?? 0n;
    } catch (error) {
      if (hasErrno(error, "ENOENT")) return 0n;
      this.tellUnreadable(id, error);
      return undefined;
    }
  }

  private tellUnreadable(id: string, error: unknown): void {
    if (this.unreadableIds.has(id)) return;
    this.unreadableIds.add(id);
    this.images.onUnreadable?.(this.pathOf(id), toMessage(error));
  }

  private pathOf(id: string): string {
    return this.snapshotIds.has(id) ? this.images.snapshotPathOf(id) : this.images.imagePathOf(id);
  }
}

const coarseMs = 1_000;
const neverWritten = { mtimeMs: 0n, mtimeNs: 0n };
