import type { Pools } from "../pools/pool/pools.js";
import type { VolumeMark } from "../pools/records/volume-mark.js";
import type { Volume } from "../pools/volume/volume.js";

/**
 * The paths at which pods have the node of a raw block volume. They are noted because a node that outlived its device tells
 * its number and not its volume. A path that is noted without need does no harm: kubelet's have the pod and the volume in them.
 */
export class PublishedNodes {
  private readonly mark: VolumeMark;

  constructor(volume: Volume, pools: Pools) {
    this.mark = pools.poolOf(volume).mark(volume.id, "published-nodes");
  }

  async list(): Promise<string[]> {
    return (await this.mark.read()).split(separator).filter(Boolean);
  }

  /** Notes one more path, and forgets those at which nothing is mounted. */
  async note(path: string, isMounted: (path: string) => boolean): Promise<void> {
    const others = (await this.list()).filter((noted) => noted !== path && isMounted(noted));
    const text = [...others, path].join(separator);
    if (text !== (await this.mark.read())) await this.mark.set(text);
  }
}

// The only character that no path has.
const separator = "\0";
