import { DriverError } from "../../errors.js";
import type { Ext4FormatOptions } from "../../pools/volume/format-options.js";
import { CommandError, type RunCommand } from "../../system/command.js";
import { reportOf, shorten } from "./check-report.js";
import { checkTimeoutMs, type FilesystemTools, formatTimeoutMs } from "./filesystem-tools.js";

/** e2fsprogs. */
export const ext4Tools = (runCommand: RunCommand): FilesystemTools => ({
  format: async (devicePath, { discard, options }) => {
    const args = ["-q", ...toArguments(options.ext4 ?? {}, discard), devicePath];
    await runCommand("mkfs.ext4", args, { timeoutMs: formatTimeoutMs });
  },
  repair: (devicePath) => repair(runCommand, devicePath),
  diagnose: (devicePath) => reportOf(runCommand("e2fsck", ["-f", "-n", devicePath], { timeoutMs: checkTimeoutMs })),
  renewIdentity: (devicePath) => renewIdentity(runCommand, devicePath),
  grow: async ({ devicePath }) => {
    await runCommand("resize2fs", [devicePath], { timeoutMs: checkTimeoutMs });
  },
});

function toArguments(options: Ext4FormatOptions, discard: boolean): string[] {
  const { blockSizeBytes, bytesPerInode, inodeSizeBytes, reservedBlocksPercent = 0, lazyInit = true } = options;
  const eager = lazyInit ? "" : ",lazy_itable_init=0,lazy_journal_init=0";
  return [
    ...["-m", `${reservedBlocksPercent}`],
    ...(blockSizeBytes === undefined ? [] : ["-b", `${blockSizeBytes}`]),
    ...(bytesPerInode === undefined ? [] : ["-i", `${bytesPerInode}`]),
    ...(inodeSizeBytes === undefined ? [] : ["-I", `${inodeSizeBytes}`]),
    ...["-E", `${discard ? "discard" : "nodiscard"}${eager}`],
  ];
}

/** Bits of e2fsck(8)'s exit code: errors were corrected, and a root file system would need a reboot; errors are left. */
const repairedBits = 1 | 2;
const unrepairedBit = 4;

// A clean file system takes no longer than reading its superblock; one with a journal to replay no longer than that.
async function repair(runCommand: RunCommand, devicePath: string): Promise<void> {
  try {
    await runCommand("e2fsck", ["-p", devicePath], { timeoutMs: checkTimeoutMs });
  } catch (cause) {
    if (!(cause instanceof CommandError) || cause.exitCode === undefined) throw cause;
    if ((cause.exitCode & ~repairedBits) === 0) return;
    const report = shorten(`${cause.stdout}\n${cause.stderr}`);
    if ((cause.exitCode & unrepairedBit) === 0) {
      const found = `e2fsck could not check ${devicePath}, which was not mounted (exit code ${cause.exitCode}: ${report})`;
      throw new DriverError("internal", found, { cause });
    }
    const message = `the ext4 file system of ${devicePath} has errors that need a decision, it was not mounted`;
    throw new DriverError("refused", `${message}: copy the image, then run e2fsck on it yourself (${report})`, {
      cause,
    });
  }
}

// Where the checksums' seed is kept in the superblock, a new uuid changes the superblock alone: nothing can be cut short.
async function renewIdentity(runCommand: RunCommand, devicePath: string): Promise<void> {
  const { stdout } = await runCommand("dumpe2fs", ["-h", devicePath]);
  const features = /^Filesystem features:(.*)$/m.exec(stdout)?.[1]?.trim().split(/\s+/) ?? [];
  if (features.includes("metadata_csum") && !features.includes("metadata_csum_seed")) {
    await runCommand("tune2fs", ["-O", "metadata_csum_seed", devicePath]);
  }
  await runCommand("tune2fs", ["-U", "random", devicePath]);
}
