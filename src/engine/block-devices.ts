import type { DeviceStats } from "../ublk/index.js";

/**
 * The seam between the driver and whatever serves its block devices. The driver asks for "a block device over this
 * image" and never learns whether the engine lives in its own process or behind a socket.
 */
export interface BlockDevices {
  /**
   * Returns the device of this volume, making it when there is none. Attaching a volume again with the same spec returns
   * the device it has; with another image, size or access it fails with `spec_mismatch`.
   */
  attach(spec: BlockDeviceSpec): Promise<BlockDevice>;
  /**
   * Removes the device of this volume after its last user is gone; a volume without a device is a success.
   * Fails with `in_use` while something holds the device, and leaves it serving.
   */
  detach(volumeId: string): Promise<void>;
  /** The device of this volume as the kernel has it now, or undefined when it has none. */
  find(volumeId: string): Promise<BlockDevice | undefined>;
  /** Every device that belongs to this driver instance, without those of which journal and kernel disagree. */
  list(): Promise<BlockDevice[]>;
  /**
   * Every volume that has a device, or might have: also one whose journal entry is unreadable, or does not say what the
   * kernel says. The image of none of them may be touched.
   */
  listVolumeIds(): Promise<string[]>;
  /**
   * Grows a device while it is used; its image must have the new size already. The present size is a success, a smaller
   * one is refused. A crash leaves the old size or the new, and the call may be repeated.
   */
  resize(volumeId: string, sizeBytes: bigint): Promise<BlockDevice>;
  /** Replaces all limits of a device while it is used; `{}` lifts them. They outlive the process that serves the device. */
  setLimits(volumeId: string, limits: BlockDeviceLimits): Promise<void>;
  /**
   * Holds the I/O of these devices at one instant, and makes durable what was written before. They thaw by themselves so
   * long after the call. Fails with `frozen` when one of them is, and then changes none. Resolves with what ends this
   * freeze, and no other.
   */
  freeze(volumeIds: readonly string[], options: { deadlineMs: number }): Promise<FreezeToken>;
  /**
   * Lets the I/O of devices go on that this freeze holds. Fails with `frozen`, and this freeze ended, when it did not hold
   * one of them any more: what was done in the meantime may not hold together. Another freeze goes on.
   */
  thaw(volumeIds: readonly string[], token: FreezeToken): Promise<void>;
  /**
   * Fixes one instant for all these images, and begins to copy what they hold at it. Resolves when the instant is fixed:
   * I/O of their devices stood still for that moment, and goes on. A write that comes before its piece is copied waits for
   * just that piece. The copies go on by themselves, over a restart, a crash or a hand-over of the engine, and whether the
   * volume gets or loses a device meanwhile; `deadlineMs` is the longest that I/O may stand still. On failure there is
   * none of the copies. Repeating the call is a success.
   */
  startCopies(specs: readonly ImageCopySpec[], options: { deadlineMs: number }): Promise<void>;
  /** How far a copy is, or undefined when there is none of this id. */
  findCopy(copyId: string): Promise<ImageCopy | undefined>;
  /** Forgets a copy, and cancels it when it is under way; the target file stays. An unknown one is a success. */
  endCopy(copyId: string): Promise<void>;
  /** What this engine can do on the running kernel. */
  capabilities(): Promise<BlockDeviceCapabilities>;
  /** The counters of a device since this engine began to serve it. */
  stats(volumeId: string): Promise<BlockDeviceStats>;
  /**
   * Tells the listener what happens to devices from now on, and of each device that is there the last request that has failed
   * with each errno since this engine serves it. Returns the function that ends that.
   */
  onEvent(listener: BlockDeviceListener): () => void;
  /**
   * Start-up: takes back the devices that the journal names and the kernel still has, removes its own dead ones, and says
   * what it did. Devices without a journal entry of ours are foreign and stay untouched.
   */
  adopt(): Promise<AdoptionReport>;
  /** Shutdown: detaches what nobody uses and leaves the devices in use recoverable for the next process. */
  close(): Promise<void>;
}

/** Names one freeze of a group of devices; of all engines of this machine no two give the same. */
export type FreezeToken = bigint;

/** What a device is made of. The image exists and has its final size before a device is asked for. */
export interface BlockDeviceSpec {
  volumeId: string;
  image: BlockDeviceImage;
  sizeBytes: bigint;
  readOnly: boolean;
  /** 512 or 4096. */
  logicalBlockSizeBytes: number;
  /** Gives discarded ranges back to the pool. Off for thick volumes, whose space stays reserved. */
  discard: boolean;
  queueCount?: number;
  queueDepth?: number;
}

export interface BlockDeviceImage {
  /** `memory` images are files on a tmpfs which the engine maps. */
  kind: "file" | "memory";
  /** Absolute path. */
  path: string;
}

