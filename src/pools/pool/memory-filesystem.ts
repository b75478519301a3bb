import { mkdir, realpath } from "node:fs/promises";
import { DriverError, toMessage } from "../../errors.js";
import type { RunCommand } from "../../system/command.js";
import { type MountEntry, readMountInfo } from "../../system/mountinfo.js";

/** Gives memory pools the tmpfs that their images live on. */
export interface MemoryFilesystems {
  /** Makes sure that this directory is a tmpfs with room for so many bytes of images, keeping what it holds. */
  ensure(directory: string, budgetBytes: bigint): Promise<void>;
}

/** Mounts a tmpfs, keeps one that is mounted (its images are live data), and resizes it when the budget changed. */
export class TmpfsFilesystems implements MemoryFilesystems {
  constructor(
    private readonly runCommand: RunCommand,
    private readonly readMounts: () => Promise<MountEntry[]> = readMountInfo,
  ) {}

  async ensure(directory: string, budgetBytes: bigint): Promise<void> {
    await mkdir(directory, { recursive: true, mode: 0o700 });
    const path = await realpath(directory);
    const mounted = (await this.readMounts()).findLast((entry) => entry.mountPoint === path);
    if (mounted !== undefined && mounted.fsType !== "tmpfs") {
      throw new DriverError("refused", `${path} is a mount of ${mounted.source}, not of a tmpfs: unmount it`);
    }
    // Permission bits are an option of the first mount only; a remount would reset what the images rely on.
    const options = [`size=${tmpfsSizeBytes(budgetBytes)}`, mounted === undefined ? "mode=0700" : "remount"];
    await this.mount([...options, "nosuid", "nodev", "noexec"].join(","), path);
  }

  private async mount(options: string, path: string): Promise<void> {
    try {
      await this.runCommand("mount", ["-t", "tmpfs", "-o", options, "tmpfs", path]);
    } catch (cause) {
      const remedy = "memory pools need root, and a budget of at least what their volumes hold";
      throw new DriverError("refused", `cannot mount the tmpfs of ${path}: ${toMessage(cause)}: ${remedy}`, { cause });
    }
  }
}

/** Records and directories need pages besides the images. */
function tmpfsSizeBytes(budgetBytes: bigint): bigint {
  return budgetBytes + budgetBytes / 64n + 4n * 1024n ** 2n;
}
