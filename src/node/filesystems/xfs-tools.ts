import type { XfsFormatOptions } from "../../pools/volume/format-options.js";
import type { RunCommand } from "../../system/command.js";
import { reportOf } from "./check-report.js";
import { checkTimeoutMs, type FilesystemTools, formatTimeoutMs } from "./filesystem-tools.js";
import { replayLog } from "./private-mount.js";

/** xfsprogs. A mount replays the log itself; xfs_repair never throws it away here, because that loses what was fsynced. */
export const xfsTools = (runCommand: RunCommand): FilesystemTools => ({
  format: async (devicePath, { discard, options }) => {
    const args = ["-q", ...(discard ? [] : ["-K"]), ...toArguments(options.xfs ?? {}), devicePath];
    await runCommand("mkfs.xfs", args, { timeoutMs: formatTimeoutMs });
  },
  repair: async () => undefined,
  diagnose: (devicePath) => reportOf(runCommand("xfs_repair", ["-n", devicePath], { timeoutMs: checkTimeoutMs })),
  renewIdentity: async (devicePath, { scratchPath }) => {
    await replayLog(runCommand, { devicePath, scratchPath, fsType: "xfs", options: "nouuid" });
    await runCommand("xfs_admin", ["-U", "generate", devicePath]);
  },
  grow: async ({ mountPoint }) => {
    await runCommand("xfs_growfs", ["-d", mountPoint], { timeoutMs: checkTimeoutMs });
  },
});

function toArguments(options: XfsFormatOptions): string[] {
  const { blockSizeBytes, inodeSizeBytes, reflink, stripeUnitBytes, stripeWidth } = options;
  return [
    ...(blockSizeBytes === undefined ? [] : ["-b", `size=${blockSizeBytes}`]),
    ...(inodeSizeBytes === undefined ? [] : ["-i", `size=${inodeSizeBytes}`]),
    ...(reflink === undefined ? [] : ["-m", `reflink=${reflink ? 1 : 0}`]),
    ...(stripeUnitBytes === undefined ? [] : ["-d", `su=${stripeUnitBytes},sw=${stripeWidth ?? 1}`]),
  ];
}
