import { mkdtemp, rmdir } from "node:fs/promises";
import { findMount } from "./mounts.js";
import { runCommand } from "./run-command.js";

/** Unmounts a file system, has its own checker look for errors without repairing any, and mounts it where it was. */
export async function checkFileSystem(mountPoint: string): Promise<void> {
  const mount = findMount(mountPoint);
  if (mount === undefined) throw new Error(`nothing is mounted at ${mountPoint}`);
  const { source, fsType } = mount;
  await runCommand("umount", [mountPoint]);
  try {
    if (fsType === "xfs") await checkXfs(source);
    else await runCommand("e2fsck", ["-f", "-n", source]);
  } finally {
    await runCommand("mount", ["-t", fsType, source, mountPoint]);
  }
}

/** A clean log is part of the check: xfs_repair does not look behind a dirty one. */
async function checkXfs(source: string): Promise<void> {
  const directory = await mkdtemp("/run/xfs-check-");
  await runCommand("mount", ["-t", "xfs", source, directory]);
  await runCommand("umount", [directory]);
  await rmdir(directory);
  await runCommand("xfs_repair", ["-n", source]);
}
