import { basename } from "node:path";
import type { BlockDevice } from "../engine/block-devices.js";
import { DriverError, toMessage } from "../errors.js";
import type { MountEntry } from "../system/mountinfo.js";
import type { Mounter } from "./mounter.js";
import { findMount } from "./target-path.js";

/** A device together with the number under which the kernel's mount table knows it. */
export interface NumberedDevice extends BlockDevice {
  number: string;
}

/** The number of a device that must exist. */
export async function numberDevice(device: BlockDevice, mounter: Mounter): Promise<NumberedDevice> {
  const number = await mounter.findDeviceNumber(device.path);
  if (number !== undefined) return { ...device, number };
  const message = `${device.path} of volume ${device.volumeId} is not a block device on this node: is /dev the host's?`;
  throw new DriverError("internal", message);
}

/** Every mount through which a device can be reached: of its file system, or of its device node. */
export function findDeviceMounts(mounts: readonly MountEntry[], device: NumberedDevice): MountEntry[] {
  return mounts.filter((entry) => {
    if (entry.mountPoint === device.path) return false;
    return entry.deviceNumber === device.number || isNodeOf(entry, device);
  });
}

/** Takes away every mount at a path. A mount which is not of a ublk device was not made here, and stays. */
export async function unmountAll(path: string, mounter: Mounter): Promise<void> {
  for (let entry = await findTop(path, mounter); entry !== undefined; entry = await findTop(path, mounter)) {
    if (!isUblkMount(entry)) {
      const message = `${path} has a mount of ${entry.source} which is not one of this driver's: unmount it yourself`;
      throw new DriverError("refused", message);
    }
    await unmountTop(path, mounter);
  }
}

async function findTop(path: string, mounter: Mounter): Promise<MountEntry | undefined> {
  return findMount(await mounter.list(), path);
}

async function unmountTop(path: string, mounter: Mounter): Promise<void> {
  try {
    await mounter.unmount(path);
  } catch (cause) {
    throw new DriverError("refused", `cannot unmount ${path}, is it in use? ${toMessage(cause)}`, { cause });
  }
}

function isNodeOf(entry: MountEntry, device: BlockDevice): boolean {
  return entry.root === `/${basename(device.path)}`;
}

function isUblkMount({ source, root }: MountEntry): boolean {
  return /\/ublkb\d+$/.test(source) || /^\/ublkb\d+(\/\/deleted)?$/.test(root);
}
