import { DriverError } from "../errors.js";
import {
  type NodePublishVolumeRequest,
  type NodeServer,
  NodeServiceCapability_RPC_Type as RpcType,
  VolumeUsage_Unit as Unit,
  type VolumeUsage,
} from "../gen/csi/csi.js";
import type { VolumeHealth } from "../health/volume-health.js";
import { isEphemeral, pickAttributes, readPodIdentity } from "../pools/parameters/ephemeral-attributes.js";
import { fromProtoRange } from "../rpc/capacity-range.js";
import type { Handlers } from "../rpc/handler.js";
import { requireField, requireVolumeId } from "../rpc/required.js";
import type { NodeTopology } from "../rpc/topology.js";
import { fromProtoCapability } from "../rpc/volume-capability.js";
import type { EphemeralRequest, EphemeralVolumes } from "./ephemeral-volumes.js";
import { createNodeHealthHandlers } from "./health-service.js";
import { KubeletDirectory } from "./mounts/kubelet-directory.js";
import type { NodeDependencies } from "./node-dependencies.js";
import { VolumeExpander } from "./volume-expander.js";
import { type PublishRequest, VolumePublisher } from "./volume-publisher.js";
import { VolumeStager } from "./volume-stager.js";
import { readVolumeStats, type Usage, type VolumeStats } from "./volume-stats.js";

const rpcTypes = [
  RpcType.STAGE_UNSTAGE_VOLUME,
  RpcType.GET_VOLUME_STATS,
  RpcType.EXPAND_VOLUME,
  RpcType.SINGLE_NODE_MULTI_WRITER,
  RpcType.VOLUME_MOUNT_GROUP,
  RpcType.GET_VOLUME_HEALTH,
  RpcType.GET_STORAGE_HEALTH,
];

export interface NodeOptions {
  nodeId: string;
  topology: NodeTopology;
  /** 0 leaves the number of volumes to the orchestrator. */
  volumeCountMax: bigint;
  /** Everything is staged and published below it. */
  kubeletDir: string;
  ephemeral: EphemeralVolumes;
  health: VolumeHealth;
}

/** The node's RPCs. */
export function createNodeService(dependencies: NodeDependencies, options: NodeOptions): Handlers<NodeServer> {
  const kubelet = new KubeletDirectory(options.kubeletDir);
  const stager = new VolumeStager(dependencies);
  const publisher = new VolumePublisher(dependencies);
  const { ephemeral } = options;
  const expander = new VolumeExpander(dependencies);
  return {
    nodeStageVolume: async (request) => {
      const volumeId = requireVolumeId(request.volumeId);
      const stagingPath = await kubelet.confine("staging_target_path", request.stagingTargetPath);
      const capability = fromProtoCapability(request.volumeCapability);
      await stager.stage({ volumeId, stagingPath, capability, secrets: request.secrets });
      return {};
    },
    nodeUnstageVolume: async ({ volumeId, stagingTargetPath }) => {
      requireVolumeId(volumeId);
      await stager.unstage(volumeId, await kubelet.confine("staging_target_path", stagingTargetPath));
      return {};
    },
    nodePublishVolume: async (request) => {
      if (isEphemeral(request.volumeContext)) await ephemeral.publish(await fromEphemeralRequest(request, kubelet));
      else await publisher.publish(await fromPublishRequest(request, kubelet));
      return {};
    },
    nodeUnpublishVolume: async (request) => {
      const volumeId = requireVolumeId(request.volumeId);
      const targetPath = await kubelet.confine("target_path", request.targetPath);
      if (ephemeral.has(volumeId)) await ephemeral.unpublish(volumeId, targetPath);
      else await publisher.unpublish(targetPath);
      return {};
    },
    nodeGetVolumeStats: async ({ volumeId, volumePath }) => {
      const path = requireField("volume_path", volumePath);
      return { usage: toProtoUsage(await readVolumeStats(requireVolumeId(volumeId), path, dependencies)) };
    },
    nodeExpandVolume: async (request) => {
      const volumeId = requireVolumeId(request.volumeId);
      const volumePath = requireField("volume_path", request.volumePath);
      const range = fromProtoRange(request.capacityRange);
      const { secrets } = request;
      return { capacityBytes: await expander.expand({ volumeId, volumePath, range, secrets }) };
    },
    ...createNodeHealthHandlers(options.health, dependencies),
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

async function fromPublishRequest(
  request: NodePublishVolumeRequest,
  kubelet: KubeletDirectory,
): Promise<PublishRequest> {
  const volumeId = requireVolumeId(request.volumeId);
  const targetPath = await kubelet.confine("target_path", request.targetPath);
  const capability = fromProtoCapability(request.volumeCapability);
  // CSI has its own code for this field, because it means that staging was left out.
  if (request.stagingTargetPath === "") throw new DriverError("refused", "staging_target_path is not set");
  const stagingPath = await kubelet.confine("staging_target_path", request.stagingTargetPath);
  return { volumeId, stagingPath, targetPath, capability, readOnly: request.readonly };
}

async function fromEphemeralRequest(
  request: NodePublishVolumeRequest,
  kubelet: KubeletDirectory,
): Promise<EphemeralRequest> {
  const { volumeContext, stagingTargetPath } = request;
  const volumeId = requireVolumeId(request.volumeId);
  const targetPath = await kubelet.confine("target_path", request.targetPath);
  const capability = fromProtoCapability(request.volumeCapability);
  if (stagingTargetPath !== "")
    throw new DriverError("invalid", "staging_target_path is set: inline volumes have none");
  const claim = { ...readPodIdentity(volumeContext), targetPath, attributes: pickAttributes(volumeContext) };
  return { volumeId, capability, claim, readOnly: request.readonly };
}

function toProtoUsage({ bytes, inodes }: VolumeStats): VolumeUsage[] {
  const usages = [toProtoEntry(bytes, Unit.BYTES)];
  return inodes === undefined ? usages : [...usages, toProtoEntry(inodes, Unit.INODES)];
}

function toProtoEntry(usage: Usage, unit: Unit): VolumeUsage {
  return { ...usage, unit };
}
