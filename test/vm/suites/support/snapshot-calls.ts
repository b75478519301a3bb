import {
  ControllerService,
  CreateSnapshotRequest,
  CreateVolumeGroupSnapshotRequest,
  DeleteSnapshotRequest,
  DeleteVolumeGroupSnapshotRequest,
  GetSnapshotRequest,
  GroupControllerService,
  ListSnapshotsRequest,
  type Snapshot,
  type VolumeGroupSnapshot,
} from "../../../../src/gen/csi/csi.js";
import type { CsiClient } from "./csi-client.js";
import { waitFor } from "./wait-for.js";

/** Images in many pieces are copied slowly, in emulation above all. */
const copyMsMax = 240_000;

/** The calls about snapshots, as the snapshotter makes them. */
export class SnapshotCalls {
  /** The client is asked for at each call, because a driver that is started again has a new one. */
  constructor(private readonly client: () => CsiClient) {}

  async create(name: string, sourceVolumeId: string): Promise<Snapshot> {
    const request = CreateSnapshotRequest.fromPartial({ name, sourceVolumeId });
    return given((await this.client().call(ControllerService.createSnapshot, request)).snapshot);
  }

  /** Asks again until the snapshot can be used, as the snapshotter does. */
  async createReady(name: string, sourceVolumeId: string): Promise<Snapshot> {
    const ask = async () => {
      const snapshot = await this.create(name, sourceVolumeId);
      return snapshot.readyToUse && snapshot;
    };
    return await waitFor(`snapshot ${name} is ready`, ask, { timeoutMs: copyMsMax });
  }

  async get(snapshotId: string): Promise<Snapshot> {
    const request = GetSnapshotRequest.fromPartial({ snapshotId });
    return given((await this.client().call(ControllerService.getSnapshot, request)).snapshot);
  }

  async whenReady(snapshotId: string): Promise<void> {
    await waitFor(`snapshot ${snapshotId} is ready`, async () => (await this.get(snapshotId)).readyToUse);
  }

  async listIds(): Promise<string[]> {
    const { entries } = await this.client().call(ControllerService.listSnapshots, ListSnapshotsRequest.fromPartial({}));
    return entries.map(({ snapshot }) => given(snapshot).snapshotId);
  }

  async delete(snapshotId: string): Promise<void> {
    await this.client().call(ControllerService.deleteSnapshot, DeleteSnapshotRequest.fromPartial({ snapshotId }));
  }

  async createGroup(name: string, sourceVolumeIds: string[]): Promise<VolumeGroupSnapshot> {
    const request = CreateVolumeGroupSnapshotRequest.fromPartial({ name, sourceVolumeIds });
    const { createVolumeGroupSnapshot } = GroupControllerService;
    return given((await this.client().call(createVolumeGroupSnapshot, request)).groupSnapshot);
  }

  /** As `createReady`, of a group. */
  async createGroupReady(name: string, sourceVolumeIds: string[]): Promise<VolumeGroupSnapshot> {
    const ask = async () => {
      const group = await this.createGroup(name, sourceVolumeIds);
      return group.readyToUse && group;
    };
    return await waitFor(`group ${name} is ready`, ask, { timeoutMs: copyMsMax });
  }

  async deleteGroup({ groupSnapshotId, snapshots }: VolumeGroupSnapshot): Promise<void> {
    const snapshotIds = snapshots.map(({ snapshotId }) => snapshotId);
    const request = DeleteVolumeGroupSnapshotRequest.fromPartial({ groupSnapshotId, snapshotIds });
    await this.client().call(GroupControllerService.deleteVolumeGroupSnapshot, request);
  }
}

function given<T>(value: T | undefined): T {
  if (value === undefined) throw new Error("the driver answered without what was asked for");
  return value;
}
