import type {
  Addon,
  CopyHandle,
  DeviceHandle,
  NativeClose,
  NativeCopySpec,
  NativeCopyStart,
  NativeCopyStatus,
  NativeDevice,
  NativeDeviceInfo,
  NativeDeviceSpec,
  NativeEvent,
  NativeFaultRule,
  NativeHistogram,
  NativeLimits,
  NativeStats,
} from "../addon.js";
import type { DataMode } from "../features/data-modes.js";
import { type FeatureName, toMask } from "../features/features.js";
import { FakeCopies } from "./fake-copies.js";
import { deviceStates, type FakeKernel, toNativeFailure } from "./fake-kernel.js";

interface Served {
  info: NativeDeviceInfo;
  spec: NativeDeviceSpec;
  emit: (event: NativeEvent) => void;
  thawTimer?: NodeJS.Timeout | undefined;
  freeze?: bigint;
}

function idleHistogram(): NativeHistogram {
  return { sumNs: 0n, counts: new BigUint64Array(109) };
}

const idleStats: Omit<NativeStats, "frozen" | "latency"> = {
  reads: 0n,
  writes: 0n,
  flushes: 0n,
  discards: 0n,
  writeZeroes: 0n,
  readBytes: 0n,
  writeBytes: 0n,
  discardBytes: 0n,
  writeZeroesBytes: 0n,
  errors: 0n,
  inFlight: 0,
  waiting: 0,
  throttled: 0n,
  throttledNs: 0n,
};

function hasBit(features: bigint, name: FeatureName): boolean {
  return (features & toMask(name)) !== 0n;
}

function toDataMode(features: bigint): DataMode {
  if (hasBit(features, "AUTO_BUF_REG")) return "auto-zero-copy";
  if (hasBit(features, "SUPPORT_ZERO_COPY")) return "zero-copy";
  if (hasBit(features, "USER_COPY")) return "user-copy";
  return hasBit(features, "NEED_GET_DATA") ? "get-data" : "copy";
}

/** The native side of one process over a {@link FakeKernel}, with the steps and errors of the real one. */
export class FakeAddon implements Addon {
  /** The spec of every `openDevice` so far. */
  readonly specs: NativeDeviceSpec[] = [];
  readonly copies = new FakeCopies();
  private readonly served = new Map<DeviceHandle, Served>();

  constructor(
    readonly kernel: FakeKernel,
    readonly pid: number,
  ) {}

  async readFeatures(): Promise<bigint> {
    return this.kernel.run("GET_FEATURES", -1, () => this.kernel.features);
  }

  async openDevice(spec: NativeDeviceSpec, onEvent: (event: NativeEvent) => void): Promise<NativeDevice> {
    this.specs.push(spec);
    const info = spec.recover ? this.recoverDevice(spec) : this.addDevice(spec);
    const handle = {} as DeviceHandle;
    this.served.set(handle, { info, spec, emit: onEvent });
    const direct = spec.target.kind === "file" && spec.target.direct;
    return { ...info, handle, direct, dataMode: toDataMode(info.features), batch: hasBit(info.features, "BATCH_IO") };
  }

  async closeDevice(handle: DeviceHandle, how: NativeClose): Promise<void> {
    const { info } = this.find(handle);
    this.thaw(handle);
    if (how === "release") this.kernel.run("RELEASE", info.deviceId, () => this.kernel.loseServer(info));
    else this.remove(info, how === "remove-unused" ? "TRY_STOP_DEV" : "STOP_DEV");
    this.served.delete(handle);
  }

  async quiesceDevice(handle: DeviceHandle, _timeoutMs: number): Promise<void> {
    const { info } = this.find(handle);
    this.thaw(handle);
    this.kernel.run("QUIESCE_DEV", info.deviceId, () => this.kernel.loseServer(info));
    this.served.delete(handle);
  }

  async resizeDevice(handle: DeviceHandle, sizeBytes: bigint): Promise<void> {
    const { info } = this.find(handle);
    this.kernel.run("GROW_TARGET", info.deviceId, () => {});
    this.kernel.run("UPDATE_SIZE", info.deviceId, () => {
      info.sizeBytes = sizeBytes;
    });
  }

  async setLimits(handle: DeviceHandle, limits: NativeLimits): Promise<void> {
    const { spec } = this.find(handle);
    spec.limits = limits;
  }

  async setFaultRules(handle: DeviceHandle, rules: NativeFaultRule[]): Promise<void> {
    const { spec } = this.find(handle);
    if (spec.target.kind !== "fault") throw toNativeFailure("SET_FAULT_RULES", "EINVAL");
    spec.target.rules = rules;
  }

  async freezeDevices(handles: DeviceHandle[], deadlineMs: number): Promise<bigint> {
    const devices = handles.map((handle) => this.find(handle));
    if (devices.some(({ thawTimer }) => thawTimer)) throw toNativeFailure("FREEZE", "EALREADY");
    this.kernel.run("FREEZE", devices[0]?.info.deviceId ?? -1, () => {});
    const freeze = process.hrtime.bigint();
    for (const device of devices) {
      device.freeze = freeze;
      device.thawTimer = setTimeout(() => {
        device.thawTimer = undefined;
        device.emit({ kind: "thawed" });
      }, deadlineMs);
    }
    return freeze;
  }

