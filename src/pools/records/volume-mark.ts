import { readFile, rm, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { hasErrno } from "../../errors.js";
import { syncDirectory, writeFileDurably } from "../../system/files.js";

/**
 * What the file beside an image says by being there:
 * - `formatting`: a file system is being made on a device that was blank. It is there from before mkfs until after it, so
 *   what a device holds while it is there is an unfinished file system, and nobody's data.
 * - `formatted`: the volume has had a file system. A device without one is damaged, and never blank.
 * - `identity-renewed`: the file system of a copy has a uuid of its own.
 * - `encrypting`: a header is being made on a device that was blank, in the same way as with `formatting`.
 * - `encrypted`: the image has had a header. One without it is damaged, and never blank.
 * - `header-bound`: the header of a copy names the copy and not its source.
 * - `group-given`: an inline volume was given to its pod's group.
 * - `sole-publication`: the volume was published to a single writer the last time that it was published nowhere else.
 * - `published-nodes`: the paths at which pods have had the device's node since it was published nowhere.
 * - `trimmed`: when unused space was last given back to the pool.
 */
export const volumeMarkNames = [
  "formatting",
  "formatted",
  "identity-renewed",
  "encrypting",
  "encrypted",
  "header-bound",
  "group-given",
  "sole-publication",
  "published-nodes",
  "trimmed",
] as const;
export type VolumeMarkName = (typeof volumeMarkNames)[number];

/** A file beside an image, empty unless it was set to a text; durable when `set` and when `clear` has returned. */
export class VolumeMark {
  constructor(readonly path: string) {}

  async isSet(): Promise<boolean> {
    return (await this.findTimeMs()) !== undefined;
  }

  /** When it was set last, in milliseconds since the epoch. */
  async findTimeMs(): Promise<number | undefined> {
    try {
      return (await stat(this.path)).mtimeMs;
    } catch (error) {
      if (hasErrno(error, "ENOENT")) return undefined;
      throw error;
    }
  }

  /** Its text, and none when it is not set. */
  async read(): Promise<string> {
    try {
      return await readFile(this.path, "utf8");
    } catch (error) {
      if (hasErrno(error, "ENOENT")) return "";
      throw error;
    }
  }

  async set(text = ""): Promise<void> {
    await writeFileDurably(this.path, text);
  }

  async clear(): Promise<void> {
    await rm(this.path, { force: true });
    await syncDirectory(dirname(this.path));
  }
}
