/** What a driver does with whole image files that Node has no functions for. */
export interface ImageFiles {
  /**
   * Makes `targetPath`, which must not exist, a copy that shares the blocks of `sourcePath`, readable by root only. It is
   * not durable before it was synced. `unsupported` where the two files cannot share blocks: copy the bytes instead. No
   * target is left behind by that or by a failure, which is an error with the `code` of the system call, as `ENOSPC`.
   */
  clone(sourcePath: string, targetPath: string): Promise<"cloned" | "unsupported">;
  /**
   * Where the blocks of a range lie, in ascending order and up to some thousand at a time; what is dirty is written out
   * first. Extents may reach beyond the range, and what is between them are holes. `unsupported` where the file system
   * has no such list, as tmpfs: see `readDataRanges`.
   */
  readExtents(path: string, range: FileRange): Promise<Page<FileExtent> | "unsupported">;
  /** As `readExtents`, but nothing is written out: what is dirty still has the extent that it had before, or none. */
  peekExtents(path: string, range: FileRange): Promise<Page<FileExtent> | "unsupported">;
  /** The parts of a range that may hold other bytes than zeroes, in ascending order, on any file system. */
  readDataRanges(path: string, range: FileRange): Promise<Page<FileRange>>;
}

export interface FileRange {
  offsetBytes: bigint;
  lengthBytes: bigint;
}

/** Adjoining blocks of a file that adjoin on the disk as well. */
export interface FileExtent {
  /** Place in the file. */
  logicalBytes: bigint;
  /** Place on the disk; meaningless unless the extent `isPlaced`. */
  physicalBytes: bigint;
  lengthBytes: bigint;
  /** Another file, or another place in this one, has the same blocks. */
  isShared: boolean;
  /** Allocated and never written: reads as zeroes. */
  isUnwritten: boolean;
  /** Has a place on the disk, and holds the bytes of the file in their order: neither compressed, inline nor delayed. */
  isPlaced: boolean;
}

/** A part of a list. */
export interface Page<Entry> {
  entries: Entry[];
  /** Where to ask for the rest; undefined when this was all. */
  nextBytes: bigint | undefined;
}
