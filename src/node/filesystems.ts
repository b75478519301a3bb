import { open } from "node:fs/promises";
import { DriverError, toMessage } from "../errors.js";
import type { FsType } from "../pools/volume.js";
import { CommandError, type RunCommand } from "../system/command.js";

/** Looks for and makes file systems on block devices. */
export interface Filesystems {
  /** What a device holds: the name of a file system or of anything else that blkid knows; undefined only when blank. */
  probe(devicePath: string): Promise<string | undefined>;
  /** Takes away every signature that `probe` would find. Fails while something holds the device. */
  wipe(devicePath: string): Promise<void>;
  /** Makes a file system on a blank device. Discarding gives the device's space back, so thick volumes do without. */
  format(devicePath: string, fsType: FsType, options: { discard: boolean }): Promise<void>;
}

/** util-linux, e2fsprogs and xfsprogs. */
export class LinuxFilesystems implements Filesystems {
  constructor(private readonly runCommand: RunCommand) {}

  async probe(devicePath: string): Promise<string | undefined> {
    await assertReadable(devicePath);
    try {
      // -p asks the device itself and not blkid's cache.
      const { stdout } = await this.runCommand("blkid", ["-p", "-o", "export", devicePath]);
      return findContentName(stdout);
    } catch (error) {
      if (!(error instanceof CommandError)) throw error;
      if (error.exitCode === blkidFoundNothing && error.stdout === "" && error.stderr === "") return undefined;
      if (error.exitCode === blkidAmbivalent) return "signatures of more than one kind";
      throw error;
    }
  }

  async wipe(devicePath: string): Promise<void> {
    await this.runCommand("wipefs", ["--all", devicePath]);
  }

  async format(devicePath: string, fsType: FsType, { discard }: { discard: boolean }): Promise<void> {
    const [program, ...options] = formatCommand(fsType, discard);
    await this.runCommand(program, [...options, devicePath], { timeoutMs: 5 * 60_000 });
  }
}

const blkidFoundNothing = 2;
const blkidAmbivalent = 8;

/** Neither program is forced (-F, -f): each looks for itself once more before it writes. */
function formatCommand(fsType: FsType, discard: boolean): [program: string, ...options: string[]] {
  if (fsType === "xfs") return ["mkfs.xfs", "-q", ...(discard ? [] : ["-K"])];
  return ["mkfs.ext4", "-q", "-m", "0", "-E", discard ? "discard" : "nodiscard"];
}

function findContentName(exported: string): string {
  const values = new Map(exported.split("\n").map((line) => line.split("=", 2) as [string, string | undefined]));
  const partitions = values.get("PTTYPE");
  return values.get("TYPE") ?? (partitions === undefined ? "data of unknown kind" : `a ${partitions} partition table`);
}

// blkid answers "nothing" for a device that it cannot read. Taking that for blank would format over data.
async function assertReadable(devicePath: string): Promise<void> {
  try {
    const device = await open(devicePath, "r");
    try {
      await device.read(Buffer.alloc(4096), 0, 4096, 0);
    } finally {
      await device.close();
    }
  } catch (cause) {
    throw new DriverError("internal", `cannot read ${devicePath}: ${toMessage(cause)}`, { cause });
  }
}
