import { createRequire } from "node:module";
import type { DataMode } from "./features/data-modes.js";

/**
 * All that native code offers. Known inside the library, absent from its index. Every promise rejects with a
 * {@link NativeFailure}; `errors.ts` turns it into a `UblkError`.
 */
export interface Addon {
  /** The mask of UBLK_F_* bits the driver knows (UBLK_U_CMD_GET_FEATURES). */
  readFeatures(): Promise<bigint>;
  /** Bring-up, or recovery when `spec.recover` is set: resolves when /dev/ublkbN serves I/O. */
  openDevice(spec: NativeDeviceSpec, onEvent: (event: NativeEvent) => void): Promise<NativeDevice>;
  /**
   * Ends serving. `remove` stops the device and deletes it from the kernel, `remove-unused` only when nobody has it open
   * (EBUSY; ENOTSUP where the kernel lacks SAFE_STOP_DEV); `release` closes our side only, so that a recoverable device
   * waits for its next server. A frozen device is thawed first. After a rejection the handle is good for another try.
   */
  closeDevice(handle: DeviceHandle, how: NativeClose): Promise<void>;
  /** As `release`, after the kernel was told to hold new requests back (QUIESCE_DEV). */
  quiesceDevice(handle: DeviceHandle, timeoutMs: number): Promise<void>;
  /** Grows the served device to `sizeBytes`, a multiple of its block; its target has to be that large already. */
  resizeDevice(handle: DeviceHandle, sizeBytes: bigint): Promise<void>;
  /** Replaces the limits, for waiting requests too. */
  setLimits(handle: DeviceHandle, limits: NativeLimits): Promise<void>;
  /**
   * Holds new requests of all these devices back, lets those in flight finish, and makes what they wrote durable. The
   * devices thaw by themselves `deadlineMs` after the call. Rejects, with all of them thawed, when it takes longer.
   */
  freezeDevices(handles: DeviceHandle[], deadlineMs: number): Promise<bigint>;
  /**
   * Lets requests pass again. False for each device that was not frozen any more. With what `freezeDevices` gave, only by
   * that freeze; another one goes on.
   */
  thawDevices(handles: DeviceHandle[], freeze?: bigint): Promise<boolean[]>;
  /** Prepares a copy that begins at `startCopies`; its file of progress is made, or made anew. */
  createCopy(spec: NativeCopySpec): Promise<CopyHandle>;
  /** Goes on with a copy that another process has begun, or reports how it ended. EPROTO when the file of progress is none. */
  resumeCopy(spec: NativeCopySpec): Promise<CopyHandle>;
  /**
   * Begins all these copies at one instant, at which their devices stand still for at most `deadlineMs`. Resolves with how
   * long they did, in milliseconds. Rejects with all copies cancelled.
   */
  startCopies(copies: NativeCopyStart[], deadlineMs: number): Promise<number>;
  /** Leaves the rest to another process; what waits for the copy goes on waiting. */
  pauseCopy(copy: CopyHandle): Promise<void>;
  /** Ends the copy for good, which its file of progress says then. */
  cancelCopy(copy: CopyHandle): Promise<void>;
  readCopy(copy: CopyHandle): NativeCopyStatus;
  /** Replaces the rules of a fault target; requests that hang go on. EINVAL for any other target. */
  setFaultRules(handle: DeviceHandle, rules: NativeFaultRule[]): Promise<void>;
  /** What the kernel says of one device, whoever serves it. */
  readDeviceInfo(deviceId: number): Promise<NativeDeviceInfo>;
  /**
   * Stops and deletes a device that no handle of this process serves. With a tag, only the device that has it; another
   * one of this number makes it ENODEV.
   */
  removeDevice(deviceId: number, ownerTag?: bigint): Promise<void>;
  /** Counters since bring-up, summed over the queues. Reading them disturbs nothing. */
  readStats(handle: DeviceHandle): NativeStats;
  /**
   * For crash tests: this process ends as by SIGKILL right before or after a control command, such as `before:ADD_DEV`.
   * False when there is no such point.
   */
  dieAt(point: string): boolean;
}

/**
 * What works on whole files and needs no ublk driver. Ranges are bytes; an answer with `nextBytes` is one page of a list
 * that goes on there. Rejections are {@link NativeFailure}s, EOPNOTSUPP where the file system lacks the ability.
 */
export interface FileAddon {
  /** Makes `target`, which must not exist, share the blocks of `source` (FICLONE). */
  cloneFile(source: string, target: string): Promise<void>;
  /** Four numbers for each extent: place in the file, place on the disk, length, FIEMAP_EXTENT_* bits. */
  readExtents(path: string, offsetBytes: bigint, lengthBytes: bigint): Promise<NativePage>;
  /** As `readExtents`, without writing out what is dirty. */
  peekExtents(path: string, offsetBytes: bigint, lengthBytes: bigint): Promise<NativePage>;
  /** Two numbers for each range of data: offset and length (SEEK_DATA, SEEK_HOLE). */
  readDataRanges(path: string, offsetBytes: bigint, lengthBytes: bigint): Promise<NativePage>;
}

