import { readdir } from "node:fs/promises";
import { join, parse } from "node:path";
import { DriverError, hasErrno, toMessage } from "../../errors.js";
import { temporaryPathOf } from "../../system/files.js";
import { readAllocatedBytes, readImageSize } from "../images/image.js";
import type { Pool } from "../pool/pool.js";
import { readRecord } from "../records/record-file.js";
import { groupRecordFormat, snapshotRecordFormat } from "../records/snapshot-record.js";
import { explainLostRecord, isLeftOver, type UnfinishedMark } from "../records/unfinished-mark.js";
import type { Snapshot, SnapshotGroup } from "../volume/snapshot.js";
import { isVolumeId } from "../volume/volume-id.js";
import { groupMark, groupPath } from "./group-files.js";

/** The snapshots and groups of a pool, found at start. */
export interface SnapshotContent {
  snapshots: Snapshot[];
  groups: SnapshotGroup[];
  /** What cannot be used, with the reason. It stays as it is, and keeps its space booked. */
  unusable: Array<{ id: string; reason: string; damage: "record" | "no-record" }>;
  /** Ids of what a crash cut short while it was made or removed: nobody's data. */
  orphans: string[];
  /** Ids of snapshots that are whole, though the mark of their making is still there. */
  marked: string[];
  /** Groups that a crash cut short while they were made or removed, and with them their members. */
  unfinishedGroups: Array<{ id: string; mark: UnfinishedMark }>;
  /** Paths of records and marks of groups that were never finished. */
  unwrittenGroups: string[];
}

const unwrittenEndings = [".json", ".unfinished"].map(temporaryPathOf);

export function emptySnapshotContent(): SnapshotContent {
  return {
    snapshots: [],
    groups: [],
    unusable: [],
    orphans: [],
    marked: [],
    unfinishedGroups: [],
    unwrittenGroups: [],
  };
}

/** Reads and books every snapshot of a pool. One bad record never hides the others. */
export async function scanSnapshots(pool: Pool): Promise<SnapshotContent> {
  const content = emptySnapshotContent();
  for (const entry of await readdir(pool.directory.snapshotsPath, { withFileTypes: true })) {
    if (entry.isDirectory() && isVolumeId(entry.name)) await scanSnapshot(pool, entry.name, content);
  }
  for (const name of await readdir(pool.directory.groupsPath)) {
    const { name: id, ext: kind } = parse(name);
    if (kind === ".json" && isVolumeId(id)) await scanGroup(pool, id, content);
    if (kind === ".unfinished" && isVolumeId(id)) content.unfinishedGroups.push({ id, mark: groupMark(pool, id) });
    if (unwrittenEndings.some((ending) => name.endsWith(ending)))
      content.unwrittenGroups.push(join(pool.directory.groupsPath, name));
  }
  return content;
}

async function scanSnapshot(pool: Pool, id: string, content: SnapshotContent): Promise<void> {
  const imagePath = pool.snapshots.imagePath(id);
  try {
    const snapshot = await readSnapshot(pool, id);
    const bookedBytes = snapshot.state === "copying" ? snapshot.bookedBytes : await readAllocatedBytes(imagePath);
    pool.bookSnapshot(id, bookedBytes, snapshot.sourceVolumeId);
    content.snapshots.push(snapshot);
    if (await pool.snapshots.unfinishedMark(id).isSet()) content.marked.push(id);
  } catch (error) {
    pool.bookSnapshot(id, await readUnusableBytes(pool, id));
    if (!hasErrno(error, "ENOENT")) content.unusable.push({ id, reason: toMessage(error), damage: "record" });
    else if (await isLeftOver(pool.snapshots.unfinishedMark(id), imagePath)) content.orphans.push(id);
    else content.unusable.push({ id, reason: explainLostRecord(pool.snapshots.recordPath(id)), damage: "no-record" });
  }
}

async function readSnapshot(pool: Pool, id: string): Promise<Snapshot> {
  const recordPath = pool.snapshots.recordPath(id);
  const snapshot = await readRecord(recordPath, snapshotRecordFormat);
  if (snapshot.id !== id) {
    throw new DriverError(
      "internal",
      `${recordPath} names snapshot ${snapshot.id}: move the directory back to that name`,
    );
  }
  if (snapshot.state !== "failed") await assertImage(pool.snapshots.imagePath(id), snapshot);
  return { ...snapshot, pool: pool.name };
}

async function assertImage(path: string, { imageSizeBytes: expectedBytes, state }: Snapshot): Promise<void> {
  const foundBytes = await readImageSize(path);
  // The bytes of a copy that failed are given back before its record says so.
  if (foundBytes === expectedBytes || (foundBytes === 0n && state === "copying")) return;
  const message = `${path} has ${foundBytes} bytes, the snapshot has ${expectedBytes}: restore the image from a backup`;
  throw new DriverError("internal", message);
}

/** What the image has, or had when its record was written where nobody can look; 0 when there is nothing that says. */
async function readUnusableBytes({ snapshots }: Pool, id: string): Promise<bigint> {
  const readRecorded = async () => (await readRecord(snapshots.recordPath(id), snapshotRecordFormat)).bookedBytes;
  return await readAllocatedBytes(snapshots.imagePath(id))
    .catch(readRecorded)
    .catch(() => 0n);
}

async function scanGroup(pool: Pool, id: string, content: SnapshotContent): Promise<void> {
  try {
    content.groups.push(await readRecord(groupPath(pool, id), groupRecordFormat));
  } catch (error) {
    content.unusable.push({ id, reason: toMessage(error), damage: "record" });
  }
}
