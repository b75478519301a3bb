import type { Addon, NativeDevice } from "./addon.js";
import { toBlockDevicePath } from "./device-info.js";
import { type DeviceUser, describeUsers } from "./diagnosis/device-users.js";
import type { EnvironmentReader } from "./diagnosis/environment.js";
import { toUblkError } from "./diagnosis/explain.js";
import { UblkError } from "./errors.js";
import type { DeviceListener, EventRelay } from "./events.js";
import type { DataMode } from "./features/data-modes.js";
import { compareFeatures, describeFeature } from "./features/features.js";
import type { FeatureReport } from "./features/negotiate.js";
import type { UblkImageCopy } from "./image-copy.js";
import { type Limits, toNativeLimits } from "./limits.js";
import { toDuration, toNewSize } from "./options.js";
import { type DeviceStats, toDeviceStats } from "./stats.js";
import { type FaultRule, toNativeFaultRules, validateFaultRules } from "./targets/fault-rules.js";

/**
 * `open` until `stop` or `release`; `ended` once somebody else has stopped the device; `stopping` while the kernel takes
 * it down; `stopped` when nothing of it is left in this process.
 */
export type UblkDeviceState = "open" | "ended" | "stopping" | "stopped";

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
  /** Whether `setFaultRules` may be used. */
  hasFaults: boolean;
  /** The image, for messages. */
  imagePath?: string | undefined;
  /** Who holds the block device. */
  findUsers: (deviceId: number, isLive: boolean) => Promise<DeviceUser[]>;
}

/** How serving ended or shall end. */
type Ending = "stop" | "stop-if-unused" | "release" | "quiesce";

const defaultQuiesceMs = 10_000;
const longestFreezeMs = 600_000;

/** One block device that this process serves. Made by `createAndServe` and `recoverAndServe`. */
export class UblkDevice {
  /** The number N of /dev/ublkbN. */
  readonly deviceId: number;
  /** The block device node, for example /dev/ublkb0. */
  readonly path: string;
  readonly logicalBlockSizeBytes: number;
  readonly readOnly: boolean;
  readonly queueCount: number;
  readonly queueDepth: number;
  readonly maxIoBytes: number;
  /** Whether a file target really bypasses the page cache. */
  readonly direct: boolean;
  /** How payload travels, as chosen when the device was made. */
  readonly dataMode: DataMode;
  /** Whether requests are fetched and committed in batches. */
  readonly batch: boolean;
  /** Names of the features the kernel granted. */
  readonly features: readonly string[];
  /** Names of features that were asked for and not granted. */
  readonly lostFeatures: readonly string[];
  /** What became of every feature that this library knows, and why. */
  readonly featureReport: readonly FeatureReport[];

  private currentState: UblkDeviceState = "open";
  private currentSizeBytes: bigint;
  private closing: { how: Ending; done: Promise<void> } | undefined;

  constructor(private readonly parts: UblkDeviceParts) {
    const { native } = parts;
    const { granted, lost } = compareFeatures(parts.requestedFeatures, native.features);
    this.deviceId = native.deviceId;
    this.path = toBlockDevicePath(native.deviceId);
    this.currentSizeBytes = native.sizeBytes;
    this.logicalBlockSizeBytes = parts.logicalBlockSizeBytes;
    this.readOnly = parts.readOnly;
    this.queueCount = native.queueCount;
    this.queueDepth = native.queueDepth;
    this.maxIoBytes = native.maxIoBytes;
    this.direct = native.direct;
    this.dataMode = native.dataMode;
    this.batch = native.batch;
    this.features = granted;
    this.lostFeatures = lost;
    this.featureReport = parts.featureReport;
    parts.relay.add((event) => {
      if (event.kind === "stopped" && this.currentState === "open") this.currentState = "ended";
    });
  }

  /**
   * Holds new requests of all the devices back at one instant, reads too, lets those in flight finish, and makes what they
   * wrote durable. They wait inside the engine, without an error, until `thaw` or until `deadlineMs` have passed since the
   * call, even when this process is too busy to notice. Rejects, with all devices thawed, when it takes longer than that.
   * Resolves with the name of this freeze, for `thaw`.
   */
  static async freeze(devices: readonly UblkDevice[], { deadlineMs }: FreezeOptions): Promise<bigint> {
    const operation = "freeze";
    const checkedMs = toDuration("deadlineMs", deadlineMs, longestFreezeMs, operation);
    for (const device of devices) device.assertServing(operation);
    const [first] = devices;
    if (first === undefined) return 1n; // the name of no device's freeze: they are moments in nanoseconds since the boot
    const handles = devices.map((device) => device.parts.native.handle);
    const subject = devices.map((device) => device.path).join(", ");
    return await first.explained(operation, () => first.parts.addon.freezeDevices(handles, checkedMs), subject);
  }

