import { createMapping, removeMapping } from "../../vm/suites/support/mapped-disk.js";
import { runCommand } from "../../vm/suites/support/run-command.js";

/**
 * A disk whose writes are logged as a power failure would find them. dm-log-writes books a completed write with the first
 * flush that comes after it, when that flush ends; of two flushes at a time the later one may end first, and the write
 * would seem to be missing although a flush had covered it. The loop device on top sends one flush at a time.
 */
export class LoggedDisk {
  static readonly deviceName = "ublk-power";

  private constructor(readonly path: string) {}

  static async create(disk: string, log: string): Promise<LoggedDisk> {
    const describe = (sectorCount: string) => `0 ${sectorCount} log-writes ${disk} ${log}`;
    const logged = await createMapping(LoggedDisk.deviceName, describe, disk);
    return new LoggedDisk((await runCommand("losetup", ["--find", "--show", "--direct-io=on", logged])).trim());
  }

  async mark(text: string): Promise<void> {
    await runCommand("dmsetup", ["message", LoggedDisk.deviceName, "0", "mark", text]);
  }

  async remove(): Promise<void> {
    await runCommand("losetup", ["--detach", this.path]);
    await removeMapping(LoggedDisk.deviceName);
  }
}

/** A copy-on-write view of a disk, which may be changed without changing the disk. */
export class DiskView {
  private static readonly deviceName = "ublk-power-view";

  private constructor(
    readonly path: string,
    private readonly store: string,
  ) {}

  /** `store` is a disk for the changes; what it held is of no use afterwards. */
  static async create(disk: string, store: string): Promise<DiskView> {
    // An empty first chunk makes it a fresh store.
    await runCommand("dd", ["if=/dev/zero", `of=${store}`, "bs=64k", "count=1", "conv=fsync", "status=none"]);
    await runCommand("blockdev", ["--flushbufs", disk]);
    const describe = (sectorCount: string) => `0 ${sectorCount} snapshot ${disk} ${store} N 8`;
    return new DiskView(await createMapping(DiskView.deviceName, describe, disk), store);
  }

  async remove(): Promise<void> {
    await removeMapping(DiskView.deviceName);
    await runCommand("blockdev", ["--flushbufs", this.store]);
  }
}
