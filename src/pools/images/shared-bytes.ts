import type { ImageFiles } from "../../system/image-files.js";

/** How good a number has to be that is remembered. */
export interface Freshness {
  /** Names what was last written to the image and all that may share blocks with it; undefined while that still goes on. */
  stamp: string | undefined;
  /** A number that is not older than this will do, whatever was written since. */
  ageMsMax: number;
}

/**
 * Bytes of images whose blocks other files have too. When one of them is overwritten it takes new blocks, so these have to
 * be kept free for it. 0 where the file system cannot share blocks.
 *
 * It takes a look at every extent to know, so the number is remembered while nobody has written. Sharing begins with a
 * clone, which `forget` is to be told of; otherwise it only ends, with writes, trims and deletions: a number that is
 * somewhat old may be too much, and is never too little.
 */
export class SharedBytes {
  private readonly known = new Map<string, { bytes: bigint; atMs: number; stamp: string | undefined }>();
  private changeCount = 0;

  constructor(
    private readonly imageFiles: Pick<ImageFiles, "peekExtents">,
    private readonly now: () => number = Date.now,
  ) {}

  async read(id: string, path: string, { stamp, ageMsMax }: Freshness): Promise<bigint> {
    const known = this.known.get(id);
    if (known !== undefined) {
      const ageMs = this.now() - known.atMs;
      const isUnwritten = stamp !== undefined && stamp === known.stamp && ageMs < unwrittenMsMax;
      if (isUnwritten || ageMs < ageMsMax) return known.bytes;
    }
    const { changeCount } = this;
    const bytes = await this.count(path);
    // A clone that was made meanwhile may not be in it.
    if (changeCount === this.changeCount) this.known.set(id, { bytes, atMs: this.now(), stamp });
    return bytes;
  }

  /** Some of its blocks may be shared from now on, or are no longer, as a relative is gone. */
  forget(id: string): void {
    this.known.delete(id);
    this.changeCount += 1;
  }

  // Nothing is written out for it: a dirty block that is to move has its new place reserved, and counts as shared still,
  // which is once too much for that moment and never too little.
  private async count(path: string): Promise<bigint> {
    let sharedBytes = 0n;
    let offsetBytes: bigint | undefined = 0n;
    while (offsetBytes !== undefined) {
      const range = { offsetBytes, lengthBytes: wholeFileBytes - offsetBytes };
      const page = await this.imageFiles.peekExtents(path, range);
      if (page === "unsupported") return 0n;
      for (const { isShared, lengthBytes } of page.entries) if (isShared) sharedBytes += lengthBytes;
      offsetBytes = page.nextBytes;
    }
    return sharedBytes;
  }
}

/** Relatives are not all known: one may be gone that was the link to another. */
const unwrittenMsMax = 10 * 60_000;

/** Beyond the end of any file. */
const wholeFileBytes = 2n ** 62n;
