import { createHash, randomFillSync } from "node:crypto";
import { open } from "node:fs/promises";

/** One record fills a block: its number, random bytes, and the checksum of both. */
export const recordBytes = 4096;
/** Records go round in a file of this many places. */
export const placeCount = 2048;

const checksumBytes = 32;
const checksumOffset = recordBytes - checksumBytes;

/** The record of this number, in a new buffer. */
export function makeRecord(number: number): Buffer {
  const record = randomFillSync(Buffer.alloc(recordBytes));
  record.writeBigUInt64LE(BigInt(number));
  checksumOf(record).copy(record, checksumOffset);
  return record;
}

/** Where in the file the record of this number lies. */
export function toOffsetBytes(number: number): number {
  return (number % placeCount) * recordBytes;
}

/** Reads a file back into which `count` records were written, and returns how many it checked; a wrong one throws. */
export async function verifyRecords(path: string, count: number): Promise<number> {
  const first = Math.max(0, count - placeCount);
  const file = await open(path);
  try {
    for (let number = first; number < count; number++) {
      const record = Buffer.alloc(recordBytes);
      await file.read(record, 0, recordBytes, toOffsetBytes(number));
      assertRecord(record, number);
    }
  } finally {
    await file.close();
  }
  return count - first;
}

function assertRecord(record: Buffer, number: number): void {
  if (!checksumOf(record).equals(record.subarray(checksumOffset))) throw new Error(`record ${number}: wrong checksum`);
  const found = record.readBigUInt64LE();
  if (found !== BigInt(number)) throw new Error(`in the place of record ${number} lies record ${found}`);
}

function checksumOf(record: Buffer): Buffer {
  return createHash("sha256").update(record.subarray(0, checksumOffset)).digest();
}
