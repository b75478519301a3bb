import { type DeviceUser, describeUsers } from "../ublk/device-users.js";
import type { DeviceInfo } from "../ublk/index.js";
import { BlockDeviceError } from "./block-devices.js";
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

  async isUsed(info: DeviceInfo): Promise<boolean> {
    return await this.assertUnused(info).then(
      () => false,
      () => true,
    );
  }
}
