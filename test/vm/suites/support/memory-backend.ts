import type { Backend } from "../../../../src/ublk/index.js";

/** A disk in an ordinary Buffer. */
export class MemoryBackend implements Backend {
  readonly size: bigint;
  private readonly bytes: Buffer;

  constructor(sizeBytes: number) {
    this.size = BigInt(sizeBytes);
    this.bytes = Buffer.alloc(sizeBytes);
  }

  readAt(buffer: Buffer, offset: number): void {
    this.bytes.copy(buffer, 0, offset, offset + buffer.length);
  }

  writeAt(buffer: Buffer, offset: number): void {
    buffer.copy(this.bytes, offset);
  }

  trim(offset: number, length: number): void {
    this.bytes.fill(0, offset, offset + length);
  }

  writeZeroes(offset: number, length: number): void {
    this.bytes.fill(0, offset, offset + length);
  }
}
