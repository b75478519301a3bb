import { DriverError } from "../../errors.js";
import { maxBytes, minBytes } from "../volume/bytes.js";

/** How full the file system of a pool is. */
export interface SpaceUsage {
  /** All the bytes that the pool may hand out. */
  limitBytes: bigint;
  /** Bytes that the file system has left. */
  freeBytes: bigint;
  /** Bytes of that which were promised to existing volumes but are not allocated yet, whichever pool's these are. */
  outstandingBytes: bigint;
}

/**
 * The book of what a pool has promised to its volumes, thin ones included. It never promises the same byte twice: a new
 * volume fits only when both the book and the file system, less what is promised but not yet allocated, have room.
 */
export class Ledger {
  private readonly reservations = new Map<string, bigint>();

  constructor(private readonly poolName: string) {}

  get reservedBytes(): bigint {
    let sum = 0n;
    for (const sizeBytes of this.reservations.values()) sum += sizeBytes;
    return sum;
  }

  /** Bytes that a new volume could have. */
  availableBytes(usage: SpaceUsage): bigint {
    const inBook = usage.limitBytes - this.reservedBytes;
    const onDisk = usage.freeBytes - usage.outstandingBytes;
    return maxBytes(minBytes(inBook, onDisk), 0n);
  }

  /** Books a new volume, or fails before anything was made. Checks and books in one step, so callers need no lock. */
  reserve(volumeId: string, sizeBytes: bigint, usage: SpaceUsage): void {
    this.assertAvailable(sizeBytes, usage);
    this.record(volumeId, sizeBytes);
  }

  /** Books what a volume needs to have so many bytes, beyond what is booked for it; or fails and books nothing. */
  grow(volumeId: string, toBytes: bigint, usage: SpaceUsage): void {
    const bookedBytes = this.reservations.get(volumeId) ?? 0n;
    this.assertAvailable(toBytes - bookedBytes, usage);
    this.record(volumeId, toBytes);
  }

  /** Books a volume that exists already, whether it fits or not. */
  record(volumeId: string, sizeBytes: bigint): void {
    this.reservations.set(volumeId, sizeBytes);
  }

  release(volumeId: string): void {
    this.reservations.delete(volumeId);
  }

  /** What is booked for this id; 0 for one that is not in the book. */
  bookedBytes(id: string): bigint {
    return this.reservations.get(id) ?? 0n;
  }

  /** Every booked volume with its bytes. */
  entries(): Array<[volumeId: string, sizeBytes: bigint]> {
    return [...this.reservations];
  }

  private assertAvailable(askedBytes: bigint, usage: SpaceUsage): void {
    const availableBytes = this.availableBytes(usage);
    if (askedBytes <= availableBytes) return;
    throw new DriverError(
      "no_space",
      `pool ${this.poolName} has ${availableBytes} bytes available, ${askedBytes} were asked for`,
    );
  }
}
