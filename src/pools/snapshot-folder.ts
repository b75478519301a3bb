import { rm, rmdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { hasErrno } from "../errors.js";
import { makeDirectoryDurably, syncDirectory, temporaryPathOf } from "../system/files.js";
import { writeRecord } from "./record-file.js";
import type { Snapshot } from "./snapshot.js";
import { snapshotRecordFormat } from "./snapshot-record.js";

/**
 * The files of a pool's snapshots. As with volumes an image is there before its record and outlives it, so that a crash
 * leaves at most an image without a record.
 */
export class SnapshotFolder {
  constructor(readonly path: string) {}

  imagePath(snapshotId: string): string {
    return join(this.path, snapshotId, "image");
  }

  recordPath(snapshotId: string): string {
    return join(this.path, snapshotId, "snapshot.json");
  }

  /** Makes the place for an image. One that exists already is another snapshot's. */
  async prepare(snapshotId: string): Promise<void> {
    await makeDirectoryDurably(join(this.path, snapshotId));
  }

  /** Makes or replaces the record. */
  async write(snapshot: Snapshot): Promise<void> {
    await writeRecord(this.recordPath(snapshot.id), snapshotRecordFormat, snapshot);
  }

  /** Removes the record, then the image. Anything else in the directory makes it fail, and stays. */
  async remove(snapshotId: string): Promise<void> {
    const recordPath = this.recordPath(snapshotId);
    try {
      await rm(recordPath, { force: true });
      await rm(temporaryPathOf(recordPath), { force: true });
      await syncDirectory(dirname(recordPath));
      await this.removeImage(snapshotId);
      await rmdir(dirname(recordPath));
    } catch (error) {
      if (!hasErrno(error, "ENOENT")) throw error;
    }
    await syncDirectory(this.path);
  }

  /** Gives the bytes of a snapshot back that has none worth keeping. */
  async removeImage(snapshotId: string): Promise<void> {
    await rm(this.imagePath(snapshotId), { force: true });
  }
}
