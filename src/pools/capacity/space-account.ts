import { KeyedMutex } from "../../system/keyed-mutex.js";
import type { PromisedBytes, PromisesFreshness } from "./pool-promises.js";

/** One pool that has an account. */
export interface AccountHolder {
  /** See `PoolSettings`. */
  overcommit: number;
  /** Reads what the pool has promised to its images. */
  readPromises: (freshness: PromisesFreshness) => Promise<PromisedBytes>;
}

/**
 * What the pools of one file system have promised, all together: what is free there is free once, and a byte that one of
 * them has promised is no other's. Their limits and reserves are their own.
 */
export class SpaceAccount {
  private readonly mutex = new KeyedMutex();
  private readonly holders: AccountHolder[] = [];

  /** Counts the promises of one more pool. */
  join(holder: AccountHolder): void {
    this.holders.push(holder);
  }

  /** Whether thin volumes, of whichever pool, may take more of the file system than is booked for them. */
  get isOvercommitted(): boolean {
    return this.holders.some(({ overcommit }) => overcommit > 1);
  }

  /** One booking at a time, so that each sees what the one before it took from the file system. */
  async inTurn(book: () => Promise<void>): Promise<void> {
    await this.mutex.run("booking", book);
  }

  async readPromises(freshness: PromisesFreshness): Promise<PromisedBytes> {
    const sum = { outstandingBytes: 0n, demandBytes: 0n };
    for (const { readPromises } of this.holders) {
      const { outstandingBytes, demandBytes } = await readPromises(freshness);
      sum.outstandingBytes += outstandingBytes;
      sum.demandBytes += demandBytes;
    }
    return sum;
  }
}
