import { DriverError } from "../../errors.js";
import { assertWhole } from "../images/image.js";
import type { ImageUse } from "../images/image-use.js";
import { assertKnownSnapshotParameters } from "../parameters/parameters.js";
import type { Pools } from "../pool/pools.js";
import { imageSizeBytesOf } from "../volume/image-size.js";
import type { Snapshot } from "../volume/snapshot.js";
import { createVolumeId } from "../volume/volume-id.js";
import type { SnapshotPlan, SnapshotStore } from "./snapshot-store.js";

export interface SnapshotRequest {
  name: string;
  sourceVolumeId: string;
  /** As they come from the VolumeSnapshotClass. */
  parameters: Record<string, string>;
}

export interface SnapshotterParts {
  pools: Pools;
  store: SnapshotStore;
  imageUse: ImageUse;
}

/** Makes and removes single snapshots. Both verbs may be repeated; callers serialise them by name, source and id. */
export class Snapshotter {
  constructor(private readonly parts: SnapshotterParts) {}

  /**
   * Returns the snapshot of this name, made now or by an earlier, equal request. One whose copy failed meanwhile is removed
   * and reported, so that the next request begins anew.
   */
  async create({ name, sourceVolumeId, parameters }: SnapshotRequest): Promise<Snapshot> {
    const { store, pools } = this.parts;
    assertKnownSnapshotParameters(parameters);
    const existing = store.index.findByName(name);
    if (existing !== undefined) return await this.checkExisting(existing, sourceVolumeId);
    const [made] = await store.make([await planSnapshot(pools, sourceVolumeId, { name })]);
    if (made === undefined) throw new Error("bug: one plan makes one snapshot");
    return made;
  }

  /** An unknown id is a success; a member of a group, and one that a volume is being made from, are refused. */
  async delete(id: string): Promise<void> {
    const { store, imageUse } = this.parts;
    const snapshot = store.index.find(id);
    if (snapshot === undefined) return;
    if (snapshot.group !== undefined) {
      const message = `snapshot ${id} belongs to group ${snapshot.group.id} and ends with it: delete the group`;
      throw new DriverError("invalid", message);
    }
    imageUse.assertUnused("snapshot", id);
    await store.remove(snapshot);
  }

  private async checkExisting(existing: Snapshot, sourceVolumeId: string): Promise<Snapshot> {
    if (existing.sourceVolumeId !== sourceVolumeId) {
      const message = `snapshot "${existing.name}" exists, of volume ${existing.sourceVolumeId}: use another name`;
      throw new DriverError("conflict", message);
    }
    if (existing.state !== "failed") return existing;
    await this.parts.store.remove(existing);
    throw explainFailedCopy([existing]);
  }
}

/** What a snapshot of this volume would be. An unknown volume is `missing`, an inline one `refused`. */
export async function planSnapshot(
  pools: Pools,
  volumeId: string,
  named: Pick<Snapshot, "name" | "group">,
): Promise<SnapshotPlan> {
  const volume = pools.getPersistent(volumeId);
  const { id, sizeBytes, parameters, capabilities } = volume;
  const pool = pools.poolOf(volume);
  // The image itself may be larger, after a growth that failed.
  const imageSizeBytes = imageSizeBytesOf(volume);
  const path = pool.imagePath(id);
  await assertWhole(path, imageSizeBytes);
  const content = { capabilities, parameters };
  return {
    snapshot: {
      ...named,
      id: createVolumeId(),
      sourceVolumeId: id,
      sizeBytes,
      imageSizeBytes,
      pool: pool.name,
      content,
    },
    source: { id, pool, path, sizeBytes: imageSizeBytes },
  };
}

/** Says why snapshots that were begun did not come about. */
export function explainFailedCopy(failed: readonly Snapshot[]): DriverError {
  const reasons = failed.map(({ sourceVolumeId, reason }) => `volume ${sourceVolumeId}: ${reason ?? "unknown"}`);
  const code = /ENOSPC|EDQUOT|No space/.test(reasons.join()) ? "no_space" : "internal";
  return new DriverError(code, `the copy failed and was removed (${reasons.join("; ")}): ask again to begin anew`);
}
