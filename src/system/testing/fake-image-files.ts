import { constants } from "node:fs";
import { copyFile, readFile } from "node:fs/promises";
import type { FileExtent, FileRange, ImageFiles, Page } from "../image-files.js";

const blockBytes = 4096;

/** Image files on any file system: clones are copies, and extents are what a test says they are. */
export class FakeImageFiles implements ImageFiles {
  /** Whether files can share blocks. */
  canShare = true;
  /** Whether there are lists of extents. */
  hasExtents = true;
  /** What `readExtents` finds in a file; a clone has those of its source. */
  readonly extents = new Map<string, FileExtent[]>();
  /** How many entries a page has at most. */
  pageEntriesMax = 1000;

  async clone(sourcePath: string, targetPath: string): Promise<"cloned" | "unsupported"> {
    if (!this.canShare) return "unsupported";
    await copyFile(sourcePath, targetPath, constants.COPYFILE_EXCL);
    const shared = (this.extents.get(sourcePath) ?? []).map((extent) => ({ ...extent, isShared: true }));
    this.extents.set(sourcePath, shared);
    this.extents.set(targetPath, shared);
    return "cloned";
  }

  /** The files whose extents were asked for without writing them out. */
  readonly peeked: string[] = [];

  async peekExtents(path: string, range: FileRange): Promise<Page<FileExtent> | "unsupported"> {
    this.peeked.push(path);
    return await this.readExtents(path, range);
  }

  async readExtents(path: string, { offsetBytes, lengthBytes }: FileRange): Promise<Page<FileExtent> | "unsupported"> {
    if (!this.hasExtents) return "unsupported";
    const touching = (this.extents.get(path) ?? []).filter(
      (extent) =>
        extent.logicalBytes < offsetBytes + lengthBytes && extent.logicalBytes + extent.lengthBytes > offsetBytes,
    );
    return this.toPage(touching, (extent) => extent.logicalBytes + extent.lengthBytes);
  }

  /** By the blocks that are not all zeroes. */
  async readDataRanges(path: string, { offsetBytes, lengthBytes }: FileRange): Promise<Page<FileRange>> {
    const content = await readFile(path);
    const ranges: FileRange[] = [];
    for (let offset = 0; offset < content.length; offset += blockBytes) {
      if (content.subarray(offset, offset + blockBytes).every((byte) => byte === 0)) continue;
      const start = BigInt(offset) > offsetBytes ? BigInt(offset) : offsetBytes;
      const end = min(BigInt(Math.min(offset + blockBytes, content.length)), offsetBytes + lengthBytes);
      if (start < end) ranges.push({ offsetBytes: start, lengthBytes: end - start });
    }
    return this.toPage(ranges, (range) => range.offsetBytes + range.lengthBytes);
  }

  private toPage<Entry>(all: Entry[], endOf: (entry: Entry) => bigint): Page<Entry> {
    const entries = all.slice(0, this.pageEntriesMax);
    const last = entries.at(-1);
    return { entries, nextBytes: last !== undefined && entries.length < all.length ? endOf(last) : undefined };
  }
}

const min = (left: bigint, right: bigint): bigint => (left < right ? left : right);