  /**
   * Begins copies at one instant, which is fixed when it resolves: the devices over their images stand still for that
   * moment, `deadlineMs` at most. Resolves with how long that was, in milliseconds. On failure every copy is cancelled.
   */
  static async startCopies(addon: Addon, starts: readonly CopyStart[], { deadlineMs }: FreezeOptions): Promise<number> {
    const operation = "startCopies";
    const checkedMs = toDuration("deadlineMs", deadlineMs, longestFreezeMs, operation);
    for (const { device } of starts) device?.assertServing(operation);
    const natives = starts.map(({ copy, device }) => ({ copy: copy.handle, device: device?.parts.native.handle }));
    return await addon.startCopies(natives, checkedMs);
  }

  get state(): UblkDeviceState {
    return this.currentState;
  }

  /** The size now; `resize` changes it. */
  get sizeBytes(): bigint {
    return this.currentSizeBytes;
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
    return toDeviceStats(this.parts.addon.readStats(this.parts.native.handle));
  }

  /** Replaces the rules of a fault target, which count from zero; requests that hang go on. */
  async setFaultRules(rules: readonly FaultRule[]): Promise<void> {
    const operation = "setFaultRules";
    this.assertServing(operation);
    if (!this.parts.hasFaults) {
      throw new UblkError("invalid_option", `${this.path} has no fault target`, {
        operation,
        hint: 'create it with a target of kind "fault"',
      });
    }
    validateFaultRules(rules, operation);
    const { addon, native } = this.parts;
    await this.explained(operation, () => addon.setFaultRules(native.handle, toNativeFaultRules(rules)));
  }

  /**
   * Grows the device while it is used. The image has to be that large already; memory without a file grows with it. What
   * is on the device, such as a file system, is grown by its own means afterwards.
   */
  async resize(sizeBytes: number | bigint): Promise<void> {
    const operation = "resize";
    this.assertServing(operation);
    const newSizeBytes = toNewSize(sizeBytes, this, operation);
    if (newSizeBytes === this.currentSizeBytes) return;
    this.assertFeature("UPDATE_SIZE", operation, "stop the device and serve it anew with the new size");
    const { addon, native } = this.parts;
    await this.explained(operation, () => addon.resizeDevice(native.handle, newSizeBytes));
    this.currentSizeBytes = newSizeBytes;
  }

  /** Replaces all limits, also for requests that wait already; `{}` lifts them. */
  async setLimits(limits: Limits): Promise<void> {
    const operation = "setLimits";
    this.assertServing(operation);
    const nativeLimits = toNativeLimits(limits, operation);
    const { addon, native } = this.parts;
    await this.explained(operation, () => addon.setLimits(native.handle, nativeLimits));
  }

  /**
   * Ends a freeze. False when its deadline had ended it before, so that what was done meanwhile may not hold together. With
   * what `freeze` gave, no other freeze is ended, or taken for that one.
   */
  async thaw(freeze?: bigint): Promise<boolean> {
    const operation = "thaw";
    this.assertServing(operation);
    const { addon, native } = this.parts;
    const [wasFrozen] = await this.explained(operation, () => addon.thawDevices([native.handle], freeze));
    return wasFrozen ?? false;
  }

  /**
   * Stops the device and deletes it from the kernel, after its dirty pages were written back. Calling it again, also
   * while it runs, gives the same outcome; after a failure it may be tried again. With `onlyIfUnused` it is refused with
   * `device_busy` and the names of the users while anybody has the device open.
   */
  async stop({ onlyIfUnused = false }: { onlyIfUnused?: boolean } = {}): Promise<void> {
    await this.close(onlyIfUnused ? "stop-if-unused" : "stop", "stopAndDelete");
  }

  /**
   * Ends serving and leaves the device, I/O waiting, for `recoverAndServe` of any process. The kernel may show it `live`
   * for a moment longer.
   */
  async release(): Promise<void> {
    this.assertRecoverable("release");
    await this.close("release", "release");
  }

