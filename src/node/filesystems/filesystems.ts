import { type FileHandle, open } from "node:fs/promises";
import { DriverError, toMessage } from "../../errors.js";
import type { FsType } from "../../pools/volume/volume.js";
import { CommandError, type RunCommand } from "../../system/command.js";
import { FilesystemLook } from "../mounts/filesystem-look.js";
import { btrfsTools } from "./btrfs-tools.js";
import { ext4Tools } from "./ext4-tools.js";
import type { FilesystemTools } from "./filesystem-tools.js";
import { giveToGroup, isGiven } from "./group-owner.js";
import { xfsTools } from "./xfs-tools.js";

/** Looks for file systems on block devices, and has the tools of each type that a volume can have. */
export interface Filesystems {
  /** What a device holds: the name of a file system or of anything else that blkid knows; undefined only when blank. */
  probe(devicePath: string): Promise<string | undefined>;
  /** Takes away every signature that `probe` would find. Fails while something holds the device. */
  wipe(devicePath: string): Promise<void>;
  toolsOf(fsType: FsType): FilesystemTools;
  /** Lets a group use all of a mounted file system, which nobody else uses at that time. */
  giveToGroup(directory: string, gid: number): Promise<void>;
  /** Whether that was done; `unavailable` when the file system does not answer. */
  isGivenToGroup(directory: string, gid: number): Promise<boolean>;
  /** Discards what a mounted file system does not use; returns how many bytes it says that was. */
  trim(mountPoint: string, options: TrimOptions): Promise<bigint>;
}

export interface TrimOptions {
  timeoutMs: number;
  /** Ends it early. What was discarded until then stays so. */
  signal: AbortSignal;
}

/** util-linux, and each type's own programs. */
export class LinuxFilesystems implements Filesystems {
  private readonly tools: Readonly<Record<FsType, FilesystemTools>>;

  constructor(
    private readonly runCommand: RunCommand,
    private readonly looks = new FilesystemLook(runCommand),
  ) {
    this.tools = { ext4: ext4Tools(runCommand), xfs: xfsTools(runCommand), btrfs: btrfsTools(runCommand) };
  }

  async probe(devicePath: string): Promise<string | undefined> {
    try {
      // -p asks the device itself and not blkid's cache.
      const look = this.looks.at(devicePath);
      const { stdout } = await look("blkid", ["-p", "-o", "export", devicePath], { timeoutMs: probeTimeoutMs });
      return findContentName(stdout);
    } catch (error) {
      if (!(error instanceof CommandError)) throw error;
      if (error.exitCode === blkidFoundNothing && error.stdout === "" && error.stderr === "") {
        return (await isBlank(devicePath)) ? undefined : unknownContent;
      }
      if (error.exitCode === blkidAmbivalent) return "signatures of more than one kind";
      throw error;
    }
  }

  async wipe(devicePath: string): Promise<void> {
    await this.runCommand("wipefs", ["--all", devicePath]);
  }

  toolsOf(fsType: FsType): FilesystemTools {
    return this.tools[fsType];
  }

  giveToGroup(directory: string, gid: number): Promise<void> {
    return giveToGroup(directory, gid, this.runCommand);
  }

  isGivenToGroup(directory: string, gid: number): Promise<boolean> {
    return isGiven(directory, gid, this.looks.at(directory));
  }

  async trim(mountPoint: string, options: TrimOptions): Promise<bigint> {
    // What was deleted counts as used until the transaction that deletes it is on disk.
    await this.runCommand("sync", ["--file-system", mountPoint], options);
    const { stdout } = await this.runCommand("fstrim", ["--verbose", mountPoint], options);
    const bytes = /\((\d+) bytes\) trimmed/.exec(stdout)?.[1];
    if (bytes === undefined)
      throw new DriverError("internal", `fstrim ${mountPoint} did not say what it did: ${stdout}`);
    return BigInt(bytes);
  }
}

const unknownContent = "data of unknown kind";
const probeTimeoutMs = 60_000;
const blkidFoundNothing = 2;
const blkidAmbivalent = 8;

function findContentName(exported: string): string {
  const values = new Map(exported.split("\n").map((line) => line.split("=", 2) as [string, string | undefined]));
  const partitions = values.get("PTTYPE");
  return values.get("TYPE") ?? (partitions === undefined ? unknownContent : `a ${partitions} partition table`);
}

/** Where every file system and container that a volume can have keeps something. An encrypted one has noise behind it. */
const blankBytes = 1024 ** 2;

/**
 * Whether a device begins with nothing but zeroes. blkid alone does not tell: it says "nothing" too when one of the blocks that
 * it looks at cannot be read, and of data without a signature. Taking either for blank would format over somebody's data.
 */
async function isBlank(devicePath: string): Promise<boolean> {
  try {
    const device = await open(devicePath, "r");
    try {
      return await hasZeroesOnly(device);
    } finally {
      await device.close();
    }
  } catch (cause) {
    throw new DriverError("internal", `cannot read ${devicePath}: ${toMessage(cause)}`, { cause });
  }
}

async function hasZeroesOnly(device: FileHandle): Promise<boolean> {
  const zeroes = Buffer.alloc(64 * 1024);
  const chunk = Buffer.alloc(zeroes.length);
  for (let offset = 0; offset < blankBytes; ) {
    const { bytesRead } = await device.read(chunk, 0, chunk.length, offset);
    if (bytesRead === 0) return true;
    if (zeroes.compare(chunk, 0, bytesRead, 0, bytesRead) !== 0) return false;
    offset += bytesRead;
  }
  return true;
}
