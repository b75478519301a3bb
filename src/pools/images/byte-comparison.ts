import { type FileHandle, open } from "node:fs/promises";
import type { FileRange } from "../../system/image-files.js";
import type { Difference } from "./image-comparison.js";
import { endOf, toRange } from "./image-pieces.js";

/** Read in one go, and reported in such blocks. */
const chunkBytes = 1024 ** 2;
const blockBytes = 4096;

export interface ComparedImages {
  basePath: string;
  targetPath: string;
  /** Ends the comparison with its reason. */
  signal: AbortSignal;
}

/** Leaves out of the doubtful differences between two images what holds the same bytes. What lies beyond a file is zero. */
export async function* compareBytes(
  { basePath, targetPath, signal }: ComparedImages,
  differences: AsyncIterable<Difference>,
): AsyncGenerator<FileRange> {
  const base = await open(basePath, "r");
  try {
    const target = await open(targetPath, "r");
    try {
      const comparison = new Comparison(base, target, signal);
      for await (const { isDoubtful, ...range } of differences) {
        if (isDoubtful) yield* comparison.run(range);
        else yield range;
      }
    } finally {
      await target.close();
    }
  } finally {
    await base.close();
  }
}

class Comparison {
  private readonly baseBuffer = Buffer.alloc(chunkBytes);
  private readonly targetBuffer = Buffer.alloc(chunkBytes);

  constructor(
    private readonly base: FileHandle,
    private readonly target: FileHandle,
    private readonly signal: AbortSignal,
  ) {}

  async *run(range: FileRange): AsyncGenerator<FileRange> {
    for (let offset = range.offsetBytes; offset < endOf(range); offset += BigInt(chunkBytes)) {
      this.signal.throwIfAborted();
      const rest = endOf(range) - offset;
      const length = rest < chunkBytes ? Number(rest) : chunkBytes;
      const [base, target] = await Promise.all([
        read(this.base, this.baseBuffer.subarray(0, length), offset),
        read(this.target, this.targetBuffer.subarray(0, length), offset),
      ]);
      if (!base.equals(target)) yield* differingBlocks(base, target, offset);
    }
  }
}

/** Blocks begin at multiples of their size, wherever the range does, so that a resumed comparison reports the same. */
function* differingBlocks(base: Buffer, target: Buffer, offsetBytes: bigint): Generator<FileRange> {
  let start = 0;
  while (start < base.length) {
    const end = Math.min(start + blockBytes - Number((offsetBytes + BigInt(start)) % BigInt(blockBytes)), base.length);
    if (!base.subarray(start, end).equals(target.subarray(start, end))) {
      yield toRange(offsetBytes + BigInt(start), offsetBytes + BigInt(end));
    }
    start = end;
  }
}

/** Fills the buffer from this place on, with zeroes beyond the end of the file. */
async function read(file: FileHandle, buffer: Buffer, offsetBytes: bigint): Promise<Buffer> {
  let filled = 0;
  while (filled < buffer.length) {
    // A number: from Node's promises a bigint would read on where the last call ended.
    const position = Number(offsetBytes) + filled;
    const { bytesRead } = await file.read({ buffer, offset: filled, length: buffer.length - filled, position });
    if (bytesRead === 0) break;
    filled += bytesRead;
  }
  return buffer.fill(0, filled);
}
