import { access, constants, open, readdir, readFile, stat } from "node:fs/promises";
import { hasErrno } from "../../errors.js";
import type { FsType } from "../../pools/volume/volume.js";
import { CommandError, type RunCommand } from "../../system/command.js";
import { type MountEntry, readMountInfo } from "../../system/mountinfo.js";
import { FilesystemLook } from "./filesystem-look.js";
import { type FilesystemSpace, parseSpace, spaceFormat } from "./filesystem-space.js";

/** What the node asks of the kernel about mounts. The real one needs root; tests have their own. */
export interface Mounter {
  /** Every mount, in the order in which they were made. */
  list(): Promise<MountEntry[]>;
  mount(request: MountRequest): Promise<void>;
  /** Shows a directory or a file at a second place, read-only there when asked. */
  bind(request: BindRequest): Promise<void>;
  /** Takes away the topmost mount at this place; a lazy one at once, though somebody may still be using it. */
  unmount(target: string, options?: { lazy?: boolean }): Promise<void>;
  /** `major:minor` of the block device node at this path, seen through bind mounts; undefined for anything else. */
  findDeviceNumber(path: string): Promise<string | undefined>;
  /** Whether the kernel has a block device of this number. */
  hasDevice(number: string): Promise<boolean>;
  /** Whether the kernel's device mapper has a device of this number that lies on one which is gone: all it does is fail. */
  hasLostBase(number: string): Promise<boolean>;
  /** The name of the device-mapper device of this number; undefined when it is another kind of device, or gone. */
  findMappingName(number: string): Promise<string | undefined>;
  /** Whether somebody, such as a mounted file system, has this device for himself. */
  isHeld(devicePath: string): Promise<boolean>;
  /** Why a mounted directory cannot be looked into, or undefined when it can; `unavailable` when it does not answer. */
  findAccessFault(path: string): Promise<string | undefined>;
  /** How full the file system at this path is; `unavailable` when it does not answer. */
  readSpace(path: string): Promise<FilesystemSpace>;
  /** Makes a block device refuse writes, or take them again, for everyone. */
  setDeviceReadOnly(devicePath: string, readOnly: boolean): Promise<void>;
}

export interface MountRequest {
  source: string;
  target: string;
  fsType: FsType;
  options: readonly string[];
}

export interface BindRequest {
  source: string;
  target: string;
  readOnly: boolean;
}

/** Mounts with util-linux. */
export class LinuxMounter implements Mounter {
  constructor(
    private readonly runCommand: RunCommand,
    private readonly looks = new FilesystemLook(runCommand),
  ) {}

  list(): Promise<MountEntry[]> {
    return readMountInfo();
  }

  async mount({ source, target, fsType, options }: MountRequest): Promise<void> {
    const list = options.length === 0 ? [] : ["-o", options.join(",")];
    await this.runCommand("mount", ["-t", fsType, ...list, source, target], { timeoutMs: 120_000 });
  }

  async bind({ source, target, readOnly }: BindRequest): Promise<void> {
    await this.runCommand("mount", ["-o", readOnly ? "bind,ro" : "bind", source, target]);
  }

  // Looking at the path itself would fail on a file system that has shut down.
  async unmount(target: string, { lazy = false }: { lazy?: boolean } = {}): Promise<void> {
    const args = [...(lazy ? ["--lazy"] : []), "--no-canonicalize", target];
    await this.runCommand("umount", args, { timeoutMs: 120_000 });
  }

  async findDeviceNumber(path: string): Promise<string | undefined> {
    try {
      const node = await stat(path, { bigint: true });
      return node.isBlockDevice() ? formatDeviceNumber(node.rdev) : undefined;
    } catch (error) {
      if (hasErrno(error, "ENOENT", "ENOTDIR")) return undefined;
      throw error;
    }
  }

  async hasDevice(number: string): Promise<boolean> {
    return await isThere(`/sys/dev/block/${number}`);
  }

  // A mapping keeps its links to the devices below it for as long as it holds them, and they lead nowhere once one is gone.
  async hasLostBase(number: string): Promise<boolean> {
    const links = `/sys/dev/block/${number}/slaves`;
    if (!(await isThere(links))) return false;
    for (const name of await readdir(links)) if (!(await isThere(`${links}/${name}`))) return true;
    return false;
  }

  async findMappingName(number: string): Promise<string | undefined> {
    try {
      return (await readFile(`/sys/dev/block/${number}/dm/name`, "utf8")).trim();
    } catch (error) {
      if (hasErrno(error, "ENOENT", "ENODEV")) return undefined;
      throw error;
    }
  }

  // Without O_CREAT, O_EXCL on a block device asks for it exclusively; see open(2).
  async isHeld(devicePath: string): Promise<boolean> {
    try {
      await (await open(devicePath, constants.O_RDONLY | constants.O_EXCL)).close();
      return false;
    } catch (error) {
      if (hasErrno(error, "EBUSY")) return true;
      if (hasErrno(error, "ENOENT", "ENXIO")) return false;
      throw error;
    }
  }

  async findAccessFault(path: string): Promise<string | undefined> {
    try {
      // Opens the directory and reads its first names, however many there are.
      await this.looks.at(path)("find", [path, "-maxdepth", "0", "-empty"]);
      return undefined;
    } catch (error) {
      if (error instanceof CommandError && error.exitCode !== undefined) return error.stderr;
      throw error;
    }
  }

  async readSpace(path: string): Promise<FilesystemSpace> {
    const look = this.looks.at(path);
    return parseSpace((await look("stat", ["--file-system", `--format=${spaceFormat}`, path])).stdout);
  }

  async setDeviceReadOnly(devicePath: string, readOnly: boolean): Promise<void> {
    await this.runCommand("blockdev", [readOnly ? "--setro" : "--setrw", devicePath]);
  }
}

async function isThere(path: string): Promise<boolean> {
  try {
    await access(path);
    return true;
  } catch (error) {
    if (hasErrno(error, "ENOENT")) return false;
    throw error;
  }
}

/** Splits a dev_t as glibc's gnu_dev_major and gnu_dev_minor do. */
export function formatDeviceNumber(rdev: bigint): string {
  const major = ((rdev >> 8n) & 0xfffn) | ((rdev >> 32n) & 0xfffff000n);
  const minor = (rdev & 0xffn) | ((rdev >> 12n) & 0xffffff00n);
  return `${major}:${minor}`;
}
