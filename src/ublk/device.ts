import type { Addon, NativeDevice, NativeStats } from "./addon.js";
import { toBlockDevicePath } from "./device-info.js";
import type { EnvironmentReader } from "./environment.js";
import { UblkError } from "./errors.js";
import type { DeviceListener, EventRelay } from "./events.js";
import { toUblkError } from "./explain.js";
import { compareFeatures } from "./features.js";
import type { FeatureReport } from "./negotiate.js";

/**
 * `open` until `stop` or `release`; `ended` once somebody else has stopped the device; `stopping` while the kernel takes
 * it down; `stopped` when nothing of it is left in this process.
 */
export type UblkDeviceState = "open" | "ended" | "stopping" | "stopped";

/** Counters since this process began to serve the device, summed over its queues. */
export type DeviceStats = NativeStats;

/** What a device is made with, beside what native code reports. */
export interface UblkDeviceParts {
  addon: Addon;
  native: NativeDevice;
  relay: EventRelay;
  reader: EnvironmentReader;
  requestedFeatures: bigint;
  readOnly: boolean;
  logicalBlockSizeBytes: number;
  featureReport: FeatureReport[];
}

/** One block device that this process serves. Made by `createAndServe` and `recoverAndServe`. */
export class UblkDevice {
  /** The number N of /dev/ublkbN. */
  readonly deviceId: number;
  /** The block device node, for example /dev/ublkb0. */
  readonly path: string;
  readonly sizeBytes: bigint;
  readonly logicalBlockSizeBytes: number;
  readonly readOnly: boolean;
  readonly queueCount: number;
  readonly queueDepth: number;
  readonly maxIoBytes: number;
  /** Whether a file target really bypasses the page cache. */
  readonly direct: boolean;
  /** Names of the features the kernel granted. */
  readonly features: readonly string[];
  /** Names of features that were asked for and not granted. */
  readonly lostFeatures: readonly string[];
  /** What became of every feature that this library knows, and why. */
  readonly featureReport: readonly FeatureReport[];

  private currentState: UblkDeviceState = "open";
  private closing: { how: "remove" | "release"; done: Promise<void> } | undefined;

  constructor(private readonly parts: UblkDeviceParts) {
    const { native } = parts;
    const { granted, lost } = compareFeatures(parts.requestedFeatures, native.features);
    this.deviceId = native.deviceId;
    this.path = toBlockDevicePath(native.deviceId);
    this.sizeBytes = native.sizeBytes;
    this.logicalBlockSizeBytes = parts.logicalBlockSizeBytes;
    this.readOnly = parts.readOnly;
    this.queueCount = native.queueCount;
    this.queueDepth = native.queueDepth;
    this.maxIoBytes = native.maxIoBytes;
    this.direct = native.direct;
    this.features = granted;
    this.lostFeatures = lost;
    this.featureReport = parts.featureReport;
    parts.relay.add((event) => {
      if (event.kind === "stopped" && this.currentState === "open") this.currentState = "ended";
    });
  }

  get state(): UblkDeviceState {
    return this.currentState;
  }

  /** Whether the device outlives this process. */
  get recoverable(): boolean {
    return this.features.includes("USER_RECOVERY");
  }

  /** Subscribes to events and returns the function that ends the subscription. It does not keep the process alive. */
  onEvent(listener: DeviceListener): () => void {
    return this.parts.relay.add(listener);
  }

  /** The counters now. Throws `device_stopped` once the device is stopping. */
  stats(): DeviceStats {
    if (this.currentState === "stopping" || this.currentState === "stopped") {
      throw new UblkError("device_stopped", `${this.path} is ${this.currentState}`, {
        operation: "stats",
        hint: "read the counters before stop or release",
      });
    }
    return this.parts.addon.readStats(this.parts.native.handle);
  }

  /**
   * Stops the device and deletes it from the kernel, after its dirty pages were written back. Calling it again, also
   * while it runs, gives the same outcome; after a failure it may be tried again.
   */
  async stop(): Promise<void> {
    await this.close("remove", "stopAndDelete");
  }

  /**
   * Ends serving and leaves the device, I/O waiting, for `recoverAndServe` of any process. The kernel may show it `live`
   * for a moment longer.
   */
  async release(): Promise<void> {
    if (!this.recoverable) {
      throw new UblkError("not_recoverable", `${this.path} cannot wait for another server`, {
        operation: "release",
        hint: "create it with recoverable: true, or stop it",
      });
    }
    await this.close("release", "release");
  }

  private close(how: "remove" | "release", operation: string): Promise<void> {
    this.closing ??= { how, done: this.closeOnce(how, operation) };
    if (this.closing.how === how) return this.closing.done;
    const already = how === "remove" ? "released" : "stopped";
    throw new UblkError("device_stopped", `${this.path} is already being ${already}`, {
      operation,
      hint: how === "remove" ? "recover it first, or use removeDevice" : "create a new one",
    });
  }

  private async closeOnce(how: "remove" | "release", operation: string): Promise<void> {
    const { addon, native, reader } = this.parts;
    const before = this.currentState;
    this.currentState = "stopping";
    try {
      await addon.closeDevice(native.handle, how);
      this.currentState = "stopped";
    } catch (error) {
      this.currentState = before;
      this.closing = undefined;
      throw await toUblkError(error, { operation, subject: this.path, deviceId: this.deviceId }, reader);
    }
  }
}
