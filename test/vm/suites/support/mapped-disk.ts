import { runCommand } from "./run-command.js";

/** Puts a device-mapper device over the whole of a disk, and returns its path. */
export async function createMapping(
  name: string,
  describe: (sectorCount: string) => string,
  disk: string,
): Promise<string> {
  await runCommand("dmsetup", ["create", name, "--table", await describeTable(describe, disk)]);
  // The kernel's own name: without udev nobody makes the one in /dev/mapper.
  return `/dev/${(await runCommand("dmsetup", ["info", "-c", "--noheadings", "-o", "blkdevname", name])).trim()}`;
}

/** Gives a mapping another table while it is used; what waits in the old one goes on at once. */
export async function changeMapping(
  name: string,
  describe: (sectorCount: string) => string,
  disk: string,
): Promise<void> {
  await runCommand("dmsetup", ["reload", name, "--table", await describeTable(describe, disk)]);
  await runCommand("dmsetup", ["resume", "--nolockfs", name]);
}

export const removeMapping = (name: string) => runCommand("dmsetup", ["remove", "--retry", name]);

async function describeTable(describe: (sectorCount: string) => string, disk: string): Promise<string> {
  return describe((await runCommand("blockdev", ["--getsz", disk])).trim());
}
