import type { FormatOptions } from "./format-options.js";
import type { VolumeLimits } from "./limits.js";

/** How many bytes of the pool a volume holds from the start: all of them, or those that were written. */
export type Provisioning = "thick" | "thin";

export const fsTypes = ["ext4", "xfs", "btrfs"] as const;
export type FsType = (typeof fsTypes)[number];

/** Of volumes for which nobody names one. */
export const defaultFsType: FsType = "ext4";

export const encryptionTypes = ["luks2"] as const;
export type EncryptionType = (typeof encryptionTypes)[number];

/** How a volume may be used at one time, in the words of CSI. */
export const accessModes = [
  "SINGLE_NODE_WRITER",
  "SINGLE_NODE_READER_ONLY",
  "SINGLE_NODE_SINGLE_WRITER",
  "SINGLE_NODE_MULTI_WRITER",
] as const;
export type AccessMode = (typeof accessModes)[number];

/** One way of using a volume, already checked to be one that this driver offers. */
export type VolumeCapability = BlockCapability | MountCapability;

export interface BlockCapability {
  accessType: "block";
  accessMode: AccessMode;
}

export interface MountCapability {
  accessType: "mount";
  accessMode: AccessMode;
  /** Undefined when the caller leaves the choice to the driver. */
  fsType?: FsType | undefined;
  mountFlags: string[];
  /** The group that may use all files, of a publication; no property of the volume. */
  mountGroupId?: number | undefined;
}

/** What a StorageClass can choose. */
export interface VolumeParameters {
  /** Undefined means the first pool of the node. */
  pool?: string | undefined;
  provisioning: Provisioning;
  logicalBlockSizeBytes: 512 | 4096;
  /** How mkfs makes the file system; undefined leaves all to its defaults. */
  format?: FormatOptions | undefined;
  /** How often a mounted volume gives unused space back to the pool; undefined is never. */
  trimIntervalMinutes?: number | undefined;
  /** Whether it does so when it is unstaged. */
  trimAtUnstage?: boolean | undefined;
  /** Ceilings for volumes whose VolumeAttributesClass does not say otherwise. */
  limits?: VolumeLimits | undefined;
  queueCount?: number | undefined;
  queueDepth?: number | undefined;
  /** Undefined means that the image holds what users write, in the clear. */
  encryption?: EncryptionType | undefined;
  /** Whether discarded ranges reach the image, which then shows where there is data. */
  encryptionDiscard?: boolean | undefined;
  /** How much memory deriving the key takes; undefined is the default. */
  encryptionMemoryBytes?: number | undefined;
}

/** The pod that an inline volume belongs to: the volume is made for its publication and goes with it. */
export interface PodClaim {
  podUid: string;
  podName: string;
  podNamespace: string;
  /** Where the volume is published, the one place it is for. Absolute, links in its parents followed. */
  targetPath: string;
  /** What the pod's author chose, so that a repeated publication can be told from a different one. */
  attributes: Record<string, string>;
}

/** A volume as its record on disk describes it. */
export interface Volume {
  id: string;
  /** What the caller of CreateVolume named it; the key of idempotency. */
  name: string;
  sizeBytes: bigint;
  /** Set while the image grows from `sizeBytes` to this: it may have any size in between. Nobody uses more than `sizeBytes`. */
  growingToBytes?: bigint | undefined;
  /** The pool's name when the volume was made. */
  pool: string;
  parameters: VolumeParameters;
  /** What CreateVolume was asked for, so that a retry can be told from a different request. */
  capabilities: VolumeCapability[];
  /** What its first content was taken from; undefined for a volume that began empty. The source may be gone since. */
  contentSource?: ContentSource | undefined;
  /** Set when its first content was an image from elsewhere, of which there may be more copies. */
  isImported?: true | undefined;
  /** What the VolumeAttributesClass chose; undefined when the volume has none. */
  limits?: VolumeLimits | undefined;
  createdAt: string;
  /** Set from the first change of either on, so that a repetition of the request that made the volume is known as such. */
  asCreated?: AsCreated | undefined;
  /** Set for inline volumes only. No controller call made them, none lists them, and they have no name but their id. */
  ephemeral?: PodClaim | undefined;
}

/** Whether another volume may hold the same first content, with the same uuid in it. */
export function mayHaveTwin({ contentSource, isImported }: Volume): boolean {
  return contentSource !== undefined || isImported === true;
}

/** What a volume had when it was made, of all that may change. */
export interface AsCreated {
  sizeBytes: bigint;
  limits?: VolumeLimits | undefined;
}

/** What a volume was made from. */
export type ContentSource = { kind: "snapshot"; snapshotId: string } | { kind: "volume"; volumeId: string };

/** Smallest sizes that mkfs accepts: xfsprogs since 5.19, and btrfs-progs with its defaults. */
export const fsSizeBytesMin: Readonly<Record<FsType, bigint>> = {
  ext4: 1024n ** 2n,
  xfs: 300n * 1024n ** 2n,
  btrfs: 109n * 1024n ** 2n,
};
