import { readAllocatedBytes } from "./image.js";

/** How good a reading has to be that is remembered. */
export interface AllocationFreshness {
  /** What the file system has free now. More than at the reading means that an image may have given blocks back since. */
  freeBytes: bigint;
  /** 0 where no remembered reading will do. */
  ageMsMax: number;
}

/**
 * Bytes that images occupy. Each costs a look at its file, which adds up where a pool has many thin volumes, so readings are
 * remembered for those who ask often and need no exact sum.
 *
 * A reading that is somewhat old may be too little: the image was written to since, and then the file system has less free.
 * It would be too much after a trim, so none is taken once more is free than there was. What escapes this is a trim
 * that something else has eaten up meanwhile, be it blocks that are no longer shared: nothing may be promised by what is remembered.
 */
export class AllocatedBytes {
  private readonly known = new Map<string, { bytes: bigint; atMs: number; freeBytes: bigint }>();
  private changeCount = 0;

  constructor(private readonly now: () => number = () => performance.now()) {}

  /** What is remembered of an image, if it is good enough. */
  peek(id: string, { freeBytes, ageMsMax }: AllocationFreshness): bigint | undefined {
    const known = this.known.get(id);
    if (known === undefined || freeBytes > known.freeBytes) return undefined;
    return this.now() - known.atMs < ageMsMax ? known.bytes : undefined;
  }

  /** Grows with every change of an image. */
  get changes(): number {
    return this.changeCount;
  }

  /**
   * Looks at the file, and remembers; 0 for one that does not exist (yet). Not remembered when anything has changed `since`
   * the id was found, or since now.
   */
  async look(
    { id, path }: { id: string; path: string },
    { freeBytes, since = this.changeCount }: { freeBytes: bigint; since?: number },
  ): Promise<bigint> {
    const atMs = this.now();
    const bytes = await readAllocatedBytes(path);
    // It may be another image by now.
    if (since === this.changeCount) this.known.set(id, { bytes, atMs, freeBytes });
    return bytes;
  }

  /** It has another size or other contents from now on, or is gone. */
  forget(id: string): void {
    this.known.delete(id);
    this.changeCount += 1;
  }
}
