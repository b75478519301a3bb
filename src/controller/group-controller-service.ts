import { DriverError } from "../errors.js";
import {
  type GroupControllerServer,
  type VolumeGroupSnapshot as ProtoGroup,
  GroupControllerServiceCapability_RPC_Type as RpcType,
} from "../gen/csi/csi.js";
import type { GroupView, SnapshotGroups } from "../pools/snapshots/snapshot-groups.js";
import type { Handlers } from "../rpc/handler.js";
import { requireField, requireId } from "../rpc/required.js";
import type { NodeTopology } from "../rpc/topology.js";
import { toProtoSnapshot } from "./snapshot-service.js";

export interface GroupControllerDependencies {
  groups: SnapshotGroups;
  topology: NodeTopology;
}

/** The RPCs for groups of snapshots of this node's volumes. */
export function createGroupControllerService(
  dependencies: GroupControllerDependencies,
): Handlers<GroupControllerServer> {
  const { groups, topology } = dependencies;
  return {
    groupControllerGetCapabilities: async () => ({
      capabilities: [{ type: { $case: "rpc", value: { type: RpcType.CREATE_DELETE_GET_VOLUME_GROUP_SNAPSHOT } } }],
    }),
    createVolumeGroupSnapshot: async ({ name, sourceVolumeIds, parameters }) => {
      requireField("name", name);
      if (sourceVolumeIds.length === 0)
        throw new DriverError("invalid", "source_volume_ids is empty, give at least one");
      for (const volumeId of sourceVolumeIds) requireId("source_volume_ids", volumeId);
      return { groupSnapshot: toProtoGroup(await groups.create({ name, sourceVolumeIds, parameters }), topology) };
    },
    deleteVolumeGroupSnapshot: async ({ groupSnapshotId, snapshotIds }) => {
      await groups.delete(requireId("group_snapshot_id", groupSnapshotId), snapshotIds);
      return {};
    },
    getVolumeGroupSnapshot: async ({ groupSnapshotId, snapshotIds }) => ({
      groupSnapshot: toProtoGroup(groups.get(requireId("group_snapshot_id", groupSnapshotId), snapshotIds), topology),
    }),
  };
}

function toProtoGroup({ group, members }: GroupView, topology: NodeTopology): ProtoGroup {
  return {
    groupSnapshotId: group.id,
    snapshots: members.map((member) => toProtoSnapshot(member, topology)),
    creationTime: new Date(group.createdAt),
    readyToUse: members.every(({ state }) => state === "ready"),
  };
}