export interface NativePage {
  entries: BigUint64Array;
  nextBytes: bigint | undefined;
}

export type NativeClose = "remove" | "remove-unused" | "release";

/** Opaque: the native device behind it lives until `closeDevice` or the end of the environment. */
export type DeviceHandle = { readonly __ublkDevice: never };

/** Opaque: a copy of an image. */
export type CopyHandle = { readonly __ublkCopy: never };

export interface NativeCopySpec {
  sourcePath: string;
  targetPath: string;
  progressPath: string;
  sizeBytes: bigint;
  /** Read around the page cache where the file system can, as the device over the source writes. */
  direct: boolean;
  /** Of the machine: a copy that another boot has begun is lost. */
  bootId: string;
}

export interface NativeCopyStart {
  copy: CopyHandle;
  /** Of the device over its source. */
  device?: DeviceHandle | undefined;
}

export interface NativeCopyStatus {
  /** `starting` before `startCopies`. */
  state: "starting" | "copying" | "done" | "failed";
  copiedBytes: bigint;
  /** Why it failed, or empty. */
  reason: string;
}

export type NativeTarget =
  | { kind: "null" }
  /** `path` is a file on tmpfs or hugetlbfs; without it the bytes live in anonymous memory and go with the process. */
  | { kind: "memory"; path?: string }
  /** `direct` asks for O_DIRECT; the engine falls back to buffered I/O where the file system cannot, and says so. */
  | { kind: "file"; path: string; direct: boolean }
  /** The target `over` with faults in it. */
  | { kind: "fault"; over: NativeTarget; rules: NativeFaultRule[]; seed: number }
  /**
   * A backend in JavaScript. `serve` is called on the event loop with one batch of requests of one queue. Abilities that
   * the backend lacks are not announced to the kernel.
   */
  | {
      kind: "js";
      flush: boolean;
      trim: boolean;
      writeZeroes: boolean;
      serve: (lane: NativeLane, requestCount: number) => void;
    };

/** The way of one queue's requests to a backend and back. The same object for the life of the queue. */
export interface NativeLane {
  /** Where the requests' buffers lie. It outlives the device for as long as anybody refers to it. */
  readonly memory: ArrayBuffer;
  /** Tag, operation, offset, length and place in `memory` of each request; valid during `serve`. */
  readonly requests: Float64Array;
  /** Where to write answers: tag, and 0 or a negative errno. */
  readonly answers: Int32Array;
  /** Hands in the first `count` answers. */
  answer(count: number): void;
}

/** One rule of a fault target with nothing left out. */
export interface NativeFaultRule {
  /** A bit for each operation, by its number in the kernel. */
  operations: number;
  hasRange: boolean;
  offsetBytes: bigint;
  lengthBytes: bigint;
  after: number;
  every: number;
  times: number;
  probability: number;
  action: "delay" | "error" | "tear" | "hang" | "die";
  /** Milliseconds, errno, bytes, or the number of the point of death. */
  value: number;
}

export interface NativeDeviceSpec {
  target: NativeTarget;
  /** The wanted N of /dev/ublkbN, or -1 for the next free one. With `recover` the device to take back. */
  deviceId: number;
  /** Take back an existing quiesced device instead of adding one. Geometry comes from the kernel. */
  recover: boolean;
  sizeBytes: bigint;
  logicalBlockSizeBytes: number;
  queueCount: number;
  queueDepth: number;
  maxIoBytes: number;
  readOnly: boolean;
  discard: boolean;
  /** UBLK_F_* bits to ask for; the kernel may grant fewer. */
  features: bigint;
  /** Made by a process without CAP_SYS_ADMIN: every command about it names /dev/ublkcN. */
  unprivileged: boolean;
  /** ublksrv_flags: opaque to the kernel, read back to recognise one's own devices. */
  ownerTag: bigint;
  limits: NativeLimits;
  /** The CPUs of every queue's thread; empty: those of its hardware queue. */
  cpus: readonly number[];
  /** Of the image, begun before the device is there: what they have not copied is not changed. */
  copies: readonly CopyHandle[];
}

/** Ceilings of one device; 0 means none. `burstMs` of the rate may pass at once after an idle time. */
export interface NativeLimits {
  readIops: number;
  writeIops: number;
  iops: number;
  readBytesPerSecond: number;
  writeBytesPerSecond: number;
  bytesPerSecond: number;
  burstMs: number;
}

