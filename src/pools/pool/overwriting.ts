import { statfs } from "node:fs/promises";
import type { RunCommand } from "../../system/command.js";

/** What statfs(2) says of a btrfs. */
const btrfsType = 0x9123683e;

const timeoutMs = 10_000;

export interface OverwritingParts {
  runCommand: RunCommand;
  /** The type of the file system of a path, as statfs(2) has it. */
  readType?: (path: string) => Promise<number>;
}

/**
 * Has images that are made below these directories from now on overwritten where they are, also on btrfs, which by default
 * writes every block to a new place and keeps a checksum of it. A thick volume would then need new blocks for each write,
 * and memory that changes while it is written directly, as that of a block device may, would be unreadable afterwards.
 * Blocks can be shared all the same: a shared one moves once.
 */
export async function overwriteInPlace(directories: readonly string[], parts: OverwritingParts): Promise<void> {
  const { runCommand, readType = readTypeOf } = parts;
  for (const path of directories) {
    if ((await readType(path)) === btrfsType) await runCommand("chattr", ["+C", path], { timeoutMs });
  }
}

async function readTypeOf(path: string): Promise<number> {
  return (await statfs(path)).type;
}
