import { DriverError } from "../errors.js";
import {
  type NodePublishVolumeRequest,
  type NodeServer,
  NodeServiceCapability_RPC_Type as RpcType,
  VolumeUsage_Unit as Unit,
  type VolumeUsage,
} from "../gen/csi/csi.js";
import type { Handlers } from "../rpc/handler.js";
import { requireField, requirePath, requireVolumeId } from "../rpc/required.js";
import type { NodeTopology } from "../rpc/topology.js";
import { fromProtoCapability } from "../rpc/volume-capability.js";
import type { NodeDependencies } from "./node-dependencies.js";
import { type PublishRequest, VolumePublisher } from "./volume-publisher.js";
import { VolumeStager } from "./volume-stager.js";
import { readVolumeStats, type Usage, type VolumeStats } from "./volume-stats.js";

const rpcTypes = [RpcType.STAGE_UNSTAGE_VOLUME, RpcType.GET_VOLUME_STATS, RpcType.SINGLE_NODE_MULTI_WRITER];

export interface NodeOptions {
  nodeId: string;
  topology: NodeTopology;
  /** 0 leaves the number of volumes to the orchestrator. */
  volumeCountMax: bigint;
}

/** The node's RPCs. */
export function createNodeService(dependencies: NodeDependencies, options: NodeOptions): Handlers<NodeServer> {
  const stager = new VolumeStager(dependencies);
  const publisher = new VolumePublisher(dependencies);
  return {
    nodeStageVolume: async (request) => {
      const volumeId = requireVolumeId(request.volumeId);
      const stagingPath = requirePath("staging_target_path", request.stagingTargetPath);
      const capability = fromProtoCapability(request.volumeCapability);
      await stager.stage({ volumeId, stagingPath, capability, secrets: request.secrets });
      return {};
    },
    nodeUnstageVolume: async ({ volumeId, stagingTargetPath }) => {
      await stager.unstage(requireVolumeId(volumeId), requirePath("staging_target_path", stagingTargetPath));
      return {};
    },
    nodePublishVolume: async (request) => {
      await publisher.publish(fromPublishRequest(request));
      return {};
    },
    nodeUnpublishVolume: async ({ volumeId, targetPath }) => {
      requireVolumeId(volumeId);
      await publisher.unpublish(requirePath("target_path", targetPath));
      return {};
    },
    nodeGetVolumeStats: async ({ volumeId, volumePath }) => {
      const path = requireField("volume_path", volumePath);
      return { usage: toProtoUsage(await readVolumeStats(requireVolumeId(volumeId), path, dependencies)) };
    },
    nodeGetCapabilities: async () => ({
      capabilities: rpcTypes.map((type) => ({ type: { $case: "rpc", value: { type } } })),
    }),
    nodeGetInfo: async () => ({
      nodeId: options.nodeId,
      maxVolumesPerNode: options.volumeCountMax,
      accessibleTopology: options.topology.toProto(),
    }),
  };
}

function fromPublishRequest(request: NodePublishVolumeRequest): PublishRequest {
  const volumeId = requireVolumeId(request.volumeId);
  const targetPath = requirePath("target_path", request.targetPath);
  const capability = fromProtoCapability(request.volumeCapability);
  // CSI has its own code for this field, because it means that staging was left out.
  if (request.stagingTargetPath === "") throw new DriverError("refused", "staging_target_path is not set");
  const stagingPath = requirePath("staging_target_path", request.stagingTargetPath);
  return { volumeId, stagingPath, targetPath, capability, readOnly: request.readonly };
}

function toProtoUsage({ bytes, inodes }: VolumeStats): VolumeUsage[] {
  const usages = [toProtoEntry(bytes, Unit.BYTES)];
  return inodes === undefined ? usages : [...usages, toProtoEntry(inodes, Unit.INODES)];
}

function toProtoEntry(usage: Usage, unit: Unit): VolumeUsage {
  return { ...usage, unit };
}
