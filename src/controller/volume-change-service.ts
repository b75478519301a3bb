import type {
  ControllerExpandVolumeRequest,
  ControllerExpandVolumeResponse,
  ControllerServer,
  Volume as ProtoVolume,
} from "../gen/csi/csi.js";
import type { Pools } from "../pools/pool/pools.js";
import type { VolumeExpander } from "../pools/provisioning/volume-expander.js";
import type { VolumeModifier } from "../pools/provisioning/volume-modifier.js";
import type { Volume } from "../pools/volume/volume.js";
import { fromProtoRange } from "../rpc/capacity-range.js";
import type { Handlers } from "../rpc/handler.js";
import { requireVolumeId } from "../rpc/required.js";
import { fromProtoCapability } from "../rpc/volume-capability.js";

export interface VolumeChangeDependencies {
  pools: Pools;
  expander: VolumeExpander;
  modifier: VolumeModifier;
  toProto: (volume: Volume) => ProtoVolume;
}

/** The controller's RPCs about one volume that exists. */
export function createVolumeChangeHandlers(
  dependencies: VolumeChangeDependencies,
): Pick<Handlers<ControllerServer>, "controllerExpandVolume" | "controllerModifyVolume" | "controllerGetVolume"> {
  const { pools, expander, modifier, toProto } = dependencies;
  return {
    controllerExpandVolume: (request) => expand(request, expander),
    controllerModifyVolume: async ({ volumeId, mutableParameters }) => {
      await modifier.modify(requireVolumeId(volumeId), mutableParameters);
      return {};
    },
    // No node is ever published to by the controller: the node's services do all there is to do.
    controllerGetVolume: async ({ volumeId }) => ({
      volume: toProto(pools.getVolume(requireVolumeId(volumeId))),
      status: { publishedNodeIds: [] },
    }),
  };
}

async function expand(
  { volumeId, capacityRange, volumeCapability }: ControllerExpandVolumeRequest,
  expander: VolumeExpander,
): Promise<ControllerExpandVolumeResponse> {
  const { sizeBytes, needsNode } = await expander.expand({
    volumeId: requireVolumeId(volumeId),
    range: fromProtoRange(capacityRange),
    capability: volumeCapability === undefined ? undefined : fromProtoCapability(volumeCapability),
  });
  return { capacityBytes: sizeBytes, nodeExpansionRequired: needsNode };
}
