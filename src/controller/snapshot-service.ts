import type { ControllerServer, ListSnapshotsRequest, Snapshot as ProtoSnapshot } from "../gen/csi/csi.js";
import type { SnapshotIndex } from "../pools/snapshots/snapshot-index.js";
import type { Snapshotter } from "../pools/snapshots/snapshotter.js";
import type { Snapshot } from "../pools/volume/snapshot.js";
import type { Handlers } from "../rpc/handler.js";
import { requireField, requireId } from "../rpc/required.js";
import type { NodeTopology } from "../rpc/topology.js";
import { listPage } from "./page.js";

export interface SnapshotHandlerDependencies {
  snapshotter: Snapshotter;
  index: SnapshotIndex;
  topology: NodeTopology;
}

type SnapshotMethods = "createSnapshot" | "deleteSnapshot" | "listSnapshots" | "getSnapshot";

/** The controller's RPCs for the snapshots of this node. */
export function createSnapshotHandlers(
  dependencies: SnapshotHandlerDependencies,
): Pick<Handlers<ControllerServer>, SnapshotMethods> {
  const { snapshotter, index, topology } = dependencies;
  const toProto = (snapshot: Snapshot) => toProtoSnapshot(snapshot, topology);
  return {
    createSnapshot: async ({ name, sourceVolumeId, parameters, accessibilityRequirements }) => {
      requireField("name", name);
      requireId("source_volume_id", sourceVolumeId);
      topology.assertReachable(accessibilityRequirements);
      return { snapshot: toProto(await snapshotter.create({ name, sourceVolumeId, parameters })) };
    },
    deleteSnapshot: async ({ snapshotId }) => {
      await snapshotter.delete(requireId("snapshot_id", snapshotId));
      return {};
    },
    listSnapshots: async (request) => {
      const { items, nextToken } = listPage(filterSnapshots(index, request), request.startingToken, request.maxEntries);
      return { entries: items.map((snapshot) => ({ snapshot: toProto(snapshot) })), nextToken };
    },
    getSnapshot: async ({ snapshotId }) => ({ snapshot: toProto(index.get(requireId("snapshot_id", snapshotId))) }),
  };
}

/** A snapshot as CSI has it. */
export function toProtoSnapshot(snapshot: Snapshot, topology: NodeTopology): ProtoSnapshot {
  return {
    sizeBytes: snapshot.sizeBytes,
    snapshotId: snapshot.id,
    sourceVolumeId: snapshot.sourceVolumeId,
    creationTime: new Date(snapshot.createdAt),
    readyToUse: snapshot.state === "ready",
    groupSnapshotId: snapshot.group?.id ?? "",
    accessibleTopology: [topology.toProto()],
  };
}

// Both filters hold together. An id that is unknown, whatever it looks like, merely has no entries.
function filterSnapshots(index: SnapshotIndex, { snapshotId, sourceVolumeId }: ListSnapshotsRequest): Snapshot[] {
  return index.list().filter((snapshot) => {
    if (snapshotId !== "" && snapshot.id !== snapshotId) return false;
    return sourceVolumeId === "" || snapshot.sourceVolumeId === sourceVolumeId;
  });
}
