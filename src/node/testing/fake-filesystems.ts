import { lstat } from "node:fs/promises";
import type { FsType } from "../../pools/volume.js";
import type { Filesystems } from "../filesystems.js";

/** Remembers what each device holds, by path. */
export class FakeFilesystems implements Filesystems {
  readonly contents = new Map<string, string>();
  /** Every format that was asked for. */
  readonly formats: Array<{ devicePath: string; fsType: FsType; discard: boolean }> = [];

  async probe(devicePath: string): Promise<string | undefined> {
    await lstat(devicePath);
    return this.contents.get(devicePath);
  }

  async wipe(devicePath: string): Promise<void> {
    await lstat(devicePath);
    this.contents.delete(devicePath);
  }

  async format(devicePath: string, fsType: FsType, { discard }: { discard: boolean }): Promise<void> {
    await lstat(devicePath);
    if (this.contents.has(devicePath))
      throw new Error(`fake mkfs: ${devicePath} holds ${this.contents.get(devicePath)}`);
    this.formats.push({ devicePath, fsType, discard });
    this.contents.set(devicePath, fsType);
  }
}
