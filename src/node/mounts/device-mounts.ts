import { basename } from "node:path";
import type { BlockDevice } from "../../engine/block-devices.js";
import { DriverError } from "../../errors.js";
import type { MountEntry } from "../../system/mountinfo.js";
import { type LeftNode, listLeftNodes } from "./bound-node.js";
import type { Mounter } from "./mounter.js";
import { findMount } from "./target-path.js";

/** A device together with the number under which the kernel's mount table knows it. */
export interface NumberedDevice extends BlockDevice {
  number: string;
  /** Another path of the same device, by which mount(8) may have put it into the table. */
  alias?: string;
}

/** The number of a device that must exist. */
export async function numberDevice(device: BlockDevice, mounter: Mounter): Promise<NumberedDevice> {
  const number = await mounter.findDeviceNumber(device.path);
  if (number !== undefined) return { ...device, number };
  const message = `${device.path} of volume ${device.volumeId} is not a block device on this node: is /dev the host's?`;
  throw new DriverError("internal", message);
}

/**
 * The mount table at one moment, and which of its mounts lead to one device. The kernel shows the number of the device for
 * every file system but btrfs, which has an anonymous one: there its name counts, and that it is in use.
 */
export class DeviceMounts {
  private constructor(
    readonly entries: readonly MountEntry[],
    private readonly device: NumberedDevice,
    private readonly btrfsNumber: string | undefined,
    private readonly leftNodes: readonly LeftNode[],
  ) {}

  static async read(device: NumberedDevice, mounter: Mounter): Promise<DeviceMounts> {
    const entries = await mounter.list();
    const btrfsNumber = await findBtrfsNumber(entries, device, mounter);
    return new DeviceMounts(entries, device, btrfsNumber, await listLeftNodes(entries, mounter));
  }

  /** The mount one sees at a path: the last one made there. */
  at(path: string): MountEntry | undefined {
    return findMount(this.entries, path);
  }

  /** Whether a mount shows the file system of the device. */
  shows({ deviceNumber }: MountEntry): boolean {
    return deviceNumber === this.device.number || deviceNumber === this.btrfsNumber;
  }

  /** Whether a mount is of a node that outlived its device, and leads to this one by its number. */
  isLeftNode(entry: MountEntry): boolean {
    return this.leftNodes.some((left) => left.entry === entry && left.number === this.device.number);
  }

  /** Where the file system of the device can be written. */
  get writable(): MountEntry | undefined {
    return this.entries.find((entry) => this.shows(entry) && !entry.options.includes("ro"));
  }

  /**
   * Every mount through which the device can be reached: of its file system, of its device node, or of the node of another
   * device that has had its number before.
   */
  get own(): MountEntry[] {
    const { path, alias } = this.device;
    const nodes = [`/${basename(path)}`, alias?.replace(/^\/dev/, "")];
    return this.entries.filter((entry) => {
      if (entry.mountPoint === path) return false;
      return this.shows(entry) || nodes.includes(entry.root) || this.isLeftNode(entry);
    });
  }
}

// A name is given again after its device is gone, so a mount by this name may be of a dead predecessor.
async function findBtrfsNumber(
  entries: readonly MountEntry[],
  { path, alias, volumeId }: NumberedDevice,
  mounter: Mounter,
): Promise<string | undefined> {
  const named = entries.filter(({ fsType, source }) => fsType === "btrfs" && [path, alias].includes(source));
  const [number, ...others] = new Set(named.map((entry) => entry.deviceNumber));
  if (number === undefined || !(await mounter.isHeld(path))) return undefined;
  if (others.length === 0) return number;
  const places = named.map((entry) => entry.mountPoint).join(", ");
  const message = `more than one file system claims to be on ${path} of volume ${volumeId} (${places})`;
  throw new DriverError("refused", `${message}: unmount those whose files cannot be read`);
}
