import { DriverError } from "../../errors.js";
import type { ImageUse } from "../images/image-use.js";
import { assertKnownSnapshotParameters } from "../parameters/parameters.js";
import type { Pool } from "../pool/pool.js";
import type { Pools } from "../pool/pools.js";
import { writeRecord } from "../records/record-file.js";
import { groupRecordFormat } from "../records/snapshot-record.js";
import type { Snapshot, SnapshotGroup } from "../volume/snapshot.js";
import { createVolumeId } from "../volume/volume-id.js";
import { groupMark, groupPath } from "./group-files.js";
import type { SnapshotPlan, SnapshotStore } from "./snapshot-store.js";
import { explainFailedCopy, planSnapshot, type SnapshotterParts } from "./snapshotter.js";

export interface GroupRequest {
  name: string;
  sourceVolumeIds: readonly string[];
  /** As they come from the VolumeGroupSnapshotClass. */
  parameters: Record<string, string>;
}

/** A group with its members. */
export interface GroupView {
  group: SnapshotGroup;
  members: Snapshot[];
}

/**
 * Groups of snapshots of one instant. A group's record lies in the pool of its first member. It is written last and
 * removed first; while it is not there a mark is, which tells the next start that the members are left-overs of a crash.
 */
export class SnapshotGroups {
  private readonly pools: Pools;
  private readonly store: SnapshotStore;
  private readonly imageUse: ImageUse;
  /** Groups whose removal has begun and not ended. */
  private readonly removing = new Set<string>();

  constructor({ pools, store, imageUse }: SnapshotterParts) {
    this.pools = pools;
    this.store = store;
    this.imageUse = imageUse;
  }

  /** Returns the group of this name, made now or by an earlier, equal request. All members are made, or none. */
  async create({ name, sourceVolumeIds, parameters }: GroupRequest): Promise<GroupView> {
    assertKnownSnapshotParameters(parameters);
    const sources = sortedSet(sourceVolumeIds);
    const existing = this.store.index.findGroupByName(name);
    if (existing !== undefined) return await this.checkExisting(existing, sources);
    const id = createVolumeId();
    const home = this.homeFor(sources);
    const group = { id, poolUuid: home.directory.uuid };
    const plans = await Promise.all(sources.map((source) => planSnapshot(this.pools, source, { name, group })));
    const record = await this.make(home, id, { name, plans });
    this.store.index.putGroup(record);
    return { group: record, members: this.store.index.membersOf(record) };
  }

  /** The group with its members; `snapshotIds`, where given, have to be theirs. An unknown id is `missing`. */
  get(id: string, snapshotIds: readonly string[]): GroupView {
    const group = this.store.index.getGroup(id);
    assertMembers(group, snapshotIds);
    return { group, members: this.store.index.membersOf(group) };
  }

  /** Removes a group with all its members; an unknown id is a success. Nothing is removed while one of them is being read. */
  async delete(id: string, snapshotIds: readonly string[]): Promise<void> {
    const group = this.store.index.findGroup(id) ?? this.findLost(id);
    if (group === undefined) return;
    assertMembers(group, snapshotIds);
    await this.remove(group);
  }

  private async checkExisting(group: SnapshotGroup, sources: readonly string[]): Promise<GroupView> {
    if (group.sourceVolumeIds.join() !== sources.join()) {
      const message = `snapshot group "${group.name}" exists, of other volumes (${group.sourceVolumeIds.join(", ")})`;
      throw new DriverError("conflict", `${message}: use another name`);
    }
    if (this.removing.has(group.id)) {
      await this.remove(group);
      throw new DriverError("busy", `snapshot group "${group.name}" was half removed, and is gone now: ask again`);
    }
    const members = this.store.index.membersOf(group);
    const failed = members.filter(({ state }) => state === "failed");
    if (failed.length === 0) return { group, members };
    await this.remove(group);
    throw explainFailedCopy(failed);
  }

  /** Members whose group has lost its record: they have stayed, for whoever removes the group. */
  private findLost(id: string): Pick<SnapshotGroup, "id" | "snapshotIds"> | undefined {
    const members = this.store.index.list().filter(({ group }) => group?.id === id);
    return members.length === 0 ? undefined : { id, snapshotIds: members.map((member) => member.id).sort() };
  }

  private async make(
    home: Pool,
    id: string,
    { name, plans }: { name: string; plans: readonly SnapshotPlan[] },
  ): Promise<SnapshotGroup> {
    const mark = groupMark(home, id);
    const made: SnapshotGroup[] = [];
    await mark.set();
    try {
      await this.store.make(plans, async (snapshots) => {
        made.push(await this.commit(home, { id, name, snapshots }));
      });
    } catch (error) {
      await mark.clear();
      throw error;
    }
    const [record] = made;
    if (record === undefined) throw new Error("bug: a group was made without its record");
    return record;
  }

  /** A record that may be on disk, or not, must not be there when the members go. */
  private async commit(
    home: Pool,
    { id, name, snapshots }: { id: string; name: string; snapshots: readonly Snapshot[] },
  ): Promise<SnapshotGroup> {
    const group: SnapshotGroup = {
      id,
      name,
      snapshotIds: snapshots.map((snapshot) => snapshot.id).sort(),
      sourceVolumeIds: sortedSet(snapshots.map(({ sourceVolumeId }) => sourceVolumeId)),
      createdAt: snapshots[0]?.createdAt ?? new Date().toISOString(),
    };
    const mark = groupMark(home, id);
    try {
      await writeRecord(groupPath(home, id), groupRecordFormat, group);
      await mark.clear();
    } catch (error) {
      await mark.replaceRecord();
      throw error;
    }
    return group;
  }

  private async remove({ id, snapshotIds }: Pick<SnapshotGroup, "id" | "snapshotIds">): Promise<void> {
    for (const snapshotId of snapshotIds) this.imageUse.assertUnused("snapshot", snapshotId);
    const members = snapshotIds.flatMap((snapshotId) => this.store.index.find(snapshotId) ?? []);
    this.removing.add(id);
    const marks = this.homesOf(members).map((pool) => groupMark(pool, id));
    for (const mark of marks) await mark.replaceRecord();
    for (const member of members) await this.store.remove(member);
    for (const mark of marks) await mark.clear();
    this.store.index.remove(id);
    this.removing.delete(id);
  }

  /** Where the record of a group can be: a pool that has nothing to do with it may be out of order. */
  private homesOf(members: readonly Snapshot[]): Pool[] {
    const uuids = new Set(members.map(({ group }) => group?.poolUuid));
    return this.pools.all.filter(({ directory }) => uuids.size === 0 || uuids.has(directory.uuid));
  }

  private homeFor(sources: readonly string[]): Pool {
    const [first] = sources;
    if (first === undefined) throw new DriverError("invalid", "source_volume_ids is empty: give at least one volume");
    return this.pools.poolOf(this.pools.getPersistent(first));
  }
}

function sortedSet(ids: readonly string[]): string[] {
  const sorted = [...new Set(ids)].sort();
  if (sorted.length === ids.length) return sorted;
  throw new DriverError("invalid", "source_volume_ids names a volume twice: name each once");
}

function assertMembers(group: Pick<SnapshotGroup, "id" | "snapshotIds">, snapshotIds: readonly string[]): void {
  if (snapshotIds.length === 0 || [...snapshotIds].sort().join() === group.snapshotIds.join()) return;
  const message = `snapshot_ids are not the members of group ${group.id}, which are ${group.snapshotIds.join(", ")}`;
  throw new DriverError("invalid", message);
}
