import { mkdirSync } from "node:fs";
import { mkdir, rm, rmdir } from "node:fs/promises";
import { join } from "node:path";
import { runCommand } from "./run-command.js";

/** Where the pool of a test lies. */
export interface PoolPlace {
  /** The directory of the pool. */
  readonly path: string;
  /** Takes the place away, after the driver has ended. */
  release(): Promise<void>;
}

// Discarding a disk that has never been written only takes time.
const formatOptions = { xfs: ["-q", "-f", "-K"], btrfs: ["-q", "-f", "-K"], ext4: ["-q", "-F", "-E", "nodiscard"] };

/** Formats the guest's scratch disk, whatever was on it: pools need direct I/O and holes. */
export async function mountPoolDisk(
  mountPoint: string,
  device = findScratchDisk(),
  fsType: keyof typeof formatOptions = "xfs",
): Promise<PoolPlace> {
  await runCommand(`mkfs.${fsType}`, [...formatOptions[fsType], device]);
  mkdirSync(mountPoint, { recursive: true });
  await runCommand("mount", [device, mountPoint]);
  const path = join(mountPoint, "pool");
  await mkdir(path);
  const release = async () => {
    await runCommand("umount", [mountPoint]);
    await rmdir(mountPoint);
  };
  return { path, release };
}

/** A fresh directory on a file system of this machine. */
export async function makePoolFolder(path: string): Promise<PoolPlace> {
  await mkdir(path, { recursive: true });
  return { path, release: () => rm(path, { recursive: true }) };
}

export function findScratchDisk(): string {
  const device = process.env.VM_DISK0;
  if (device !== undefined) return device;
  throw new Error("VM_DISK0 is not set: run this in a guest with a disk, test/vm/run --disk 8192 -- …");
}
