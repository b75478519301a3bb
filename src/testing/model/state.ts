import type { Access, PoolName } from "./world.js";

/** What the model knows of a volume. */
export interface ModelVolume {
  id: string;
  access: Access;
  pool: PoolName;
  sizeUnits: number;
  /** Of the snapshot or volume that it was made from. */
  sourceId: string | undefined;
  staged: boolean;
  /** Number of each target, and whether it is read-only. */
  targets: Map<number, boolean>;
  /** What a pod wrote last. */
  token: string;
}

/** A snapshot, or a member of a group. */
export interface ModelSnapshot {
  id: string;
  sourceId: string;
  access: Access;
  sizeUnits: number;
  token: string;
}

export interface ModelGroup {
  id: string;
  members: ModelSnapshot[];
}

export const volumeSlots = [0, 1, 2] as const;
export const snapshotSlots = [0, 1] as const;
export const targetSlots = [0, 1] as const;

/** Everything that should be there. */
export class ModelState {
  readonly volumes = new Map<number, ModelVolume>();
  readonly snapshots = new Map<number, ModelSnapshot>();
  group: ModelGroup | undefined;
  /** Of things that were deleted, by slot: a caller may still have them. */
  private readonly formerIds = new Map<string, string>();

  /** The id of the volume in a slot, the last one that was there, or one that never was. */
  volumeId(slot: number): string {
    return this.volumes.get(slot)?.id ?? this.formerIds.get(`volume ${slot}`) ?? `no-such-volume-${slot}`;
  }

  snapshotId(slot: number): string {
    return this.snapshots.get(slot)?.id ?? this.formerIds.get(`snapshot ${slot}`) ?? `no-such-snapshot-${slot}`;
  }

  removeVolume(slot: number): void {
    this.formerIds.set(`volume ${slot}`, this.volumeId(slot));
    this.volumes.delete(slot);
  }

  removeSnapshot(slot: number): void {
    this.formerIds.set(`snapshot ${slot}`, this.snapshotId(slot));
    this.snapshots.delete(slot);
  }

  /** All snapshots, of groups too. */
  get allSnapshots(): ModelSnapshot[] {
    return [...this.snapshots.values(), ...(this.group?.members ?? [])];
  }
}
