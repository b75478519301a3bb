import type { FileExtent, FileRange, ImageFiles, Page } from "../system/image-files.js";
import type { NativePage } from "../ublk/addon.js";
import { type FileCalls, loadFileCalls } from "../ublk/file-calls.js";

/** Bits of FIEMAP, from linux/fiemap.h. */
const extentFlags = {
  unknown: 0x2n,
  delayedAllocation: 0x4n,
  encoded: 0x8n,
  encrypted: 0x80n,
  notAligned: 0x100n,
  inline: 0x200n,
  tail: 0x400n,
  unwritten: 0x800n,
  shared: 0x2000n,
};

const unplacedMask =
  extentFlags.unknown |
  extentFlags.delayedAllocation |
  extentFlags.encoded |
  extentFlags.encrypted |
  extentFlags.notAligned |
  extentFlags.inline |
  extentFlags.tail;

/** Image files by way of the kernel. Needs no ublk driver. */
export class KernelImageFiles implements ImageFiles {
  private loaded: FileCalls | undefined;

  /** The native code is loaded at the first call. */
  constructor(private readonly load: () => FileCalls = loadFileCalls) {}

  async clone(sourcePath: string, targetPath: string): Promise<"cloned" | "unsupported"> {
    return await orUnsupported(async () => {
      await this.calls.cloneFile(sourcePath, targetPath);
      return "cloned" as const;
    });
  }

  async readExtents(path: string, { offsetBytes, lengthBytes }: FileRange): Promise<Page<FileExtent> | "unsupported"> {
    return await orUnsupported(async () => toExtents(await this.calls.readExtents(path, offsetBytes, lengthBytes)));
  }

  async peekExtents(path: string, { offsetBytes, lengthBytes }: FileRange): Promise<Page<FileExtent> | "unsupported"> {
    return await orUnsupported(async () => toExtents(await this.calls.peekExtents(path, offsetBytes, lengthBytes)));
  }

  async readDataRanges(path: string, { offsetBytes, lengthBytes }: FileRange): Promise<Page<FileRange>> {
    const { entries, nextBytes } = await this.calls.readDataRanges(path, offsetBytes, lengthBytes);
    return { entries: inGroups(entries, 2).map(toRange), nextBytes };
  }

  private get calls(): FileCalls {
    this.loaded ??= this.load();
    return this.loaded;
  }
}

// Node has its own name for errno 95, EOPNOTSUPP.
async function orUnsupported<Answer>(action: () => Promise<Answer>): Promise<Answer | "unsupported"> {
  try {
    return await action();
  } catch (error) {
    if ((error as { code?: unknown }).code === "ENOTSUP") return "unsupported";
    throw error;
  }
}

function inGroups(numbers: BigUint64Array, size: number): BigUint64Array[] {
  return Array.from({ length: numbers.length / size }, (_, index) =>
    numbers.subarray(index * size, (index + 1) * size),
  );
}

function toExtents({ entries, nextBytes }: NativePage): Page<FileExtent> {
  return { entries: inGroups(entries, 4).map(toExtent), nextBytes };
}

function toExtent([logicalBytes = 0n, physicalBytes = 0n, lengthBytes = 0n, flags = 0n]: BigUint64Array): FileExtent {
  return {
    logicalBytes,
    physicalBytes,
    lengthBytes,
    isShared: (flags & extentFlags.shared) !== 0n,
    isUnwritten: (flags & extentFlags.unwritten) !== 0n,
    isPlaced: (flags & unplacedMask) === 0n,
  };
}

function toRange([offsetBytes = 0n, lengthBytes = 0n]: BigUint64Array): FileRange {
  return { offsetBytes, lengthBytes };
}
