import { stat } from "node:fs/promises";
import { findMountOf, type MountEntry, readMountInfo } from "../../system/mountinfo.js";
import { SpaceAccount } from "./space-account.js";

/** One account for each file system that pools lie on. */
export class SpaceAccounts {
  private readonly byFileSystem = new Map<string, SpaceAccount>();

  constructor(private readonly readMounts: () => Promise<MountEntry[]> = readMountInfo) {}

  /** The account of the file system at this path, which has no symbolic link in it. */
  async find(path: string): Promise<SpaceAccount> {
    const key = await this.identify(path);
    const account = this.byFileSystem.get(key) ?? new SpaceAccount();
    this.byFileSystem.set(key, account);
    return account;
  }

  // A file of btrfs has the device number of its subvolume, and only mounts that of the file system. A process in a
  // changed root may see no mount of what it is in.
  private async identify(path: string): Promise<string> {
    const mount = findMountOf(path, await this.readMounts());
    return mount === undefined ? `device ${(await stat(path)).dev}` : `mount ${mount.deviceNumber}`;
  }
}
