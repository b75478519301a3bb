import type { Snapshot, VolumeGroupSnapshot } from "../../gen/csi/csi.js";
import { rpcs } from "../rpc-client.js";
import { assertEqual, type Call, toCall } from "./call.js";
import type { ModelSnapshot, ModelState, ModelVolume } from "./state.js";
import type { World } from "./world.js";

/** The calls about snapshots and the one group. */
export class SnapshotCalls {
  constructor(
    private readonly state: ModelState,
    private readonly world: World,
  ) {}

  create(slot: number, volumeSlot: number): Call {
    const known = this.state.snapshots.get(slot);
    const volume = this.state.volumes.get(volumeSlot);
    const sourceVolumeId = this.state.volumeId(volumeSlot);
    const apply = ({ snapshot }: { snapshot?: Snapshot | undefined }) => {
      const taken = known ?? (volume && toModel(volume, snapshot?.snapshotId));
      this.compare(snapshot, taken);
      if (taken !== undefined) this.state.snapshots.set(slot, taken);
    };
    const code = known === undefined ? codeOf(volume) : known.sourceId === sourceVolumeId ? "OK" : "ALREADY_EXISTS";
    const request = { name: `snapshot-${slot}`, sourceVolumeId };
    return toCall({ method: rpcs.createSnapshot, request, code, apply });
  }

  delete(slot: number): Call {
    const request = { snapshotId: this.state.snapshotId(slot) };
    return toCall({ method: rpcs.deleteSnapshot, request, code: "OK", apply: () => this.state.removeSnapshot(slot) });
  }

  createGroup(volumeSlots: readonly number[]): Call {
    const sourceVolumeIds = volumeSlots.map((slot) => this.state.volumeId(slot));
    const sources = volumeSlots.map((slot) => this.state.volumes.get(slot));
    const { group } = this.state;
    const apply = ({ groupSnapshot }: { groupSnapshot?: VolumeGroupSnapshot | undefined }) => {
      const { groupSnapshotId: id = "", snapshots = [] } = groupSnapshot ?? {};
      const made = sources.flatMap((volume) => {
        const snapshot = snapshots.find(({ sourceVolumeId }) => sourceVolumeId === volume?.id);
        return volume === undefined ? [] : [toModel(volume, snapshot?.snapshotId)];
      });
      const members = group?.members ?? made;
      for (const member of members) {
        const answered = snapshots.find(({ snapshotId }) => snapshotId === member.id);
        this.compare(answered, member);
      }
      assertEqual("members", snapshots.length, members.length);
      this.state.group = { id, members };
    };
    const request = { name: "group", sourceVolumeIds };
    return toCall({ method: rpcs.createVolumeGroupSnapshot, request, code: this.groupCode(sourceVolumeIds), apply });
  }

  deleteGroup(): Call {
    const { group } = this.state;
    const snapshotIds = group?.members.map(({ id }) => id) ?? [];
    const request = { groupSnapshotId: group?.id ?? "no-such-group", snapshotIds };
    const apply = () => {
      this.state.group = undefined;
    };
    return toCall({ method: rpcs.deleteVolumeGroupSnapshot, request, code: "OK", apply });
  }

  list(): Call {
    const apply = ({ entries }: { entries: Array<{ snapshot?: Snapshot | undefined }> }) => {
      const found = entries.map(({ snapshot }) => snapshot?.snapshotId);
      assertEqual("snapshots", found, this.state.allSnapshots.map(({ id }) => id).sort());
    };
    return toCall({ method: rpcs.listSnapshots, request: {}, code: "OK", apply });
  }

  private groupCode(sourceVolumeIds: readonly string[]): string {
    const { group, volumes } = this.state;
    if (group !== undefined) {
      const known = group.members.map(({ sourceId }) => sourceId).sort();
      return known.join() === [...sourceVolumeIds].sort().join() ? "OK" : "ALREADY_EXISTS";
    }
    const ids = new Set([...volumes.values()].map(({ id }) => id));
    return sourceVolumeIds.every((id) => ids.has(id)) ? "OK" : "NOT_FOUND";
  }

  private compare(snapshot: Snapshot | undefined, expected: ModelSnapshot | undefined): void {
    const found = [snapshot?.snapshotId, snapshot?.sourceVolumeId, snapshot?.sizeBytes];
    const sizeBytes = expected && BigInt(expected.sizeUnits) * this.world.unitBytes;
    assertEqual("snapshot", found, [expected?.id, expected?.sourceId, sizeBytes]);
  }
}

const codeOf = (volume: ModelVolume | undefined): string => (volume === undefined ? "NOT_FOUND" : "OK");

function toModel({ id: sourceId, access, sizeUnits, token }: ModelVolume, id = ""): ModelSnapshot {
  return { id, sourceId, access, sizeUnits, token };
}
