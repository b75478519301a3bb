import {
  GetMetadataAllocatedRequest,
  GetVolumeGroupSnapshotRequest,
  GroupControllerService,
  SnapshotMetadataService,
} from "../../../src/gen/csi/csi.js";
import { SnapshotCalls } from "../../vm/suites/support/snapshot-calls.js";
import type { TestBed } from "../../vm/suites/support/test-bed.js";
import type { TestVolume } from "../../vm/suites/support/test-volume.js";
import type { Latencies } from "./latencies.js";

/** Snapshots, a clone and a group of a volume that is mounted, every call of it timed. */
export async function timeSnapshots(bed: TestBed, volume: TestVolume, latencies: Latencies): Promise<void> {
  const { client } = bed.driver;
  const calls = new SnapshotCalls(() => client);
  const { snapshotId } = await latencies.time("CreateSnapshot", () => calls.create("measured", volume.id));
  await latencies.time("GetSnapshot", () => calls.get(snapshotId));
  await latencies.time("ListSnapshots", () => calls.listIds());
  await latencies.time("GetMetadataAllocated", () =>
    client.collect(
      SnapshotMetadataService.getMetadataAllocated,
      GetMetadataAllocatedRequest.fromPartial({ snapshotId }),
    ),
  );
  const type = { $case: "snapshot", value: { snapshotId } } as const;
  const copy = bed.volume({
    ...volume.wish,
    name: "copy",
    contentSource: { type },
    sizeBytes: volume.wish.sizeBytes * 2,
  });
  await latencies.time("CreateVolume (from a snapshot)", () => copy.create());
  await copy.delete();
  await latencies.time("DeleteSnapshot", () => calls.delete(snapshotId));
  await timeGroup(bed, volume, { calls, latencies });
}

interface Timing {
  calls: SnapshotCalls;
  latencies: Latencies;
}

async function timeGroup(bed: TestBed, volume: TestVolume, { calls, latencies }: Timing): Promise<void> {
  const { client } = bed.driver;
  const group = await latencies.time("CreateVolumeGroupSnapshot", () => calls.createGroup("measured", [volume.id]));
  const { groupSnapshotId, snapshots } = group;
  const snapshotIds = snapshots.map((snapshot) => snapshot.snapshotId);
  await latencies.time("GetVolumeGroupSnapshot", () =>
    client.call(
      GroupControllerService.getVolumeGroupSnapshot,
      GetVolumeGroupSnapshotRequest.fromPartial({ groupSnapshotId, snapshotIds }),
    ),
  );
  await latencies.time("DeleteVolumeGroupSnapshot", () => calls.deleteGroup(group));
}
