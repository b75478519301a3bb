/**
 * Linux block devices served by this process, through the kernel's ublk driver. See docs/library.md.
 *
 * @packageDocumentation
 */
import type { FreezeOptions, UblkDevice } from "./device.js";
import type { DeviceInfo } from "./device-info.js";
import type { Feature } from "./features/features.js";
import type { KernelReport } from "./features/kernel-report.js";
import type { FeatureReport } from "./features/negotiate.js";
import type { DeviceOptions, DeviceParams, Target } from "./options.js";
import type { RecoverOptions } from "./recover.js";
import { loadUblk, type RemoveOptions, type Ublk } from "./ublk.js";

export { type FreezeOptions, UblkDevice, type UblkDeviceState } from "./device.js";
export type { DeviceInfo, DeviceState } from "./device-info.js";
export { UblkError, type UblkErrorCode } from "./errors.js";
export type { DeviceEvent, DeviceListener } from "./events.js";
export type { DataMode } from "./features/data-modes.js";
export type { FeatureOptions } from "./features/feature-wishes.js";
export { type Feature, type FeatureName, knownFeatures } from "./features/features.js";
export type { KernelFinding } from "./features/kernel-findings.js";
export type { KernelReport } from "./features/kernel-report.js";
export type { FeatureRefusal, FeatureRefusalCause, FeatureReport, FeatureWish } from "./features/negotiate.js";
export { type LatencyBucket, type LatencyHistogram, toQuantileNs } from "./latency.js";
export type { Limits } from "./limits.js";
export type { DeviceOptions, DeviceParams, Target } from "./options.js";
export type { RecoverOptions } from "./recover.js";
export type { DeviceStats } from "./stats.js";
export type { Backend, BackendAnswer } from "./targets/backend.js";
export type { DeathPoint, FaultAction, FaultOperation, FaultRule } from "./targets/fault-rules.js";
export type { PlainTarget } from "./targets/target.js";
export type { RemoveOptions } from "./ublk.js";

let loaded: Ublk | undefined;

// Loaded at the first call, so that importing the library needs neither the addon nor a kernel with ublk.
function library(): Ublk {
  loaded ??= loadUblk();
  return loaded;
}

/** Makes a block device and serves it. When it resolves, the block device node answers I/O. */
export async function createAndServe(params: DeviceParams, options?: DeviceOptions): Promise<UblkDevice> {
  return await library().createAndServe(params, options);
}

/** Takes back a recoverable device whose server is gone; the I/O waiting in it goes on. */
export async function recoverAndServe(deviceId: number, target: Target, options?: RecoverOptions): Promise<UblkDevice> {
  return await library().recoverAndServe(deviceId, target, options);
}

/** Stops a device of this process, after its dirty pages were written back, and deletes it from the kernel. */
export async function stopAndDelete(device: UblkDevice): Promise<void> {
  await library().stopAndDelete(device);
}

/**
 * Holds new requests of these devices back at one instant and makes what was written before durable, until `thaw` of each
 * or until the deadline. Resolves with the name of this freeze, for `thaw`.
 */
export async function freeze(devices: UblkDevice | readonly UblkDevice[], options: FreezeOptions): Promise<bigint> {
  return await library().freeze(devices, options);
}

/** Every ublk device of the machine, whoever made it, by ascending id. */
export async function listDevices(): Promise<DeviceInfo[]> {
  return await library().listDevices();
}

/** What the running kernel's driver can do. */
export async function getFeatures(): Promise<Feature[]> {
  return await library().getFeatures();
}

/** What a device with these options could have on the running kernel, feature by feature, without making one. */
export async function reportFeatures(params: DeviceParams, options?: DeviceOptions): Promise<FeatureReport[]> {
  return await library().reportFeatures(params, options);
}

/** What the running kernel offers and what is known against it; rejects where no device could be made. */
export async function checkKernel(): Promise<KernelReport> {
  return await library().checkKernel();
}

/**
 * Deletes a device that nobody serves. One that waits for a server goes only with `force`, because the I/O waiting in it
 * fails; one that is served is refused.
 */
export async function removeDevice(deviceId: number, options?: RemoveOptions): Promise<void> {
  await library().removeDevice(deviceId, options);
}
