import {
  type ControllerServer,
  type CreateVolumeRequest,
  type GetCapacityRequest,
  type GetCapacityResponse,
  type Volume as ProtoVolume,
  ControllerServiceCapability_RPC_Type as RpcType,
} from "../gen/csi/csi.js";
import type { VolumeHealth } from "../health/volume-health.js";
import type { Pools } from "../pools/pool/pools.js";
import type { VolumeExpander } from "../pools/provisioning/volume-expander.js";
import type { VolumeModifier } from "../pools/provisioning/volume-modifier.js";
import type { VolumeProvisioner } from "../pools/provisioning/volume-provisioner.js";
import type { Volume } from "../pools/volume/volume.js";
import { fromProtoRange } from "../rpc/capacity-range.js";
import { fromProtoContentSource, toProtoContentSource } from "../rpc/content-source.js";
import type { Handlers } from "../rpc/handler.js";
import { requireField, requireVolumeId } from "../rpc/required.js";
import type { NodeTopology } from "../rpc/topology.js";
import { fromProtoCapabilities, fromProtoCapability } from "../rpc/volume-capability.js";
import { createHealthHandlers } from "./health-service.js";
import { listPage } from "./page.js";
import { createValidationHandlers } from "./validation-service.js";
import { createVolumeChangeHandlers } from "./volume-change-service.js";

const rpcTypes = [
  RpcType.CREATE_DELETE_VOLUME,
  RpcType.LIST_VOLUMES,
  RpcType.GET_CAPACITY,
  RpcType.EXPAND_VOLUME,
  RpcType.MODIFY_VOLUME,
  RpcType.GET_VOLUME,
  RpcType.CREATE_DELETE_SNAPSHOT,
  RpcType.LIST_SNAPSHOTS,
  RpcType.CLONE_VOLUME,
  RpcType.GET_SNAPSHOT,
  RpcType.SINGLE_NODE_MULTI_WRITER,
  RpcType.GET_VOLUME_HEALTH,
  RpcType.LIST_VOLUME_HEALTH,
];

export interface ControllerDependencies {
  provisioner: VolumeProvisioner;
  expander: VolumeExpander;
  modifier: VolumeModifier;
  pools: Pools;
  health: VolumeHealth;
  topology: NodeTopology;
}

/** The controller's RPCs for the volumes of this node. */
export function createControllerService(dependencies: ControllerDependencies): Handlers<ControllerServer> {
  const { provisioner, pools, topology } = dependencies;
  const toProto = (volume: Volume) => toProtoVolume(volume, topology);
  return {
    createVolume: async (request) => ({ volume: toProto(await createVolume(request, dependencies)) }),
    deleteVolume: async ({ volumeId }) => {
      await provisioner.delete(requireVolumeId(volumeId));
      return {};
    },
    ...createVolumeChangeHandlers({ ...dependencies, toProto }),
    ...createHealthHandlers(dependencies.health),
    ...createValidationHandlers({ pools, toProto }),
    listVolumes: async ({ startingToken, maxEntries }) => {
      const { items, nextToken } = listPage(pools.listVolumes(), startingToken, maxEntries);
      return { entries: items.map((volume) => ({ volume: toProto(volume), status: undefined })), nextToken };
    },
    getCapacity: (request) => readCapacity(request, dependencies),
    controllerGetCapabilities: async () => ({
      capabilities: rpcTypes.map((type) => ({ type: { $case: "rpc", value: { type } } })),
    }),
  };
}

async function createVolume(
  request: CreateVolumeRequest,
  { provisioner, topology }: ControllerDependencies,
): Promise<Volume> {
  const name = requireField("name", request.name);
  const capabilities = fromProtoCapabilities(request.volumeCapabilities);
  const contentSource = fromProtoContentSource(request.volumeContentSource);
  topology.assertReachable(request.accessibilityRequirements);
  const range = fromProtoRange(request.capacityRange);
  const { parameters, mutableParameters } = request;
  return await provisioner.create({ name, range, capabilities, parameters, mutableParameters, contentSource });
}

async function readCapacity(
  { parameters, accessibleTopology, volumeCapabilities }: GetCapacityRequest,
  { provisioner, topology }: ControllerDependencies,
): Promise<GetCapacityResponse> {
  const capabilities = volumeCapabilities.map(fromProtoCapability);
  const { availableBytes, largestBytes, smallestBytes } = await provisioner.readCapacity({ parameters, capabilities });
  const isHere = accessibleTopology === undefined || topology.matches(accessibleTopology);
  const [availableCapacity, maximumVolumeSize] = isHere ? [availableBytes, largestBytes] : [0n, 0n];
  return { availableCapacity, maximumVolumeSize, minimumVolumeSize: smallestBytes };
}

function toProtoVolume(volume: Volume, topology: NodeTopology): ProtoVolume {
  const { id, sizeBytes, pool, parameters, contentSource } = volume;
  return {
    capacityBytes: sizeBytes,
    volumeId: id,
    volumeContext: { pool, provisioning: parameters.provisioning },
    contentSource: toProtoContentSource(contentSource),
    accessibleTopology: [topology.toProto()],
  };
}
