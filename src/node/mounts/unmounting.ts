import { DriverError, toMessage } from "../../errors.js";
import type { Logger } from "../../log.js";
import type { MountEntry } from "../../system/mountinfo.js";
import { findBoundNode } from "./bound-node.js";
import { isMappingName } from "./mapping-name.js";
import type { Mounter } from "./mounter.js";
import { findMount } from "./target-path.js";

/** Takes away every mount at a path. A mount which is not of a ublk device or a mapping on one was not made here, and stays. */
export async function unmountAll(path: string, mounter: Mounter): Promise<void> {
  for (let entry = await findTop(path, mounter); entry !== undefined; entry = await findTop(path, mounter)) {
    if (!(await isOurs(entry, mounter))) {
      const message = `${path} has a mount of ${entry.source} which is not one of this driver's: unmount it yourself`;
      throw new DriverError("refused", message);
    }
    await unmountTop(entry, mounter);
  }
}

/**
 * Takes away one mount. One that is in use stays, unless its device is gone: then nobody can have anything to lose by it,
 * and those who still hold it get nothing but errors.
 */
export async function unmountTop(entry: MountEntry, mounter: Mounter): Promise<void> {
  const { mountPoint } = entry;
  try {
    await mounter.unmount(mountPoint);
  } catch (cause) {
    if (await isGone(entry, mounter)) return await mounter.unmount(mountPoint, { lazy: true });
    throw new DriverError("refused", `cannot unmount ${mountPoint}, is it in use? ${toMessage(cause)}`, { cause });
  }
}

/** Takes away the mounts at a path, from the top down, as far as their devices are gone. */
export async function unmountGone(path: string, { mounter, logger }: UnmountParts): Promise<void> {
  for (let entry = await findTop(path, mounter); entry !== undefined; entry = await findTop(path, mounter)) {
    if (!(await isGone(entry, mounter))) return;
    logger.warn({ path, source: entry.source }, "removing the mount of a device that is gone");
    await unmountTop(entry, mounter);
  }
}

export interface UnmountParts {
  mounter: Mounter;
  logger: Logger;
}

/**
 * Whether a mount is of a device of this driver that the kernel does not have any more, or of a mapping on one: the mapping
 * itself stays until it is closed.
 */
export async function isGone(entry: MountEntry, mounter: Mounter): Promise<boolean> {
  if (!(await isOurs(entry, mounter))) return false;
  if (entry.fsType === "btrfs") return await isBtrfsGone(entry, mounter);
  const isNode = findBoundNode(entry) !== undefined;
  const number = isNode ? await mounter.findDeviceNumber(entry.mountPoint) : entry.deviceNumber;
  return number === undefined || !(await mounter.hasDevice(number)) || (await mounter.hasLostBase(number));
}

/** The number of its mount tells nothing, but its device is the one of that name as long as somebody holds that. */
async function isBtrfsGone({ source }: MountEntry, mounter: Mounter): Promise<boolean> {
  if (source === missingDisk || !(await mounter.isHeld(source))) return true;
  const number = await mounter.findDeviceNumber(source);
  return number !== undefined && (await mounter.hasLostBase(number));
}

// btrfs forgets the name of a device that is gone. At a path of ours that was one of ours.
const missingDisk = "<missing disk>";

async function isOurs(entry: MountEntry, mounter: Mounter): Promise<boolean> {
  const { source, mountPoint, fsType } = entry;
  if (fsType === "btrfs" && source === missingDisk) return true;
  const node = findBoundNode(entry);
  if (node?.kernelName !== undefined) return await isOwnMappingNode(mountPoint, mounter);
  const [, name = node?.mappingName] = /^\/dev\/mapper\/(.+)$/.exec(source) ?? [];
  if (name !== undefined) return isMappingName(name);
  return node !== undefined || /\/ublkb\d+$/.test(source);
}

/** Of a node bound to a path. Nobody can have anything to lose by one whose mapping is gone. */
async function isOwnMappingNode(path: string, mounter: Mounter): Promise<boolean> {
  const number = await mounter.findDeviceNumber(path);
  if (number === undefined || !(await mounter.hasDevice(number))) return true;
  return isMappingName((await mounter.findMappingName(number)) ?? "");
}

async function findTop(path: string, mounter: Mounter): Promise<MountEntry | undefined> {
  return findMount(await mounter.list(), path);
}
