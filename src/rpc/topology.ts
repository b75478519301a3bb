import type { Topology } from "../gen/csi/csi.js";

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

  /** Whether this node lies in the given topology: it must name our key, and nothing that we do not have. */
  matches({ segments }: Topology): boolean {
    return segments[this.key] === this.nodeId && Object.keys(segments).length === 1;
  }
}
