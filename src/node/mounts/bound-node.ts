import type { MountEntry } from "../../system/mountinfo.js";
import type { Mounter } from "./mounter.js";
import { findMount } from "./target-path.js";

/** A mount of a device's node, as the root of its entry tells. */
export interface BoundNode {
  /** The kernel's own name of a mapping. */
  kernelName: string | undefined;
  /** The name of a mapping. */
  mappingName: string | undefined;
  /** Whether the node was taken out of /dev since, with its device. */
  isDeleted: boolean;
}

/** What a mount is the node of; undefined when it is no node of a ublk device or a mapping. */
export function findBoundNode({ root }: MountEntry): BoundNode | undefined {
  const match = nodePattern.exec(root);
  if (match === null) return undefined;
  const [, kernelName, mappingName, deleted] = match;
  return { kernelName, mappingName, isDeleted: deleted !== undefined };
}

// Below /dev. Where udev runs, the name of a mapping is only a link to the kernel's node.
const nodePattern = /^\/(?:ublkb\d+|(dm-\d+)|mapper\/([^/]+))(\/\/deleted)?$/;

/**
 * A node that outlived its device, at the path where a pod has it. All that is left of the device is its number, which the
 * kernel gives again: then the node leads to the device that has the number now.
 */
export interface LeftNode {
  entry: MountEntry;
  number: string;
}

/** The nodes in a mount table that outlived their devices. */
export async function listLeftNodes(entries: readonly MountEntry[], mounter: Mounter): Promise<LeftNode[]> {
  const left: LeftNode[] = [];
  for (const entry of entries) {
    // A path shows the mount that was made there last; there is no way to ask about those below it.
    if (!findBoundNode(entry)?.isDeleted || findMount(entries, entry.mountPoint) !== entry) continue;
    const number = await mounter.findDeviceNumber(entry.mountPoint);
    if (number !== undefined) left.push({ entry, number });
  }
  return left;
}
