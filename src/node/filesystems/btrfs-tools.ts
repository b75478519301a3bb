import type { BtrfsFormatOptions } from "../../pools/volume/format-options.js";
import type { RunCommand } from "../../system/command.js";
import { reportOf } from "./check-report.js";
import { checkTimeoutMs, type FilesystemTools, formatTimeoutMs } from "./filesystem-tools.js";
import { replayLog } from "./private-mount.js";

/** btrfs-progs. A mount finds the last consistent tree by itself. */
export const btrfsTools = (runCommand: RunCommand): FilesystemTools => ({
  format: async (devicePath, { discard, options }) => {
    const args = ["-q", ...(discard ? [] : ["-K"]), ...toArguments(options.btrfs ?? {}), devicePath];
    await runCommand("mkfs.btrfs", args, { timeoutMs: formatTimeoutMs });
  },
  repair: async () => undefined,
  diagnose: (devicePath) =>
    reportOf(runCommand("btrfs", ["check", "--readonly", devicePath], { timeoutMs: checkTimeoutMs })),
  renewIdentity: (devicePath, { scratchPath }) => renewIdentity(runCommand, { devicePath, scratchPath }),
  grow: async ({ mountPoint }) => {
    await runCommand("btrfs", ["filesystem", "resize", "max", mountPoint], { timeoutMs: checkTimeoutMs });
  },
});

function toArguments({ nodeSizeBytes, metadataProfile, checksum }: BtrfsFormatOptions): string[] {
  return [
    ...(nodeSizeBytes === undefined ? [] : ["-n", `${nodeSizeBytes}`]),
    ...(metadataProfile === undefined ? [] : ["-m", metadataProfile]),
    ...(checksum === undefined ? [] : ["--csum", checksum]),
  ];
}

interface RenewRequest {
  devicePath: string;
  scratchPath: string;
}

// Only the superblock changes: -m keeps the old uuid inside of it for the trees, where -u would rewrite every tree block.
async function renewIdentity(runCommand: RunCommand, { devicePath, scratchPath }: RenewRequest): Promise<void> {
  if (await hasLog(runCommand, devicePath)) {
    await replayLog(runCommand, { devicePath, scratchPath, fsType: "btrfs", options: "noatime" });
  }
  await runCommand("btrfstune", ["-m", devicePath]);
}

/** What was fsynced after the last commit lies in a log tree, which any change by btrfstune would make unreadable. */
async function hasLog(runCommand: RunCommand, devicePath: string): Promise<boolean> {
  const { stdout } = await runCommand("btrfs", ["inspect-internal", "dump-super", devicePath]);
  return !/^log_root\s+0$/m.test(stdout);
}
