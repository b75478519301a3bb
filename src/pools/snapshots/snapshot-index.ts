import { DriverError } from "../../errors.js";
import type { Snapshot, SnapshotGroup } from "../volume/snapshot.js";
import { isVolumeId } from "../volume/volume-id.js";

/** The snapshots of this node and their groups, by id and by name. */
export class SnapshotIndex {
  private readonly snapshots = new Map<string, Snapshot>();
  private readonly groups = new Map<string, SnapshotGroup>();
  private readonly unusable = new Map<string, string>();

  /** Undefined for an unknown id; one with an unusable record is an error that says what is wrong with it. */
  find(id: string): Snapshot | undefined {
    this.assertUsable("snapshot", id);
    return this.snapshots.get(id);
  }

  get(id: string): Snapshot {
    return this.find(id) ?? missing("snapshot", id);
  }

  findByName(name: string): Snapshot | undefined {
    // A member of a group has its group's name, and is found by it alone.
    return this.list().find((snapshot) => snapshot.group === undefined && snapshot.name === name);
  }

  /** All usable snapshots in the order of their ids. */
  list(): Snapshot[] {
    return [...this.snapshots.values()].sort((left, right) => (left.id < right.id ? -1 : 1));
  }

  findGroup(id: string): SnapshotGroup | undefined {
    this.assertUsable("snapshot group", id);
    return this.groups.get(id);
  }

  getGroup(id: string): SnapshotGroup {
    return this.findGroup(id) ?? missing("snapshot group", id);
  }

  findGroupByName(name: string): SnapshotGroup | undefined {
    return [...this.groups.values()].find((group) => group.name === name);
  }

  /** The members of a group; one that is not there any more, or cannot be used, is an error. */
  membersOf(group: SnapshotGroup): Snapshot[] {
    return group.snapshotIds.map((id) => this.get(id));
  }

  /** The usable snapshot of this id, or the group, without complaint about unusable ones. */
  peekName(id: string): string | undefined {
    return this.snapshots.get(id)?.name ?? this.groups.get(id)?.name;
  }

  /** Whether there is anything of this id, usable or not. */
  has(id: string): boolean {
    return this.snapshots.has(id) || this.groups.has(id) || this.unusable.has(id);
  }

  put(snapshot: Snapshot): void {
    this.snapshots.set(snapshot.id, snapshot);
  }

  putGroup(group: SnapshotGroup): void {
    this.groups.set(group.id, group);
  }

  putUnusable(id: string, reason: string): void {
    this.unusable.set(id, reason);
  }

  remove(id: string): void {
    this.snapshots.delete(id);
    this.groups.delete(id);
  }

  private assertUsable(what: string, id: string): void {
    const reason = this.unusable.get(id);
    if (reason !== undefined) throw new DriverError("refused", `${what} ${id} cannot be used: ${reason}`);
  }
}

function missing(what: string, id: string): never {
  const known = isVolumeId(id) ? "was deleted, or lives on another node" : "is not an id that this driver gives";
  throw new DriverError("missing", `${what} "${id}" does not exist on this node: it ${known}`);
}
