import { readdir, readFile, realpath, stat } from "node:fs/promises";
import { basename, join } from "node:path";

/** What {@link findUblkBelow} asks of the machine. */
export interface StackReader {
  /** The number of the block device that holds a file, or that a node stands for; undefined when there is none. */
  readDeviceNumber(path: string): Promise<string | undefined>;
  /** The folder in /sys of a block device by its number, or undefined. */
  findFolder(deviceNumber: string): Promise<string | undefined>;
  readNames(path: string): Promise<string[]>;
  readText(path: string): Promise<string | undefined>;
}

/** Reads the running machine. */
export const machineStackReader: StackReader = {
  readDeviceNumber: async (path) => {
    const info = await stat(path).catch(() => undefined);
    return info && toDeviceNumber(info.isBlockDevice() ? info.rdev : info.dev);
  },
  findFolder: (deviceNumber) => realpath(`/sys/dev/block/${deviceNumber}`).catch(() => undefined),
  readNames: (path) => readdir(path).catch(() => []),
  readText: (path) => readFile(path, "utf8").catch(() => undefined),
};

/**
 * The ids of the ublk devices that the bytes of this file or block device pass through: itself, the disk of a partition,
 * what a device-mapper or md device is made of, and the file below a loop device. A file system of several disks (btrfs)
 * does not say where its bytes are; its files are taken to be on none.
 */
export async function findUblkBelow(path: string, reader: StackReader = machineStackReader): Promise<number[]> {
  const number = await reader.readDeviceNumber(path);
  const folder = number && (await reader.findFolder(number));
  const found = new Set<number>();
  if (folder) await collect(folder, reader, found, new Set());
  return [...found].sort((a, b) => a - b);
}

async function collect(folder: string, reader: StackReader, found: Set<number>, seen: Set<string>): Promise<void> {
  if (seen.has(folder)) return;
  seen.add(folder);
  const deviceId = /^ublkb(\d+)$/.exec(basename(folder))?.[1];
  if (deviceId !== undefined) found.add(Number(deviceId));
  if ((await reader.readText(join(folder, "partition"))) !== undefined) {
    await collect(join(folder, ".."), reader, found, seen);
  }
  for (const name of await reader.readNames(join(folder, "slaves"))) {
    const number = (await reader.readText(join(folder, "slaves", name, "dev")))?.trim();
    const below = number && (await reader.findFolder(number));
    if (below) await collect(below, reader, found, seen);
  }
  const backing = (await reader.readText(join(folder, "loop/backing_file")))?.trim();
  if (backing) for (const below of await findUblkBelow(backing, reader)) found.add(below);
}

/** `8:1` for the device number of stat(2). */
export function toDeviceNumber(device: number): string {
  const bits = BigInt(device);
  const major = ((bits >> 8n) & 0xfffn) | ((bits >> 32n) & ~0xfffn);
  const minor = (bits & 0xffn) | ((bits >> 12n) & ~0xffn & 0xffffffffn);
  return `${major}:${minor}`;
}
