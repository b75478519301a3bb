import { constants } from "node:os";
import type { NativeDeviceInfo, NativeDeviceSpec } from "../addon.js";

/** UBLK_S_DEV_* */
export const deviceStates = { dead: 0, live: 1, quiesced: 2, failIo: 3 };

const userRecovery = 1n << 3n;
/** The driver sets it where it knows it, asked or not. */
const safeStopDev = 1n << 17n;

/** The ublk driver as far as its servers see it: devices with states, owners and tags, but without I/O. */
export class FakeKernel {
  /** What GET_FEATURES answers. */
  features = 0x1f_ffffn;
  readonly devices = new Map<number, NativeDeviceInfo>();
  /** Devices that somebody has open. */
  readonly opened = new Set<number>();
  /** Every step so far, for example `ADD_DEV 0`. */
  readonly steps: string[] = [];
  /** Runs before each step; what it throws keeps the step from having an effect. */
  beforeStep: (step: string, deviceId: number) => void = () => {};
  /** Runs after each step took effect; what it throws is what the server's call rejects with. */
  afterStep: (step: string, deviceId: number) => void = () => {};

  private readonly failures = new Map<string, string[]>();

  /** The next `step` fails with this errno, before it has any effect. Several calls queue up. */
  failNext(step: string, errnoName: keyof typeof constants.errno): void {
    this.failures.set(step, [...(this.failures.get(step) ?? []), errnoName]);
  }

  deviceIds(): number[] {
    return [...this.devices.keys()].sort((a, b) => a - b);
  }

  find(deviceId: number, step: string): NativeDeviceInfo {
    const device = this.devices.get(deviceId);
    if (!device) throw toNativeFailure(step, "ENODEV");
    return device;
  }

  /** A device of somebody else, in any state. */
  addForeign(more: Partial<NativeDeviceInfo> = {}): NativeDeviceInfo {
    const device = { ...toInfo(this.nextFreeId(), foreignSpec), serverPid: 4242, state: deviceStates.live, ...more };
    this.devices.set(device.deviceId, device);
    return device;
  }

  /** What the kernel does when the server of a device closes its descriptors, by release, exit or SIGKILL. */
  loseServer(device: NativeDeviceInfo): void {
    if (device.state !== deviceStates.live) return;
    device.state = device.features & userRecovery ? deviceStates.quiesced : deviceStates.dead;
  }

  /** Runs the step: the failure that waits for it, else its effect, else what `afterStep` throws. */
  run<T>(step: string, deviceId: number, effect: () => T): T {
    this.beforeStep(step, deviceId);
    const errnoName = this.failures.get(step)?.shift();
    if (errnoName) throw toNativeFailure(step, errnoName);
    const result = effect();
    this.steps.push(`${step} ${deviceId}`);
    this.afterStep(step, deviceId);
    return result;
  }

  addDevice(spec: NativeDeviceSpec): NativeDeviceInfo {
    const deviceId = spec.deviceId === -1 ? this.nextFreeId() : spec.deviceId;
    return this.run("ADD_DEV", deviceId, () => {
      if (this.devices.has(deviceId)) throw toNativeFailure("ADD_DEV", "EEXIST");
      const device = { ...toInfo(deviceId, spec), features: (spec.features | safeStopDev) & this.features };
      this.devices.set(deviceId, device);
      return device;
    });
  }

  private nextFreeId(): number {
    let deviceId = 0;
    while (this.devices.has(deviceId)) deviceId++;
    return deviceId;
  }
}

/** What native code rejects with. */
export function toNativeFailure(step: string, errnoName: string): Error {
  const errno = constants.errno[errnoName as keyof typeof constants.errno];
  return Object.assign(new Error(`${step}: ${errnoName}`), { errno, step });
}

const foreignSpec = {
  sizeBytes: 1n << 20n,
  logicalBlockSizeBytes: 512,
  queueCount: 1,
  queueDepth: 128,
  maxIoBytes: 1 << 17,
  readOnly: false,
  features: 0x48n,
  ownerTag: 0xf0e1_6121n,
};

function toInfo(deviceId: number, spec: typeof foreignSpec): NativeDeviceInfo {
  const { sizeBytes, logicalBlockSizeBytes, queueCount, queueDepth, maxIoBytes, readOnly, features, ownerTag } = spec;
  const geometry = { sizeBytes, logicalBlockSizeBytes, queueCount, queueDepth, maxIoBytes, readOnly };
  return { deviceId, serverPid: -1, state: deviceStates.dead, features, ownerTag, ...geometry };
}
