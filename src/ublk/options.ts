import type { NativeLimits } from "./addon.js";
import { defaultQueueCount, defaultQueueDepth } from "./default-geometry.js";
import { UblkError, type UblkErrorCode } from "./errors.js";
import { type DataMode, dataModeNames } from "./features/data-modes.js";
import { type FeatureOptions, validateFeatureOptions } from "./features/feature-wishes.js";
import type { FeatureWishes } from "./features/negotiate.js";
import type { UblkImageCopy } from "./image-copy.js";
import { type Limits, toNativeLimits } from "./limits.js";
import { showValue } from "./show-value.js";
import { findImagePath, isAnonymousMemory, type Target } from "./targets/target.js";
import { checkTarget } from "./targets/target-check.js";

export type { Target } from "./targets/target.js";

/** What to serve. */
export interface DeviceParams {
  target: Target;
  /** A positive multiple of the logical block. May be left out where the target has a size: a file, a backend. */
  sizeBytes?: number | bigint;
  /** Copies of the target's image that were begun before: the device changes nothing that they still need. */
  copies?: readonly UblkImageCopy[];
}

/** How to serve it. docs/library.md has the table. */
export interface DeviceOptions {
  /** The wanted N of /dev/ublkbN. Default: the next free one. */
  deviceId?: number;
  /** Queues, each with a thread of its own; at most one per CPU is of use. Default: by processors and target. */
  queueCount?: number;
  /** Requests in flight per queue, 1 to 4096. Default 128 for a file, else 64. */
  queueDepth?: number;
  /** The largest single request, a multiple of 4096 up to 32 MiB. Default 128 KiB. */
  maxIoBytes?: number;
  /** 512 or 4096. Default 512. */
  logicalBlockSizeBytes?: number;
  /** Default false. */
  readOnly?: boolean;
  /** Pass discards on to the target, which frees the space. Default true. */
  discard?: boolean;
  /** The device outlives this process and waits, I/O and all, for `recoverAndServe`. Default false. */
  recoverable?: boolean;
  /** A 64-bit number kept by the kernel, to recognise one's own devices. Default 0. */
  ownerTag?: bigint;
  /** Bypass the page cache (O_DIRECT) of a file target where its file system can. Default true. */
  direct?: boolean;
  /** Serve without root; the device then has fewer abilities. Default false. docs/library.md has the conditions. */
  unprivileged?: boolean;
  /** How payload travels. Default `auto`: the best for target and kernel, see `UblkDevice.dataMode`. */
  dataMode?: DataMode | "auto";
  /** Fetch and commit requests in batches (kernel 7.0). Default `auto`: where that is known to win and to be safe. */
  batch?: "auto" | "on" | "off";
  /** The CPUs that the queues' threads may use. Default: those of each hardware queue. */
  cpus?: readonly number[];
  /** Features of the kernel by name, beside those that other options stand for. */
  features?: FeatureOptions;
  /** Make the device although this kernel is known to break. Default false. */
  allowBrokenKernel?: boolean;
  /** Ceilings of operations and bytes per second; `setLimits` changes them. Default: none. */
  limits?: Limits;
}

/** {@link DeviceParams} and {@link DeviceOptions} after validation: nothing is left to guess, except the file's size. */
export interface NormalisedOptions {
  target: Target;
  sizeBytes: bigint | undefined;
  deviceId: number | undefined;
  queueCount: number;
  queueDepth: number;
  maxIoBytes: number;
  logicalBlockSizeBytes: number;
  readOnly: boolean;
  discard: boolean;
  recoverable: boolean;
  ownerTag: bigint;
  direct: boolean;
  unprivileged: boolean;
  dataMode: DataMode | "auto";
  batch: "auto" | "on" | "off";
  cpus: readonly number[];
  features: FeatureWishes;
  allowBrokenKernel: boolean;
  limits: NativeLimits;
}

export const defaultMaxIoBytes = 128 * 1024;

