import { constants, type FileHandle, open } from "node:fs/promises";

export const blockBytes = 4096;
const blocksPerLane = 64;
/** What blocks hold that no lane has written. */
const initialValue = 2n ** 63n;

interface Write {
  device: number;
  offsetBytes: number;
}

/** Fills a buffer with what an image holds before anybody writes. */
export function fillInitially(image: Buffer): Buffer {
  for (let offset = 0; offset < image.length; offset += 8) image.writeBigUInt64LE(initialValue, offset);
  return image;
}

/**
 * Writes numbered blocks to several devices in turn, each after the one before it is durable. What the devices held at any
 * one instant is then the outcome of the first so many writes, over all of them together: see `findPrefix`.
 */
export class PrefixWriter {
  /** Writes that were answered. */
  answeredCount = 0;
  private readonly writes: Write[] = [];
  private running: Promise<void> | undefined;
  private isStopping = false;

  private constructor(
    private readonly handles: FileHandle[],
    private readonly blocks: number[],
  ) {}

  /** A lane has blocks of its own, spread over devices of this size. */
  static async open(paths: string[], deviceBytes: number, lane: { index: number; count: number }) {
    const handles = await Promise.all(paths.map((path) => open(path, constants.O_RDWR | constants.O_DSYNC)));
    const stride = Math.floor(deviceBytes / blockBytes / blocksPerLane / lane.count);
    const blocks = Array.from({ length: blocksPerLane }, (_, i) => (i * lane.count + lane.index) * stride);
    return new PrefixWriter(handles, blocks);
  }

  get issuedCount(): number {
    return this.writes.length;
  }

  start(): void {
    this.running = this.run();
    this.running.catch(() => undefined); // looked at by stop()
  }

  /** Ends after the write that is under way. Rejects when any failed. */
  async stop(): Promise<void> {
    this.isStopping = true;
    await this.running;
    for (const handle of this.handles) await handle.close();
  }

  /**
   * How many of the first writes these images hold. Throws unless they hold exactly those: every block of the lane, in every
   * image, byte by byte.
   */
  findPrefix(images: Buffer[]): number {
    const count = Math.max(0, ...images.flatMap((image) => this.blocks.map((block) => readNumber(image, block))));
    const expected = new Map<string, bigint>();
    for (const [position, { device, offsetBytes }] of this.writes.slice(0, count).entries()) {
      expected.set(`${device}:${offsetBytes}`, BigInt(position + 1));
    }
    for (const [device, image] of images.entries()) {
      for (const block of this.blocks) {
        const value = expected.get(`${device}:${block * blockBytes}`) ?? initialValue;
        assertBlock(image, block, value, `device ${device}, block ${block}, prefix of ${count}`);
      }
    }
    return count;
  }

  private async run(): Promise<void> {
    const bytes = Buffer.alloc(blockBytes);
    while (!this.isStopping) {
      const number = this.writes.length + 1;
      const device = number % this.handles.length;
      const block = this.blocks[(number * 29) % this.blocks.length] ?? 0;
      fillBlock(bytes, BigInt(number));
      this.writes.push({ device, offsetBytes: block * blockBytes });
      await this.handles[device]?.write(bytes, 0, blockBytes, block * blockBytes);
      this.answeredCount = number;
    }
  }
}

function fillBlock(bytes: Buffer, value: bigint): void {
  for (let offset = 0; offset < blockBytes; offset += 8) bytes.writeBigUInt64LE(value, offset);
}

function readNumber(image: Buffer, block: number): number {
  const value = image.readBigUInt64LE(block * blockBytes);
  return value === initialValue ? 0 : Number(value);
}

function assertBlock(image: Buffer, block: number, value: bigint, where: string): void {
  const expected = Buffer.alloc(blockBytes);
  fillBlock(expected, value);
  const found = image.subarray(block * blockBytes, (block + 1) * blockBytes);
  if (!found.equals(expected)) throw new Error(`${where}: holds ${found.readBigUInt64LE()}, expected ${value}`);
}
