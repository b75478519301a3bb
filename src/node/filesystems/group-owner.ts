import type { RunCommand } from "../../system/command.js";

const timeoutMs = 10 * 60_000;
/** Read, write and search for the group, and new files are the group's as well. */
const groupBits = 0o2070;

/**
 * Lets a group read and write all files of a mounted file system, and all that are made later. The root is changed last: one
 * that is the group's already says that all the rest is. Nobody else may be changing the files meanwhile, for a program that
 * follows a link made in the wrong moment would change a file of the node. All is done by programs, because a file system may
 * not answer: see FilesystemLook.
 */
export async function giveToGroup(directory: string, gid: number, runCommand: RunCommand): Promise<void> {
  if (await isGiven(directory, gid, runCommand)) return;
  const find = ["-P", directory, "-xdev", "-mindepth", "1"];
  const run = (...rest: string[]) => runCommand("find", [...find, ...rest], { timeoutMs });
  await run("-exec", "chgrp", "--no-dereference", String(gid), "{}", "+");
  await run("-type", "d", "-exec", "chmod", "g+rwxs", "{}", "+");
  await run("-type", "f", "-exec", "chmod", "g+rw", "{}", "+");
  await runCommand("chgrp", [String(gid), directory], { timeoutMs });
  await runCommand("chmod", ["g+rwxs", directory], { timeoutMs });
}

/** Whether the root of a file system says that all of it was given to the group. */
export async function isGiven(directory: string, gid: number, runCommand: RunCommand): Promise<boolean> {
  const { stdout } = await runCommand("stat", ["--format=%g %f", directory]);
  const [, owner, mode] = /^(\d+) ([0-9a-f]+)\n$/.exec(stdout) ?? [];
  if (owner === undefined || mode === undefined) throw new Error(`stat has said something unknown: ${stdout}`);
  return Number(owner) === gid && (Number.parseInt(mode, 16) & groupBits) === groupBits;
}