const maxQueueCount = 4096;
const maxQueueDepth = 4096;
/** The kernel addresses a request's bytes with 25 bits. */
const maxMaxIoBytes = 32 * 1024 * 1024;
/** As many as the engine's masks have bits. */
const maxCpu = 8191;
const maxDeviceId = 2 ** 20 - 1;
/** Sector numbers are 64 bits wide, but loff_t of the image is signed. */
const maxSizeBytes = 2n ** 63n - 1n;

const knownOptions = [
  "deviceId",
  "queueCount",
  "queueDepth",
  "maxIoBytes",
  "logicalBlockSizeBytes",
  "readOnly",
  "discard",
  "recoverable",
  "ownerTag",
  "direct",
  "unprivileged",
  "dataMode",
  "batch",
  "cpus",
  "features",
  "allowBrokenKernel",
  "limits",
];

/** Returns params and options with every default filled in, or throws a `UblkError` that names the culprit. */
export function validateOptions(
  params: DeviceParams,
  options: DeviceOptions = {},
  operation = "createAndServe",
): NormalisedOptions {
  const check = new OptionChecker(operation);
  check.known("options", options, knownOptions);
  check.known("params", params, ["target", "sizeBytes", "copies"]);
  const normalised: NormalisedOptions = {
    target: checkTarget(params.target, operation),
    sizeBytes: params.sizeBytes === undefined ? undefined : check.size(params.sizeBytes),
    deviceId: options.deviceId === undefined ? undefined : check.integer("deviceId", options.deviceId, 0, maxDeviceId),
    queueCount: check.integer(
      "queueCount",
      options.queueCount ?? defaultQueueCount(params.target?.kind),
      1,
      maxQueueCount,
    ),
    queueDepth: check.integer(
      "queueDepth",
      options.queueDepth ?? defaultQueueDepth(params.target?.kind),
      1,
      maxQueueDepth,
    ),
    maxIoBytes: check.maxIoBytes(options.maxIoBytes ?? defaultMaxIoBytes),
    logicalBlockSizeBytes: check.logicalBlock(options.logicalBlockSizeBytes ?? 512),
    readOnly: check.flag("readOnly", options.readOnly ?? false),
    discard: check.flag("discard", options.discard ?? true),
    recoverable: check.flag("recoverable", options.recoverable ?? false),
    ownerTag: check.ownerTag(options.ownerTag ?? 0n),
    direct: check.flag("direct", options.direct ?? true),
    unprivileged: check.flag("unprivileged", options.unprivileged ?? false),
    dataMode: check.oneOf("dataMode", options.dataMode ?? "auto", ["auto", ...dataModeNames]),
    batch: check.oneOf("batch", options.batch ?? "auto", ["auto", "on", "off"]),
    cpus: check.cpus(options.cpus ?? []),
    features: validateFeatureOptions(options.features, operation),
    allowBrokenKernel: check.flag("allowBrokenKernel", options.allowBrokenKernel ?? false),
    limits: toNativeLimits(options.limits ?? {}, operation),
  };
  check.combination(normalised);
  if (normalised.sizeBytes !== undefined)
    validateSize(normalised.sizeBytes, normalised.logicalBlockSizeBytes, operation);
  return normalised;
}

/** Throws unless `sizeBytes` is a positive multiple of the logical block. `what` is the subject of the message. */
export function validateSize(
  sizeBytes: bigint,
  logicalBlockSizeBytes: number,
  operation: string,
  what = "sizeBytes",
): void {
  if (sizeBytes <= 0n || sizeBytes > maxSizeBytes) {
    throw invalid(operation, `${what} is ${sizeBytes}; expected 1 to ${maxSizeBytes} bytes`);
  }
  const rest = sizeBytes % BigInt(logicalBlockSizeBytes);
  if (rest === 0n) return;
  throw invalid(
    operation,
    `${what} is ${sizeBytes}; expected a multiple of the logical block of ${logicalBlockSizeBytes} bytes`,
    { code: "size_misaligned", hint: `use ${sizeBytes - rest + BigInt(logicalBlockSizeBytes)}` },
  );
}

