import { type DeviceUser, describeUsers } from "../../ublk/diagnosis/device-users.js";
import { type DeviceInfo, type UblkDevice, UblkError } from "../../ublk/index.js";
import { BlockDeviceError } from "../block-devices.js";
import { waitFor } from "./block-nodes.js";

export type FindUsers = (deviceId: number, isLive: boolean) => Promise<DeviceUser[]>;

/** Keeps a device from being taken away from somebody who uses it. */
export class UsageGuard {
  /** `claimMs` is how long a short open, such as udev's or mkfs's, may take to end. */
  constructor(
    private readonly findUsers: FindUsers,
    private readonly claimMs: number,
  ) {}

  /** Throws `in_use`, naming the users. */
  async assertUnused({ deviceId, path, state }: DeviceInfo): Promise<void> {
    if (state === "dead") return;
    let users: DeviceUser[] = [];
    const isDecided = async () => {
      users = await this.findUsers(deviceId, state === "live");
      return users.every(({ kind }) => kind !== "exclusive" && kind !== "process");
    };
    await waitFor(isDecided, { timeoutMs: this.claimMs });
    if (users.length === 0) return;
    throw new BlockDeviceError("in_use", `${path} is in use by ${describeUsers(users)}: unmount or close it first`);
  }

  /**
   * Stops a device of this process when nobody uses it; else throws `in_use` and leaves it serving. Somebody may open it
   * between the look and the stop: where the kernel can tell (SAFE_STOP_DEV) it refuses then, and the look is repeated.
   */
  async stopUnused(device: UblkDevice, info: DeviceInfo): Promise<void> {
    let refusal: UblkError | undefined;
    const isStopped = async () => {
      await this.assertUnused(info);
      refusal = await stopUnlessBusy(device);
      return refusal === undefined;
    };
    await waitFor(isStopped, { timeoutMs: this.claimMs });
    if (refusal !== undefined) throw new BlockDeviceError("in_use", refusal.message, { cause: refusal });
  }

  /** As `stopUnused`, but false when somebody uses the device. */
  async tryStop(device: UblkDevice, info: DeviceInfo): Promise<boolean> {
    try {
      await this.stopUnused(device, info);
      return true;
    } catch (error) {
      if (error instanceof BlockDeviceError && error.code === "in_use") return false;
      throw error;
    }
  }
}

async function stopUnlessBusy(device: UblkDevice): Promise<UblkError | undefined> {
  try {
    await device.stop({ onlyIfUnused: true });
    return undefined;
  } catch (error) {
    if (error instanceof UblkError && error.code === "device_busy") return error;
    throw error;
  }
}