  /**
   * As `release`, but the kernel holds new requests back first (QUIESCE, kernel 6.16): for a hand-over under load.
   * `timeoutMs` is how long the kernel waits for each queue to have a free tag; then the device is released all the same.
   */
  async quiesce({ timeoutMs = defaultQuiesceMs }: { timeoutMs?: number } = {}): Promise<void> {
    const operation = "quiesce";
    const checkedMs = toDuration("timeoutMs", timeoutMs, longestFreezeMs, operation);
    this.assertRecoverable(operation);
    this.assertFeature("QUIESCE", operation, "release the device instead");
    await this.close("quiesce", operation, checkedMs);
  }

  private async close(how: Ending, operation: string, timeoutMs = 0): Promise<void> {
    const running = this.closing;
    if (running === undefined) return await this.startClosing(how, operation, timeoutMs);
    if (isStop(how) !== isStop(running.how)) throw this.alreadyClosing(running.how, operation);
    if (how === running.how) return await running.done;
    await running.done.catch(() => {});
    if (this.currentState !== "stopped") await this.close(how, operation, timeoutMs);
  }

  private startClosing(how: Ending, operation: string, timeoutMs: number): Promise<void> {
    const done = this.closeOnce(how, operation, timeoutMs);
    this.closing = { how, done };
    return done;
  }

  private async closeOnce(how: Ending, operation: string, timeoutMs: number): Promise<void> {
    const before = this.currentState;
    this.currentState = "stopping";
    try {
      await this.explained(operation, () => this.closeNatively(how, timeoutMs));
      this.currentState = "stopped";
    } catch (error) {
      this.currentState = before;
      this.closing = undefined;
      throw error;
    }
  }

  private async closeNatively(how: Ending, timeoutMs: number): Promise<void> {
    const { addon, native } = this.parts;
    if (how === "release") return await addon.closeDevice(native.handle, "release");
    if (how === "quiesce") return await addon.quiesceDevice(native.handle, timeoutMs);
    if (how === "stop") return await addon.closeDevice(native.handle, "remove");
    // Where the kernel cannot decide, a look at the users has to do; somebody may open the device right after it.
    const kernelDecides = this.features.includes("SAFE_STOP_DEV");
    if (!kernelDecides) await this.assertUnused();
    try {
      await addon.closeDevice(native.handle, kernelDecides ? "remove-unused" : "remove");
    } catch (error) {
      if (kernelDecides) await this.assertUnused();
      throw error;
    }
  }

  private async assertUnused(): Promise<void> {
    const users = await this.parts.findUsers(this.deviceId, true);
    if (users.length === 0) return;
    throw new UblkError("device_busy", `${this.path} is in use by ${describeUsers(users)}`, {
      operation: "stopAndDelete",
      hint: "unmount or close it first, or stop it without onlyIfUnused",
    });
  }

  private assertServing(operation: string): void {
    if (this.currentState === "open") return;
    throw new UblkError("device_stopped", `${this.path} is ${this.currentState}`, {
      operation,
      hint: "this works while the device is served by this process",
    });
  }

  private assertRecoverable(operation: string): void {
    if (this.recoverable) return;
    throw new UblkError("not_recoverable", `${this.path} cannot wait for another server`, {
      operation,
      hint: "create it with recoverable: true, or stop it",
    });
  }

  private assertFeature(name: string, operation: string, hint: string): void {
    if (this.features.includes(name)) return;
    const kernel = `kernel ${this.parts.reader.kernelRelease()}`;
    throw new UblkError("feature_missing", `${this.path} was made without ${describeFeature(name)} on ${kernel}`, {
      operation,
      hint,
    });
  }

  private alreadyClosing(how: Ending, operation: string): UblkError {
    return new UblkError("device_stopped", `${this.path} is already being ${isStop(how) ? "stopped" : "released"}`, {
      operation,
      hint: isStop(how) ? "create a new one" : "recover it first, or use removeDevice",
    });
  }

  private async explained<T>(operation: string, action: () => Promise<T>, subject: string = this.path): Promise<T> {
    try {
      return await action();
    } catch (error) {
      const { imagePath } = this.parts;
      throw await toUblkError(error, { operation, subject, deviceId: this.deviceId, imagePath }, this.parts.reader);
    }
  }
}

/** For `freeze`: the devices thaw by themselves so long after the call. 1 ms to 10 minutes. */
export interface FreezeOptions {
  deadlineMs: number;
}

/** A copy to begin, and the device over its image, where there is one. */
export interface CopyStart {
  copy: UblkImageCopy;
  device?: UblkDevice | undefined;
}

function isStop(how: Ending): boolean {
  return how === "stop" || how === "stop-if-unused";
}
