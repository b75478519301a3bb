import { rename, rm, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { hasErrno } from "../../errors.js";
import { syncDirectory, temporaryPathOf, writeFileDurably } from "../../system/files.js";

/**
 * The file that tells what is being made or removed from what has lost its record. Without it, bytes that no record names
 * are somebody's data, and stay until a person says what they are; with it they were promised to nobody, or given up.
 *
 * It is there before the first byte is, and until the record is; a removal makes it of the record itself, which takes no
 * space on a full disk. Where both are, the record counts.
 */
export class UnfinishedMark {
  constructor(
    private readonly recordPath: string,
    readonly path: string,
  ) {}

  /** One that cannot be looked at is none: what it would stand for is removed. */
  async isSet(): Promise<boolean> {
    return await stat(this.path).then(
      () => true,
      () => false,
    );
  }

  /** Before the first byte is made. */
  async set(): Promise<void> {
    await writeFileDurably(this.path, "");
  }

  /** Once the record is there, or all that it stood for is gone. A power failure may bring it back. */
  async clear(): Promise<void> {
    await rm(this.path, { force: true });
    await rm(temporaryPathOf(this.path), { force: true });
  }

  /** Before the first byte is removed. Without a record all stays as it is. */
  async replaceRecord(): Promise<void> {
    await rm(temporaryPathOf(this.recordPath), { force: true });
    try {
      await rename(this.recordPath, this.path);
    } catch (error) {
      if (!hasErrno(error, "ENOENT")) throw error;
    }
    await syncDirectory(dirname(this.recordPath));
  }
}

/** Whether what has no record may go: it was never finished, or half removed, or has no bytes. */
export async function isLeftOver(mark: UnfinishedMark, imagePath: string): Promise<boolean> {
  return (await mark.isSet()) || !(await isThere(imagePath));
}

export function explainLostRecord(path: string): string {
  return `${path} is missing and its image is there: restore the record from a backup, or remove the image with "ublk-csi pool check --remove"`;
}

/** What cannot be looked at is there. */
async function isThere(path: string): Promise<boolean> {
  return await stat(path).then(
    () => true,
    (error: unknown) => !hasErrno(error, "ENOENT"),
  );
}
