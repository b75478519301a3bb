import { constants } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";

const blockBytes = 4096;
/** Blocks of each device that are written over and over. */
const slotCount = 512;

/**
 * One writer over several devices: block n goes to the next device each time, holds the number n, and is durable before
 * block n + 1 is written. What any consistent copy of the devices holds is then some first part of that sequence.
 */
export class SequenceWriter {
  written = 0;
  /** How long the slowest block took; may be set back. */
  slowestMs = 0;
  private isStopped = false;
  private readonly done: Promise<void>;

  constructor(devicePaths: readonly string[]) {
    this.done = this.run(devicePaths);
    this.done.catch(() => undefined); // reported by `stop`
  }

  async stop(): Promise<void> {
    this.isStopped = true;
    await this.done;
  }

  private async run(devicePaths: readonly string[]): Promise<void> {
    const devices: FileHandle[] = [];
    try {
      for (const path of devicePaths) devices.push(await open(path, constants.O_WRONLY | constants.O_DSYNC));
      const block = Buffer.alloc(blockBytes);
      while (!this.isStopped) {
        const number = this.written + 1;
        const { device, slot } = placeOf(number, devices.length);
        block.fill(0);
        block.writeUInt32LE(number);
        const begin = performance.now();
        await devices[device]?.write(block, 0, blockBytes, slot * blockBytes);
        this.slowestMs = Math.max(this.slowestMs, performance.now() - begin);
        this.written = number;
      }
    } finally {
      for (const device of devices) await device.close();
    }
  }
}

/** How long the sequence is that these images hold, in the order of the devices. Fails when they hold no first part of it. */
export async function readSequence(imagePaths: readonly string[]): Promise<number> {
  const found = await Promise.all(imagePaths.map(readNumbers));
  const length = Math.max(...found.flat());
  for (let number = Math.max(1, length - slotCount * found.length + 1); number <= length; number++) {
    const { device, slot } = placeOf(number, found.length);
    const inSlot = found[device]?.[slot];
    if (inSlot !== number) throw new Error(`has number ${length}, and ${inSlot} where ${number} should be`);
  }
  return length;
}

function placeOf(number: number, deviceCount: number): { device: number; slot: number } {
  return { device: number % deviceCount, slot: Math.floor(number / deviceCount) % slotCount };
}

async function readNumbers(path: string): Promise<number[]> {
  const image = await open(path, "r");
  try {
    const bytes = Buffer.alloc(slotCount * blockBytes);
    await image.read(bytes, 0, bytes.length, 0);
    return Array.from({ length: slotCount }, (_, slot) => bytes.readUInt32LE(slot * blockBytes));
  } finally {
    await image.close();
  }
}
