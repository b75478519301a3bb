import { readdir, readFile, realpath } from "node:fs/promises";
import { basename, join } from "node:path";
import { hasErrno } from "../errors.js";
import type { FsType } from "../pools/volume/volume.js";

/** Errors that a file system has counted without giving up. */
export interface ErrorCount {
  count: number;
  /** What was counted, for people. */
  what: string;
  remedy: string;
}

/**
 * What the file system on this device has counted, by sysfs, which answers although the file system may hang. Undefined
 * when that is nothing; xfs does not count, it shuts down.
 */
export async function readErrorCount(
  fsType: string,
  deviceNumber: string,
  sysfs: string,
): Promise<ErrorCount | undefined> {
  const read = readers[fsType as FsType];
  if (read === undefined) return undefined;
  try {
    // The name that the kernel has for the device, which a mapping is not called by elsewhere.
    const deviceName = basename(await realpath(join(sysfs, "dev/block", deviceNumber)));
    const counted = await read(deviceName, join(sysfs, "fs", fsType));
    return counted.count > 0 ? counted : undefined;
  } catch (error) {
    if (hasErrno(error, "ENOENT")) return undefined;
    throw error;
  }
}

const readers: Readonly<Partial<Record<FsType, (deviceName: string, folder: string) => Promise<ErrorCount>>>> = {
  ext4: readExt4Errors,
  btrfs: readBtrfsErrors,
};

/** What ext4 keeps in its superblock until a check finds it clean. */
async function readExt4Errors(deviceName: string, folder: string): Promise<ErrorCount> {
  const count = Number(await readFile(join(folder, deviceName, "errors_count"), "utf8"));
  return { count, what: `${count} errors`, remedy: "have it checked, by staging it again" };
}

/** The counters of `btrfs device stats`, which it keeps on the disk until they are reset. */
async function readBtrfsErrors(deviceName: string, folder: string): Promise<ErrorCount> {
  const counters = new Map<string, number>();
  for (const fsid of await readdir(folder)) {
    const devices = await readdir(join(folder, fsid, "devices")).catch((): string[] => []); // `features` has none
    if (!devices.includes(deviceName)) continue;
    for (const deviceId of await readdir(join(folder, fsid, "devinfo"))) {
      const text = await readFile(join(folder, fsid, "devinfo", deviceId, "error_stats"), "utf8");
      for (const [, name = "", value] of text.matchAll(/^(\w+)_errs (\d+)$/gm)) {
        counters.set(name, (counters.get(name) ?? 0) + Number(value));
      }
    }
  }
  const found = [...counters].filter(([, value]) => value > 0);
  const count = found.reduce((sum, [, value]) => sum + value, 0);
  const what = `${count} errors (${found.map(([name, value]) => `${name} ${value}`).join(", ")})`;
  return {
    count,
    what,
    remedy: "find the files by btrfs scrub, restore them, and reset the counters by btrfs device stats -z",
  };
}
