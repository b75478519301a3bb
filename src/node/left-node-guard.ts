import { DriverError } from "../errors.js";
import type { Pools } from "../pools/pool/pools.js";
import type { Volume } from "../pools/volume/volume.js";
import { findBoundNode, type LeftNode, listLeftNodes } from "./mounts/bound-node.js";
import type { NumberedDevice } from "./mounts/device-mounts.js";
import type { Mounter } from "./mounts/mounter.js";
import { PublishedNodes } from "./published-nodes.js";

/**
 * Keeps the device of one volume from a pod that was left with the node of another's: its container may use the number for as
 * long as it runs, whoever has it. The kernel gives a new device the lowest number that is free, and cannot be asked for
 * another. A node that pods were left with of the same volume leads to the right data again.
 */
export class LeftNodeGuard {
  constructor(private readonly parts: { pools: Pools; mounter: Mounter }) {}

  /** Before there is a device: nobody is to have it, be it for a moment. */
  async assertNoneComesNext(volume: Volume): Promise<void> {
    for (const node of await this.listForeign(volume)) {
      if (!isOfKind(node, volume) || !(await this.comesNext(node.number))) continue;
      throw new DriverError("refused", explain(volume, node));
    }
  }

  /** Who else could reach a device that was made, because which number it has is certain only then; undefined when nobody can. */
  async findAccess(volume: Volume, { number }: NumberedDevice): Promise<string | undefined> {
    const node = (await this.listForeign(volume)).find((left) => left.number === number);
    return node && explain(volume, node);
  }

  private async listForeign(volume: Volume): Promise<LeftNode[]> {
    const { pools, mounter } = this.parts;
    const left = await listLeftNodes(await mounter.list(), mounter);
    if (left.length === 0) return [];
    const own = await new PublishedNodes(volume, pools).list();
    return left.filter(({ entry }) => !own.includes(entry.mountPoint));
  }

  // A number without a device may still be taken, by one that is gone and held open: then the next device has a higher one.
  private async comesNext(number: string): Promise<boolean> {
    const { mounter } = this.parts;
    const [major, minor] = number.split(":");
    if (await mounter.hasDevice(number)) return false;
    for (let lower = 0; lower < Number(minor); lower++) {
      if (!(await mounter.hasDevice(`${major}:${lower}`))) return false;
    }
    return true;
  }
}

// Mappings have numbers of their own, and only encrypted volumes have mappings.
function isOfKind({ entry }: LeftNode, { parameters }: Volume): boolean {
  const { kernelName, mappingName } = findBoundNode(entry) ?? {};
  return (kernelName ?? mappingName) === undefined || parameters.encryption !== undefined;
}

function explain({ id }: Volume, { entry: { mountPoint }, number }: LeftNode): string {
  const message = `${mountPoint} of a pod has the node of a device that is gone, and its number ${number}`;
  return `${message} would lead to volume ${id} now: stop that pod first`;
}
