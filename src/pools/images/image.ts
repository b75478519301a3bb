import { open, rm, stat } from "node:fs/promises";
import { DriverError, hasErrno, toMessage } from "../../errors.js";
import { CommandError, type RunCommand } from "../../system/command.js";
import type { Provisioning } from "../volume/volume.js";

export interface ImageRequest {
  path: string;
  sizeBytes: bigint;
  provisioning: Provisioning;
  /** Makes the file with what it begins with, and not larger than it will be. Default: an empty one. */
  fill?: FillImage | undefined;
}

/** Makes the image at this path, which does not exist yet. What it leaves by an `ImageStillWritten` has to stay. */
export type FillImage = (path: string) => Promise<void>;

/** An image could not be made, for the reason given, and something may go on writing to the file: nobody may remove it. */
export class ImageStillWritten extends Error {
  constructor(readonly reason: unknown) {
    super(`something may still write to an image that could not be made: ${toMessage(reason)}`, { cause: reason });
  }
}

const allocationTimeoutMs = 10 * 60_000;

/** Makes an image of its final size, durable, readable by root only. Leaves no file behind when it fails, see `FillImage`. */
export async function createImage(request: ImageRequest, runCommand: RunCommand): Promise<void> {
  try {
    await (request.fill ?? createEmptyImage)(request.path);
    const { path, sizeBytes } = request;
    await setImageSize(path, sizeBytes);
    if (request.provisioning === "thick") await allocate({ path, fromBytes: 0n, toBytes: sizeBytes }, runCommand);
    await syncImage(path);
  } catch (error) {
    if (!(error instanceof ImageStillWritten)) await rm(request.path, { force: true });
    throw error;
  }
}

/** A step from one size of an image to another. */
export interface ImageGrowth {
  path: string;
  /** What the image has in use. It may be larger already: what lies behind is of an earlier attempt. */
  fromBytes: bigint;
  toBytes: bigint;
  provisioning: Provisioning;
}

/** Grows an image, durably, while it may be in use. After a failure it has some size from the old one on. */
export async function growImage(growth: ImageGrowth, runCommand: RunCommand): Promise<void> {
  const { path, fromBytes, toBytes, provisioning } = growth;
  await setImageSize(path, toBytes);
  if (provisioning === "thick") await allocate({ path, fromBytes, toBytes }, runCommand);
  await syncImage(path);
}

/** Takes back a growth that came to nothing. Nobody may have been given a byte beyond this size. */
export async function cutImage(path: string, sizeBytes: bigint): Promise<void> {
  await setImageSize(path, sizeBytes);
  await syncImage(path);
}

/** Fails when an image is gone, or has lost its end: what is made from it would have zeroes there. */
export async function assertWhole(path: string, sizeBytes: bigint): Promise<void> {
  const { size } = await stat(path, { bigint: true });
  if (size >= sizeBytes) return;
  const message = `${path} has ${size} bytes, the volume has ${sizeBytes}: restore the image from a backup`;
  throw new DriverError("refused", message);
}

/** Bytes that an image occupies; 0 for one that does not exist (yet). */
export async function readAllocatedBytes(path: string): Promise<bigint> {
  try {
    return (await stat(path, { bigint: true })).blocks * 512n;
  } catch (error) {
    if (hasErrno(error, "ENOENT")) return 0n;
    throw error;
  }
}

/** The size of an image; 0 for one that is missing. One that cannot be looked at is an error that says so. */
export async function readImageSize(path: string): Promise<bigint> {
  try {
    return (await stat(path, { bigint: true })).size;
  } catch (cause) {
    if (hasErrno(cause, "ENOENT")) return 0n;
    const message = `${path} cannot be looked at (${toMessage(cause)}): check its file system`;
    throw new DriverError("internal", message, { cause });
  }
}

/** Whether an operation failed because the file system or the quota is full. */
export function isOutOfSpace(error: unknown): boolean {
  if (hasErrno(error, "ENOSPC", "EDQUOT")) return true;
  return error instanceof CommandError && /No space left on device|Disk quota exceeded/.test(error.stderr);
}

/** Makes a file without a byte; an existing one is an error. */
export async function createEmptyImage(path: string): Promise<void> {
  await (await open(path, "wx", 0o600)).close();
}

/** Makes a sparse file of this size; an existing one is an error. */
export async function createSparseImage(path: string, sizeBytes: bigint): Promise<void> {
  await createEmptyImage(path);
  await setImageSize(path, sizeBytes);
}

/** Makes what an image holds survive a power cut. */
export async function syncImage(path: string): Promise<void> {
  const file = await open(path, "r+");
  try {
    await file.sync();
  } finally {
    await file.close();
  }
}

async function setImageSize(path: string, sizeBytes: bigint): Promise<void> {
  const file = await open(path, "r+");
  try {
    await file.truncate(Number(sizeBytes));
  } catch (error) {
    if (!hasErrno(error, "EFBIG", "EINVAL")) throw error;
    const message = `the file system of ${path} cannot hold a file of ${sizeBytes} bytes: use a smaller size or xfs`;
    throw new DriverError("out_of_range", message, { cause: error });
  } finally {
    await file.close();
  }
}

// Node has no fallocate(2). The program also reports a file system that cannot preallocate instead of writing zeroes.
async function allocate(
  { path, fromBytes, toBytes }: Omit<ImageGrowth, "provisioning">,
  runCommand: RunCommand,
): Promise<void> {
  const range = ["--offset", fromBytes.toString(), "--length", (toBytes - fromBytes).toString()];
  try {
    await runCommand("fallocate", [...range, path], { timeoutMs: allocationTimeoutMs });
  } catch (error) {
    if (!toMessage(error).includes("not supported")) throw error;
    const message = `the file system of ${path} cannot preallocate: use provisioning "thin", or a pool on xfs, ext4 or btrfs`;
    throw new DriverError("refused", message, { cause: error });
  }
}