  async thawDevices(handles: DeviceHandle[], freeze?: bigint): Promise<boolean[]> {
    return handles.map((handle) => {
      const isMeant = freeze === undefined || freeze === this.find(handle).freeze;
      return isMeant && this.thaw(handle);
    });
  }

  async createCopy(spec: NativeCopySpec): Promise<CopyHandle> {
    return await this.copies.create(spec);
  }

  async resumeCopy(spec: NativeCopySpec): Promise<CopyHandle> {
    return await this.copies.resume(spec);
  }

  async startCopies(starts: NativeCopyStart[], _deadlineMs: number): Promise<number> {
    const devices = starts.flatMap(({ device }) => (device === undefined ? [] : [this.find(device)]));
    if (devices.some(({ thawTimer }) => thawTimer)) throw toNativeFailure("FREEZE", "EALREADY");
    this.kernel.run("COPY", devices[0]?.info.deviceId ?? -1, () => {});
    await this.copies.start(starts.map(({ copy }) => copy));
    return 0;
  }

  async pauseCopy(copy: CopyHandle): Promise<void> {
    this.copies.pause(copy);
  }

  async cancelCopy(copy: CopyHandle): Promise<void> {
    await this.copies.cancel(copy);
  }

  readCopy(copy: CopyHandle): NativeCopyStatus {
    return this.copies.read(copy);
  }

  async readDeviceInfo(deviceId: number): Promise<NativeDeviceInfo> {
    return this.kernel.run("GET_DEV_INFO", deviceId, () => ({ ...this.kernel.find(deviceId, "GET_DEV_INFO") }));
  }

  async removeDevice(deviceId: number, ownerTag?: bigint): Promise<void> {
    const info = this.kernel.find(deviceId, "STOP_DEV");
    if (ownerTag !== undefined && ownerTag !== info.ownerTag) throw toNativeFailure("GET_DEV_INFO", "ENODEV");
    this.remove(info, "STOP_DEV");
  }

  dieAt(): boolean {
    return false;
  }

  readStats(handle: DeviceHandle): NativeStats {
    const { thawTimer } = this.find(handle);
    const latency = {
      read: idleHistogram(),
      write: idleHistogram(),
      flush: idleHistogram(),
      discard: idleHistogram(),
      writeZeroes: idleHistogram(),
    };
    return { ...idleStats, frozen: thawTimer !== undefined, latency };
  }

  deviceIdOf(handle: DeviceHandle): number {
    return this.find(handle).info.deviceId;
  }

  /** The limits that a device of this process has now. */
  limitsOf(deviceId: number): NativeLimits | undefined {
    return [...this.served.values()].find(({ info }) => info.deviceId === deviceId)?.spec.limits;
  }

  /** Lets the native side of a device speak. */
  emit(deviceId: number, event: NativeEvent): void {
    for (const { info, emit } of this.served.values()) if (info.deviceId === deviceId) emit(event);
  }

  /** SIGKILL: the kernel closes what the process held. */
  kill(): void {
    for (const handle of this.served.keys()) this.thaw(handle);
    this.served.clear();
    for (const device of this.kernel.devices.values()) {
      if (device.serverPid === this.pid) this.kernel.loseServer(device);
    }
  }

  // As in the engine, a failure after ADD_DEV takes the device down again. What `afterStep` throws has no step: it stands
  // for a crash, after which nobody is left to do so.
  private addDevice(spec: NativeDeviceSpec): NativeDeviceInfo {
    const info = this.kernel.addDevice(spec);
    try {
      this.kernel.run("SET_PARAMS", info.deviceId, () => {});
      this.kernel.run("START_DEV", info.deviceId, () => this.makeLive(info));
    } catch (error) {
      if ((error as { step?: string }).step) this.kernel.devices.delete(info.deviceId);
      throw error;
    }
    return info;
  }

  private recoverDevice(spec: NativeDeviceSpec): NativeDeviceInfo {
    const { deviceId } = spec;
    const info = this.kernel.run("START_USER_RECOVERY", deviceId, () => {
      const found = this.kernel.find(deviceId, "START_USER_RECOVERY");
      if (found.state !== deviceStates.quiesced) throw toNativeFailure("START_USER_RECOVERY", "EBUSY");
      return found;
    });
    this.kernel.run("END_USER_RECOVERY", deviceId, () => this.makeLive(info));
    return info;
  }

  private makeLive(info: NativeDeviceInfo): void {
    info.state = deviceStates.live;
    info.serverPid = this.pid;
  }

  private thaw(handle: DeviceHandle): boolean {
    const device = this.find(handle);
    const wasFrozen = device.thawTimer !== undefined;
    clearTimeout(device.thawTimer);
    device.thawTimer = undefined;
    return wasFrozen;
  }

  private remove(info: NativeDeviceInfo, step: "STOP_DEV" | "TRY_STOP_DEV"): void {
    const { deviceId } = info;
    this.kernel.run(step, deviceId, () => {
      if (step === "TRY_STOP_DEV" && this.kernel.opened.has(deviceId)) throw toNativeFailure(step, "EBUSY");
      info.state = deviceStates.dead;
    });
    this.kernel.run("DEL_DEV", deviceId, () => this.kernel.devices.delete(deviceId));
  }

  private find(handle: DeviceHandle): Served {
    const served = this.served.get(handle);
    if (!served) throw new Error("no such handle: the test used it after closeDevice");
    return served;
  }
}
