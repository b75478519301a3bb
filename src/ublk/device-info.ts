import type { NativeDeviceInfo } from "./addon.js";
import { toFeatureNames } from "./features/features.js";

/**
 * `live` is served; `quiesced` holds its I/O for the next server; `fail-io` answers I/O with errors until then; `dead` was
 * never started, was stopped, or lost a server without being recoverable: it can only be removed.
 */
export type DeviceState = "dead" | "live" | "quiesced" | "fail-io";

/** What the kernel says of one ublk device, whoever serves it. */
export interface DeviceInfo {
  deviceId: number;
  /** The block device node; it exists unless the device is dead. */
  path: string;
  state: DeviceState;
  sizeBytes: bigint;
  logicalBlockSizeBytes: number;
  readOnly: boolean;
  queueCount: number;
  queueDepth: number;
  maxIoBytes: number;
  /** The process that serves it, or served it last; undefined when there was none. */
  serverPid: number | undefined;
  /** Names of the granted features. */
  features: string[];
  featureMask: bigint;
  recoverable: boolean;
  ownerTag: bigint;
}

const states: readonly DeviceState[] = ["dead", "live", "quiesced", "fail-io"];

/** Names what the kernel numbers. */
export function toDeviceInfo(native: NativeDeviceInfo): DeviceInfo {
  const { serverPid, state, features, ...same } = native;
  const names = toFeatureNames(features);
  return {
    ...same,
    path: toBlockDevicePath(native.deviceId),
    state: states[state] ?? "dead",
    serverPid: serverPid > 0 ? serverPid : undefined,
    features: names,
    featureMask: features,
    recoverable: names.includes("USER_RECOVERY"),
  };
}

/** `/dev/ublkb3` for 3. */
export function toBlockDevicePath(deviceId: number): string {
  return `/dev/ublkb${deviceId}`;
}
