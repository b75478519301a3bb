import { access, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { hasErrno } from "../errors.js";
import { syncDirectory, writeFileDurably } from "../system/files.js";

/**
 * A file beside an image that says: a file system is being made on a device that was blank. It is there from before mkfs
 * until after it, so what a device holds while it is there is an unfinished file system, and nobody's data.
 */
export class FormatMark {
  readonly path: string;

  constructor(volumePath: string) {
    this.path = join(volumePath, "formatting");
  }

  async isSet(): Promise<boolean> {
    try {
      await access(this.path);
      return true;
    } catch (error) {
      if (hasErrno(error, "ENOENT")) return false;
      throw error;
    }
  }

  async set(): Promise<void> {
    await writeFileDurably(this.path, "");
  }

  async clear(): Promise<void> {
    await rm(this.path, { force: true });
    await syncDirectory(dirname(this.path));
  }
}
