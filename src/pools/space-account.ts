import { KeyedMutex } from "../system/keyed-mutex.js";
import type { PromisedBytes, PromisesFreshness } from "./pool-promises.js";

/** Reads what one pool has promised to its images. */
export type ReadPromises = (freshness: PromisesFreshness) => Promise<PromisedBytes>;

/**
 * What the pools of one file system have promised, all together: what is free there is free once, and a byte that one of
 * them has promised is no other's. Their limits and reserves are their own.
 */
export class SpaceAccount {
  private readonly mutex = new KeyedMutex();
  private readonly readers: ReadPromises[] = [];

  /** Counts the promises of one more pool. */
  join(read: ReadPromises): void {
    this.readers.push(read);
  }

  /** One booking at a time, so that each sees what the one before it took from the file system. */
  async inTurn(book: () => Promise<void>): Promise<void> {
    await this.mutex.run("booking", book);
  }

  async readPromises(freshness: PromisesFreshness): Promise<PromisedBytes> {
    const sum = { outstandingBytes: 0n, demandBytes: 0n };
    for (const read of this.readers) {
      const { outstandingBytes, demandBytes } = await read(freshness);
      sum.outstandingBytes += outstandingBytes;
      sum.demandBytes += demandBytes;
    }
    return sum;
  }
}
