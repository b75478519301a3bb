import type { Addon, NativeDevice, NativeDeviceSpec, NativeEvent } from "./addon.js";
import { type DeviceInfo, toDeviceInfo } from "./device-info.js";
import { findErrno, toErrnoName } from "./errno.js";
import { UblkError } from "./errors.js";
import type { UblkImageCopy } from "./image-copy.js";
import type { Limits } from "./limits.js";
import { retryUntil } from "./retry.js";

/** How to take back a device. */
export interface RecoverOptions {
  /** Refuse a device whose owner tag is another. Default: any tag. */
  ownerTag?: bigint;
  /** Bypass the page cache (O_DIRECT) of a file target where its file system can. Default true. */
  direct?: boolean;
  /** As in `DeviceOptions`: limits are the server's, and a new one starts without. */
  limits?: Limits;
  /** The CPUs that the queues' threads may use. Default: those of each hardware queue. */
  cpus?: readonly number[];
  /** Copies of the target's image that are under way: the device changes nothing that they still need. */
  copies?: readonly UblkImageCopy[];
  /** How long to wait for the old server to be gone. Default 30 s. */
  waitMs?: number;
}

export const defaultRecoverWaitMs = 30_000;
/** What keeps a device live whose server has ended. */
export const lostRequestHint =
  "if there is no such process any more, the kernel waits for a request that it has lost (docs/kernels.md), and only a " +
  "reboot frees the device";

const operation = "recoverAndServe";

/**
 * Returns what the kernel says of the device once its old server has let go of it. A server killed a moment ago still
 * holds it while its memory is torn down.
 */
export async function waitUntilRecoverable(
  addon: Addon,
  deviceId: number,
  options: RecoverOptions,
): Promise<DeviceInfo> {
  return await retryUntil(options.waitMs ?? defaultRecoverWaitMs, async (isLast) => {
    const info = toDeviceInfo(await addon.readDeviceInfo(deviceId));
    assertOurs(info, options.ownerTag);
    assertRecoverable(info);
    if (info.state !== "live") return info;
    if (isLast) throw stillServed(info);
    return undefined;
  });
}

/** Takes the device over. EBUSY means that the old server's descriptor of the character device is still open. */
export async function openWhenFree(
  addon: Addon,
  spec: NativeDeviceSpec,
  onEvent: (event: NativeEvent) => void,
  waitMs: number,
): Promise<NativeDevice> {
  return await retryUntil(waitMs, async (isLast) => {
    try {
      return await addon.openDevice(spec, onEvent);
    } catch (error) {
      const errno = findErrno(error);
      if (isLast || errno === undefined || toErrnoName(errno) !== "EBUSY") throw error;
      return undefined;
    }
  });
}

function assertOurs(info: DeviceInfo, ownerTag: bigint | undefined): void {
  if (ownerTag === undefined || info.ownerTag === ownerTag) return;
  throw new UblkError(
    "owner_mismatch",
    `device ${info.deviceId} carries the owner tag 0x${info.ownerTag.toString(16)}; expected 0x${ownerTag.toString(16)}`,
    { operation, hint: "it belongs to somebody else and was not touched" },
  );
}

function assertRecoverable(info: DeviceInfo): void {
  if (info.recoverable && info.state !== "dead") return;
  const reason = info.recoverable ? "is dead" : "was not created recoverable";
  throw new UblkError("not_recoverable", `device ${info.deviceId} ${reason}`, {
    operation,
    hint: `remove it with removeDevice(${info.deviceId}) and create a new one`,
  });
}

function stillServed(info: DeviceInfo): UblkError {
  return new UblkError("device_busy", `device ${info.deviceId} is still served by process ${info.serverPid ?? "?"}`, {
    operation,
    hint: `end that process first, or wait longer (waitMs); ${lostRequestHint}`,
  });
}
