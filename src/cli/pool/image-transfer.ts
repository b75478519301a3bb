import { dirname } from "node:path";
import { DriverError } from "../../errors.js";
import { createEmptyImage, createSparseImage } from "../../pools/images/image.js";
import { CommandError, type RunCommand } from "../../system/command.js";
import { createHeadOverlay, openUnnamed } from "./head-overlay.js";
import { toOpenPath } from "./open-path.js";
import type { ImageFormat } from "./pool-command.js";
import type { SourceImage } from "./source-image.js";

export interface Transfer {
  runCommand: RunCommand;
  signal: AbortSignal;
}

/** However large an image is; whoever waits can end it. */
const timeoutMs = 20 * 24 * 60 * 60_000;

/** Makes a raw file, which must not exist, with the bytes of an image. Holes stay holes, and no blocks are shared. */
export async function unpackImage(source: SourceImage, targetPath: string, transfer: Transfer): Promise<void> {
  const { format, sizeBytes, head, fileBytes } = source.facts;
  if (format === "raw") return await copySparsely(source.openPath, targetPath, transfer);
  await createSparseImage(targetPath, sizeBytes);
  const overlay = await openUnnamed(dirname(targetPath), createHeadOverlay(head, fileBytes));
  try {
    const qcow2 = describeQcow2(toOpenPath(overlay), source.openPath);
    // The target exists already, so that it is readable by root only, and is all zeroes.
    await runQemuImg(["convert", "-n", "--target-is-zero", "-O", "raw", qcow2, targetPath], transfer);
  } finally {
    await overlay.close();
  }
}

/**
 * An image for qemu-img that has the head which was found to name no other file, whatever the file has there by now. Its
 * owner may write to it at any time, through a mapping without leaving a trace, and what it names is opened by root.
 */
function describeQcow2(overlayPath: string, imagePath: string): string {
  const image = { driver: "raw", file: { driver: "file", filename: imagePath } };
  const overlaid = { driver: "qcow2", file: { driver: "file", filename: overlayPath }, backing: image };
  return `json:${JSON.stringify({ driver: "qcow2", file: overlaid, backing: null })}`;
}

/** Makes a file of this format, which must not exist, with the bytes of a raw one. */
export async function packImage(
  sourcePath: string,
  target: { path: string; format: ImageFormat },
  transfer: Transfer,
): Promise<void> {
  if (target.format === "raw") return await copySparsely(sourcePath, target.path, transfer);
  await createEmptyImage(target.path);
  await runQemuImg(["convert", "-f", "raw", "-O", "qcow2", sourcePath, target.path], transfer);
}

// Shared blocks would take new ones of the pool when they are written to, which nobody has booked.
async function copySparsely(sourcePath: string, targetPath: string, { runCommand, signal }: Transfer): Promise<void> {
  await createEmptyImage(targetPath);
  await runCommand("cp", ["--sparse=auto", "--reflink=never", "--", sourcePath, targetPath], { timeoutMs, signal });
  assertGoingOn(signal);
}

// A program can be done before it is told to end: what was to be given up is not finished all the same.
function assertGoingOn(signal: AbortSignal): void {
  if (signal.aborted) throw new DriverError("internal", "ended by a signal: nothing was made");
}

async function runQemuImg(args: readonly string[], { runCommand, signal }: Transfer): Promise<void> {
  try {
    await runCommand("qemu-img", args, { timeoutMs, signal });
    assertGoingOn(signal);
  } catch (cause) {
    if (!(cause instanceof CommandError) || !cause.message.includes("program not found")) throw cause;
    throw new DriverError("refused", "qcow2 needs the program qemu-img: install qemu-utils, or use a raw image", {
      cause,
    });
  }
}
