import type { VolumeCapability, VolumeParameters } from "./volume.js";

/** `copying`: the instant is fixed, the bytes are still under way. `failed`: they never came, and never will. */
export const snapshotStates = ["copying", "ready", "failed"] as const;
export type SnapshotState = (typeof snapshotStates)[number];

/** What is in an image, and how it may be used: a volume made from it has to agree. */
export interface Content {
  capabilities: VolumeCapability[];
  parameters: VolumeParameters;
}

/** A snapshot as its record on disk describes it. It stands by itself: its volume may be deleted, it stays. */
export interface Snapshot {
  id: string;
  /** What the caller named it; the key of idempotency. */
  name: string;
  sourceVolumeId: string;
  /** The size of the volume at that instant. */
  sizeBytes: bigint;
  /** The size of the image, which may have more in it than the volume's bytes. */
  imageSizeBytes: bigint;
  /** The pool's name when the snapshot was made. */
  pool: string;
  state: SnapshotState;
  /** Why it failed. */
  reason?: string | undefined;
  /** Bytes of the pool that it holds at most: what its source had allocated. */
  bookedBytes: bigint;
  /** Whether the block devices may still know the copy that it was made by. */
  hasCopy?: boolean | undefined;
  content: Content;
  /** Set for the member of a group. */
  group?: GroupMembership | undefined;
  /** The instant. */
  createdAt: string;
}

/** Which group a snapshot belongs to, and the pool that has the group's record. */
export interface GroupMembership {
  id: string;
  poolUuid: string;
}

/** Snapshots of one instant, which live and end together. */
export interface SnapshotGroup {
  id: string;
  name: string;
  /** In the order of their ids, as the ids of the sources. */
  snapshotIds: string[];
  sourceVolumeIds: string[];
  createdAt: string;
}