export interface NativeDevice {
  handle: DeviceHandle;
  deviceId: number;
  /** UBLK_F_* bits the kernel granted. */
  features: bigint;
  queueCount: number;
  queueDepth: number;
  maxIoBytes: number;
  sizeBytes: bigint;
  /** Whether the file target really does O_DIRECT. */
  direct: boolean;
  /** As the granted features say. */
  dataMode: DataMode;
  batch: boolean;
}

export interface NativeDeviceInfo {
  deviceId: number;
  queueCount: number;
  queueDepth: number;
  maxIoBytes: number;
  /** The process that serves it, as the kernel recorded it; -1 when none. */
  serverPid: number;
  /** UBLK_S_DEV_*: 0 dead, 1 live, 2 quiesced, 3 fail-io. */
  state: number;
  features: bigint;
  ownerTag: bigint;
  /** From GET_PARAMS. */
  sizeBytes: bigint;
  logicalBlockSizeBytes: number;
  readOnly: boolean;
}

/** Successful operations and their bytes; `errors` are answers other than success and "not supported". */
export interface NativeStats {
  reads: bigint;
  writes: bigint;
  flushes: bigint;
  discards: bigint;
  writeZeroes: bigint;
  readBytes: bigint;
  writeBytes: bigint;
  discardBytes: bigint;
  writeZeroesBytes: bigint;
  errors: bigint;
  /** Requests the target works on now. */
  inFlight: number;
  /** Requests held back now, by a limit, a freeze or a copy of the image. */
  waiting: number;
  /** Requests that a limit has held back so far, and for how long in sum. */
  throttled: bigint;
  throttledNs: bigint;
  frozen: boolean;
  latency: NativeLatency;
}

/** For each operation the successful requests by how long the target took, see `latency.ts`. */
export interface NativeLatency {
  read: NativeHistogram;
  write: NativeHistogram;
  flush: NativeHistogram;
  discard: NativeHistogram;
  writeZeroes: NativeHistogram;
}

export interface NativeHistogram {
  sumNs: bigint;
  counts: BigUint64Array;
}

export type NativeEvent =
  /** The target answered a request with an error: `errno` is positive, offset and length are bytes. */
  | { kind: "io-error"; errno: number; operation: number; offsetBytes: bigint; lengthBytes: number }
  /** The kernel ended serving without `closeDevice`: somebody else stopped or deleted the device. */
  | { kind: "stopped" }
  /** The deadline of a freeze passed, and requests go on without `thawDevices`. */
  | { kind: "thawed" };

/** The shape of every native rejection: an Error with a positive errno and the step that failed. */
export interface NativeFailure extends Error {
  /** ETIMEDOUT when the watchdog gave up on the step. */
  errno: number;
  step: NativeStep;
  /** After ETIMEDOUT: for how long the step was waited for. */
  waitedMs?: number;
  /** After ETIMEDOUT: what the engine saw, such as the kernel stack of the command's worker. */
  seen?: string;
}

/** The steps whose errno `errors.ts` explains; a step it does not know still becomes a `UblkError`. */
export type NativeStep =
  /** open(2) of /dev/ublk-control. */
  | "OPEN_CONTROL"
  /** io_uring_setup of the control ring or of a queue's. */
  | "CREATE_RING"
  | "GET_FEATURES"
  | "GET_DEV_INFO"
  | "ADD_DEV"
  /** open(2) of /dev/ublkcN. */
  | "OPEN_CHAR"
  | "SET_PARAMS"
  | "GET_PARAMS"
  /** open(2), fstat or mmap of the image. */
  | "OPEN_TARGET"
  /** Claiming the image for this server; EAGAIN when another one has it. */
  | "LOCK_IMAGE"
  /** Buffers, mlock, descriptors and FETCH of one queue. */
  | "START_QUEUE"
  | "START_DEV"
  | "START_USER_RECOVERY"
  | "END_USER_RECOVERY"
  | "STOP_DEV"
  | "TRY_STOP_DEV"
  | "DEL_DEV"
  | "QUIESCE_DEV"
  /** The target of a device that shall grow. */
  | "GROW_TARGET"
  | "UPDATE_SIZE"
  /** Holding back requests and waiting for those in flight. */
  | "FREEZE"
  /** Making the target durable during a freeze. */
  | "FLUSH_TARGET"
  /** Saying at the instant that a copy counts, or its thread. */
  | "BEGIN_COPY"
  | (string & {});

/** Loads the addon built by node-gyp. The one place that knows where the binary lies. */
export function loadAddon(): Addon & FileAddon {
  const require = createRequire(import.meta.url);
  return require("../../native/build/Release/ublk.node") as Addon & FileAddon;
}
