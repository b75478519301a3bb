import { DriverError } from "../errors.js";
import type { Topology, TopologyRequirement } from "../gen/csi/csi.js";

/** Where the volumes of this node can be used: on this node and nowhere else. */
export class NodeTopology {
  private readonly key: string;

  constructor(
    driverName: string,
    private readonly nodeId: string,
  ) {
    this.key = `topology.${driverName}/node`;
  }

  toProto(): Topology {
    return { segments: { [this.key]: this.nodeId } };
  }

  /** Fails when none of the requisite topologies is this node's: with `no_space`, so that the caller looks elsewhere. */
  assertReachable(requirements: TopologyRequirement | undefined): void {
    const requisite = requirements?.requisite ?? [];
    if (requisite.length === 0 || requisite.some((candidate) => this.matches(candidate))) return;
    const here = JSON.stringify(this.toProto().segments);
    throw new DriverError("no_space", `no requisite topology is this node's, which has ${here}`);
  }

  /** Whether this node lies in the given topology: it must name our key, and nothing that we do not have. */
  matches({ segments }: Topology): boolean {
    return segments[this.key] === this.nodeId && Object.keys(segments).length === 1;
  }
}
