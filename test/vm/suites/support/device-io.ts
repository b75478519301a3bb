import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { readFile, stat } from "node:fs/promises";
import { basename } from "node:path";
import { runCommand } from "./run-command.js";

const mebibyte = 1024 ** 2;

export interface CopyOptions {
  /** Where on the device to begin, in blocks of `blockBytes`. */
  seekBlocks?: number;
  blockBytes?: number;
  /** Bypass the page cache. */
  direct?: boolean;
}

/** Writes a whole file to a device and waits until it is durable. In a process of its own, as users are. */
export async function writeToDevice(file: string, device: string, options: CopyOptions = {}): Promise<void> {
  const { seekBlocks = 0, blockBytes = mebibyte, direct = false } = options;
  const flags = direct ? ["oflag=direct"] : [];
  const where = [`if=${file}`, `of=${device}`, `bs=${blockBytes}`, `seek=${seekBlocks}`];
  await runCommand("dd", [...where, "conv=fsync,notrunc,nocreat", ...flags, "status=none"]);
}

/** Fails unless the device begins with the bytes of the file. It reads past the page cache. */
export async function compareDevice(file: string, device: string): Promise<void> {
  await runCommand("blockdev", ["--flushbufs", device]);
  const { size } = await stat(file);
  await runCommand("cmp", ["-n", String(size), file, device]);
}

/** The SHA-256 of the first bytes of a file or device. A device is read past the page cache. */
export async function digest(path: string, sizeBytes: number): Promise<string> {
  if (path.startsWith("/dev/")) await runCommand("blockdev", ["--flushbufs", path]);
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(path, { end: sizeBytes - 1, highWaterMark: mebibyte })) hash.update(chunk);
  return hash.digest("hex");
}

/** A file of random bytes. */
export async function createRandomFile(path: string, sizeBytes: number): Promise<string> {
  await runCommand("dd", ["if=/dev/urandom", `of=${path}`, "bs=4096", `count=${sizeBytes / 4096}`, "status=none"]);
  return path;
}

/** What sysfs says of a block device, for example `queue/logical_block_size`. */
export async function readBlockAttribute(device: string, name: string): Promise<string> {
  return (await readFile(`/sys/block/${basename(device)}/${name}`, "utf8")).trim();
}

/** The space a file really takes. */
export async function readAllocatedBytes(path: string): Promise<number> {
  return (await stat(path)).blocks * 512;
}
