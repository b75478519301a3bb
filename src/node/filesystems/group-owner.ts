import { chmod, chown, stat } from "node:fs/promises";
import type { RunCommand } from "../../system/command.js";

const timeoutMs = 10 * 60_000;
/** Read, write and search for the group, and new files are the group's as well. */
const groupBits = 0o2070;

/**
 * Lets a group read and write all files of a mounted file system, and all that are made later. The root is changed last: one
 * that is the group's already says that all the rest is. Nobody else may be changing the files meanwhile, for a program that
 * follows a link made in the wrong moment would change a file of the node.
 */
export async function giveToGroup(directory: string, gid: number, runCommand: RunCommand): Promise<void> {
  if (await isGiven(directory, gid)) return;
  const find = ["-P", directory, "-xdev", "-mindepth", "1"];
  const run = (...rest: string[]) => runCommand("find", [...find, ...rest], { timeoutMs });
  await run("-exec", "chgrp", "--no-dereference", String(gid), "{}", "+");
  await run("-type", "d", "-exec", "chmod", "g+rwxs", "{}", "+");
  await run("-type", "f", "-exec", "chmod", "g+rw", "{}", "+");
  const { uid, mode } = await stat(directory);
  await chown(directory, uid, gid);
  await chmod(directory, (mode & 0o7777) | groupBits);
}

/** Whether the root of a file system says that all of it was given to the group. */
export async function isGiven(directory: string, gid: number): Promise<boolean> {
  const root = await stat(directory);
  return root.gid === gid && (root.mode & groupBits) === groupBits;
}