/** The size to grow to, or an error: a device cannot shrink, since what is on it would lose its end. */
export function toNewSize(
  value: unknown,
  device: { path: string; sizeBytes: bigint; logicalBlockSizeBytes: number },
  operation: string,
): bigint {
  const sizeBytes = new OptionChecker(operation).size(value);
  validateSize(sizeBytes, device.logicalBlockSizeBytes, operation);
  if (sizeBytes >= device.sizeBytes) return sizeBytes;
  throw invalid(operation, `sizeBytes is ${sizeBytes}; expected at least the ${device.sizeBytes} of ${device.path}`, {
    hint: "a device can only grow: its users would lose what lies beyond the new end",
  });
}

/** A number of milliseconds from 1 to `longestMs`. */
export function toDuration(name: string, value: unknown, longestMs: number, operation: string): number {
  return new OptionChecker(operation).integer(name, value, 1, longestMs);
}

class OptionChecker {
  constructor(private readonly operation: string) {}

  known(what: string, value: unknown, names: string[]): void {
    if (typeof value !== "object" || value === null) this.fail(what, value, "an object");
    for (const name of Object.keys(value)) {
      if (!names.includes(name)) this.fail(`${what}: the unknown name`, name, `one of ${names.join(", ")}`);
    }
  }

  size(value: unknown): bigint {
    if (typeof value === "bigint") return value;
    if (typeof value === "number" && Number.isSafeInteger(value)) return BigInt(value);
    this.fail("sizeBytes", value, "a whole number or a bigint");
  }

  integer(name: string, value: unknown, min: number, max: number): number {
    if (typeof value === "number" && Number.isInteger(value) && value >= min && value <= max) return value;
    this.fail(name, value, `a whole number from ${min} to ${max}`);
  }

  maxIoBytes(value: unknown): number {
    const bytes = this.integer("maxIoBytes", value, 4096, maxMaxIoBytes);
    if (bytes % 4096 !== 0) this.fail("maxIoBytes", value, "a multiple of 4096");
    return bytes;
  }

  logicalBlock(value: unknown): number {
    if (value === 512 || value === 4096) return value;
    this.fail("logicalBlockSizeBytes", value, "512 or 4096");
  }

  flag(name: string, value: unknown): boolean {
    if (typeof value === "boolean") return value;
    this.fail(name, value, "true or false");
  }

  oneOf<T extends string>(name: string, value: unknown, allowed: readonly T[]): T {
    const found = allowed.find((one) => one === value);
    if (found !== undefined) return found;
    this.fail(name, value, `one of ${allowed.join(", ")}`);
  }

  cpus(value: unknown): readonly number[] {
    if (!Array.isArray(value)) this.fail("cpus", value, "an array of CPU numbers");
    return value.map((cpu) => this.integer("cpus: the CPU", cpu, 0, maxCpu));
  }

  ownerTag(value: unknown): bigint {
    if (typeof value === "bigint" && value >= 0n && value < 2n ** 64n) return value;
    this.fail("ownerTag", value, "a bigint from 0n to 2n ** 64n - 1n");
  }

  combination({ target, sizeBytes, recoverable, unprivileged }: NormalisedOptions): void {
    const anonymous = isAnonymousMemory(target);
    if (sizeBytes === undefined && !hasSize(target)) {
      this.fail("sizeBytes", sizeBytes, `the size of the ${target.kind} device in bytes`);
    }
    if (recoverable && unprivileged) {
      throw invalid(this.operation, "an unprivileged device cannot be recoverable: the kernel has no recovery for it", {
        hint: "leave out one of the two",
      });
    }
    if (recoverable && anonymous) {
      throw invalid(this.operation, "a memory device without a file loses its bytes with its process", {
        hint: "give target.path, a file on a tmpfs, or do not ask for recoverable",
      });
    }
  }

  private fail(name: string, value: unknown, expected: string): never {
    throw invalid(this.operation, `${name} is ${showValue(value)}; expected ${expected}`);
  }
}

function hasSize(target: Target): boolean {
  return target.kind === "js" || findImagePath(target) !== undefined;
}

function invalid(operation: string, message: string, more: { code?: UblkErrorCode; hint?: string } = {}): UblkError {
  const { code = "invalid_option", hint } = more;
  return new UblkError(code, message, { operation, ...(hint !== undefined && { hint }) });
}
