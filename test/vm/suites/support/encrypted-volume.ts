import { readdir } from "node:fs/promises";
import { runCommand } from "./run-command.js";
import type { TestVolume } from "./test-volume.js";

export const passphrase = "correct-horse-battery-staple";

/** The smallest memory there is, because deriving keys takes long in a guest. */
export const encrypted = { encryption: "luks2", encryptionMemory: "32Mi" };

/** What the users of an encrypted volume have. */
export const mappingOf = ({ id }: TestVolume) => `/dev/mapper/ublk-csi-${id}`;

/** The N of the /dev/ublkbN below the mapping of a volume. */
export async function findDeviceIdBelow(volume: TestVolume): Promise<number> {
  const below = await readdir(`/sys/block/${await findKernelName(mappingOf(volume))}/slaves`);
  const id = /^ublkb(\d+)$/.exec(below.join())?.[1];
  if (id === undefined) throw new Error(`${mappingOf(volume)} lies on ${below.join()}, expected one ublk device`);
  return Number(id);
}

/** The kernel's name of a mapping, such as dm-0. */
export async function findKernelName(mapping: string): Promise<string> {
  return `dm-${(await runCommand("stat", ["-L", "--format=%Lr", mapping])).trim()}`;
}

export async function readSizeBytes(device: string): Promise<number> {
  return Number(await runCommand("blockdev", ["--getsize64", device]));
}

export async function restage(volume: TestVolume): Promise<void> {
  await volume.unpublish();
  await volume.unstage();
  await volume.stage();
  await volume.publish();
}