export interface BlockDevice {
  volumeId: string;
  /** The number N of /dev/ublkbN. */
  deviceId: number;
  /** The block device node, for example /dev/ublkb0. */
  path: string;
  sizeBytes: bigint;
  readOnly: boolean;
  /** `live` serves I/O; `quiesced` holds I/O until a server recovers it; `dead` can only be removed. */
  state: "live" | "quiesced" | "dead";
  /** How the engine serves it; absent while it does not. */
  serving?: BlockDeviceServing;
}

/** What the engine chose for a device, or found when it took it back. */
export interface BlockDeviceServing {
  /** Names of the driver's features that the device has. */
  features: readonly string[];
  /** How payload travels, one of the data modes of `ublk-csi/ublk`. */
  dataMode: string;
  /** Whether requests are fetched and committed in batches. */
  batch: boolean;
  /** Whether the page cache of the image's file system is bypassed. */
  direct: boolean;
  queueCount: number;
  queueDepth: number;
}

/** One image to copy as it is at one instant. */
export interface ImageCopySpec {
  /** Chosen by the caller, formed like a volume id. */
  copyId: string;
  /** Whose image it is: with a device or without. */
  volumeId: string;
  source: BlockDeviceImage;
  /** How much of the source is copied, from its begin. A device that grows later changes nothing about it. */
  sizeBytes: bigint;
  /** An empty sparse file of that size, made by the caller. Holes of the source stay holes. */
  targetPath: string;
}

/** A copy that was begun and not ended by its caller. */
export interface ImageCopy {
  copyId: string;
  volumeId: string;
  /** `done`: the target has everything, durably. `failed`: it is worthless, and the volume goes on without the copy. */
  state: "copying" | "done" | "failed";
  copiedBytes: bigint;
  totalBytes: bigint;
  /** Why it failed. */
  reason?: string;
}

/** What depends on the kernel. */
export interface BlockDeviceCapabilities {
  /** Whether `resize` works; where it does not, a device gets its new size when it is detached and attached again. */
  onlineResize: boolean;
}

/** Counters of one device since its present server began to serve it. */
export type BlockDeviceStats = DeviceStats;

/** Ceilings of one device; what is absent has none, and zero is refused. */
export interface BlockDeviceLimits {
  readIops?: number;
  writeIops?: number;
  iops?: number;
  readBytesPerSecond?: number;
  writeBytesPerSecond?: number;
  bytesPerSecond?: number;
  /** How much of an idle time may be made up for at once. */
  burstMs?: number;
}

/** Those of the limits that are ceilings. */
export const blockDeviceRates = [
  "readIops",
  "writeIops",
  "iops",
  "readBytesPerSecond",
  "writeBytesPerSecond",
  "bytesPerSecond",
] as const satisfies readonly (keyof BlockDeviceLimits)[];

/** Something that happened to a device. */
export type BlockDeviceEvent = { volumeId: string; deviceId: number } & (
  | { kind: "attached" | "recovered" | "resized"; sizeBytes: bigint }
  | { kind: "detached" }
  /** Somebody else stopped or deleted the device. */
  | { kind: "stopped" }
  /** The deadline of a freeze passed. */
  | { kind: "thawed" }
  | ({ kind: "io-error" } & FailedRequest)
);

/** The image failed a request. */
export interface FailedRequest {
  operation: string;
  errnoName: string;
  offsetBytes: bigint;
  lengthBytes: number;
  /** When, in milliseconds since the epoch; absent from an engine that does not say. */
  atMs?: number;
}

export type BlockDeviceListener = (event: BlockDeviceEvent) => void;

/** One line of what start-up found and did. */
export interface AdoptionEntry {
  volumeId: string;
  deviceId?: number;
  action: "adopted" | "removed" | "kept" | "failed";
  reason: string;
}

export interface AdoptionReport {
  entries: AdoptionEntry[];
}

/** Why an operation failed. */
export const blockDeviceErrorCodes = [
  /** Somebody uses the device. */
  "in_use",
  /** The volume has a device, but not the one asked for. */
  "spec_mismatch",
  /** The image is not there, or too small. */
  "image_missing",
  /** The volume has no device. */
  "not_found",
  /** The request makes no sense, whatever the state of the device. */
  "invalid",
  /** The kernel or the device cannot do this. */
  "unsupported",
  /** The device is frozen, and this has to wait until it thaws. */
  "frozen",
  /** Not now: try again later. */
  "unavailable",
  "internal",
] as const;
export type BlockDeviceErrorCode = (typeof blockDeviceErrorCodes)[number];

/** A block device operation failed. The message says what to do; `code` is stable. */
export class BlockDeviceError extends Error {
  override readonly name = "BlockDeviceError";

  constructor(
    readonly code: BlockDeviceErrorCode,
    message: string,
    options?: { cause?: unknown },
  ) {
    super(message, options);
  }
}
