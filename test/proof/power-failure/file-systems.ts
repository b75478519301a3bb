import { runCommand } from "../../vm/suites/support/run-command.js";

export type FileSystem = "xfs" | "ext4";

export async function format(kind: FileSystem, device: string): Promise<void> {
  if (kind === "xfs") await runCommand("mkfs.xfs", ["-q", "-f", "-K", device]);
  else await runCommand("mkfs.ext4", ["-q", "-F", "-E", "nodiscard", device]);
}

/** Fails when the unmounted file system is not clean. Its journal was replayed by a mount before. */
export async function checkClean(kind: FileSystem, device: string): Promise<void> {
  if (kind === "xfs") await runCommand("xfs_repair", ["-n", device]);
  else await runCommand("fsck.ext4", ["-f", "-n", device]);
}
