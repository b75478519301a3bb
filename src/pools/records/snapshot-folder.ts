import { rm, rmdir, truncate } from "node:fs/promises";
import { dirname, join } from "node:path";
import { hasErrno } from "../../errors.js";
import { makeDirectoryDurably, syncDirectory } from "../../system/files.js";
import type { Snapshot } from "../volume/snapshot.js";
import { writeRecord } from "./record-file.js";
import { snapshotRecordFormat } from "./snapshot-record.js";
import { UnfinishedMark } from "./unfinished-mark.js";

/**
 * The files of a pool's snapshots. As with volumes an image is there before its record and outlives it, with a mark that
 * says so beside it: what a crash leaves is an image with that mark.
 */
export class SnapshotFolder {
  constructor(readonly path: string) {}

  imagePath(snapshotId: string): string {
    return join(this.path, snapshotId, "image");
  }

  recordPath(snapshotId: string): string {
    return join(this.path, snapshotId, "snapshot.json");
  }

  unfinishedMark(snapshotId: string): UnfinishedMark {
    return new UnfinishedMark(this.recordPath(snapshotId), join(this.path, snapshotId, "unfinished"));
  }

  /** Makes the place for an image, which counts as unfinished from then on. One that exists already is another snapshot's. */
  async prepare(snapshotId: string): Promise<void> {
    await makeDirectoryDurably(join(this.path, snapshotId));
    await this.unfinishedMark(snapshotId).set();
  }

  /** Once the record is there: the image is no left-over any more. */
  async finish(snapshotId: string): Promise<void> {
    await this.unfinishedMark(snapshotId).clear();
  }

  /** Has the image count as unfinished again, record or not, as that of a snapshot which nobody was told of. */
  async abandon(snapshotId: string): Promise<void> {
    await this.unfinishedMark(snapshotId)
      .replaceRecord()
      .catch((error: unknown) => {
        if (!hasErrno(error, "ENOENT")) throw error;
      });
  }

  /** Makes or replaces the record. */
  async write(snapshot: Snapshot): Promise<void> {
    await writeRecord(this.recordPath(snapshot.id), snapshotRecordFormat, snapshot);
  }

  /** Removes the record, then the image. Anything else in the directory makes it fail, and stays. */
  async remove(snapshotId: string): Promise<void> {
    const unfinished = this.unfinishedMark(snapshotId);
    try {
      await unfinished.replaceRecord();
      await this.removeImage(snapshotId);
      await unfinished.clear();
      await rmdir(dirname(unfinished.path));
    } catch (error) {
      if (!hasErrno(error, "ENOENT")) throw error;
    }
    await syncDirectory(this.path);
  }

  /** Gives the bytes of an image back that are not worth keeping, whoever still holds it open. */
  async emptyImage(snapshotId: string): Promise<void> {
    try {
      await truncate(this.imagePath(snapshotId));
    } catch (error) {
      if (!hasErrno(error, "ENOENT")) throw error;
    }
  }

  /** Removes the image of a snapshot whose record stays. */
  async removeImage(snapshotId: string): Promise<void> {
    await rm(this.imagePath(snapshotId), { force: true });
  }
}
