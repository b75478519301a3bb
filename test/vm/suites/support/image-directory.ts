import { mkdir, mkdtemp, rm, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { runCommand } from "./run-command.js";

const fileSystemBytes = 512 * 1024 ** 2;

/** A fresh xfs on a loop device: a file system as pools have it, with direct I/O and holes. */
export class ImageDirectory {
  private count = 0;

  private constructor(
    private readonly base: string,
    readonly path: string,
    private readonly loopDevice: string,
  ) {}

  static async create(): Promise<ImageDirectory> {
    const base = await mkdtemp("/tmp/ublk-images-");
    const disk = join(base, "disk");
    await writeFile(disk, "");
    await truncate(disk, fileSystemBytes);
    await runCommand("mkfs.xfs", ["-q", disk]);
    const path = join(base, "mnt");
    await mkdir(path);
    // Not "mount -o loop": that mounts while it holds the device open for writing, which hardened kernels refuse.
    const loopDevice = (await runCommand("losetup", ["--find", "--show", disk])).trim();
    await runCommand("mount", [loopDevice, path]);
    return new ImageDirectory(base, path, loopDevice);
  }

  /** A sparse file of its own name. */
  async createImage(sizeBytes: number, directory = this.path): Promise<string> {
    const path = join(directory, `image-${++this.count}`);
    await writeFile(path, "");
    await truncate(path, sizeBytes);
    return path;
  }

  async destroy(): Promise<void> {
    await runCommand("umount", [this.path]);
    await runCommand("losetup", ["--detach", this.loopDevice]);
    await rm(this.base, { recursive: true });
  }
}
