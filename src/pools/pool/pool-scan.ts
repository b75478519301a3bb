import { readdir } from "node:fs/promises";
import { DriverError, hasErrno, toMessage } from "../../errors.js";
import { readImageSize } from "../images/image.js";
import { readRecord } from "../records/record-file.js";
import { explainLostRecord, isLeftOver } from "../records/unfinished-mark.js";
import { volumeRecordFormat } from "../records/volume-record.js";
import { imageSizeBytesOf } from "../volume/image-size.js";
import type { Volume } from "../volume/volume.js";
import { isVolumeId } from "../volume/volume-id.js";
import type { Pool } from "./pool.js";

/** What a pool holds, found at start. */
export interface PoolContent {
  volumes: Volume[];
  /** Volumes whose record cannot be used. They are left as they are, and keep their space booked. */
  unusable: UnusableVolume[];
  /** Ids of what a crash cut short while it was made or removed: nobody's data. */
  orphans: string[];
  /** Ids of volumes that are whole, though the mark of their making is still there. */
  marked: string[];
  /** Entries that are not ours. */
  strangers: string[];
}

export interface UnusableVolume {
  id: string;
  reason: string;
  /** `image`: it is missing or too short. `record`: it cannot be used. `no-record`: an image that was a volume has none. */
  damage: "image" | "record" | "no-record";
}

/** An image has fewer bytes than its volume. */
class LostBytes extends DriverError {}

/** Reads every volume of a pool and books it. One bad record never hides the others. */
export async function scanPool(pool: Pool): Promise<PoolContent> {
  const content: PoolContent = { volumes: [], unusable: [], orphans: [], marked: [], strangers: [] };
  for (const entry of await readdir(pool.directory.volumesPath, { withFileTypes: true })) {
    if (!entry.isDirectory() || !isVolumeId(entry.name)) content.strangers.push(entry.name);
    else await scanVolume(pool, entry.name, content);
  }
  return content;
}

async function scanVolume(pool: Pool, id: string, content: PoolContent): Promise<void> {
  try {
    const volume = await readVolume(pool, id);
    pool.bookVolume(volume);
    content.volumes.push(volume);
    if (await pool.unfinishedMark(id).isSet()) content.marked.push(id);
  } catch (error) {
    pool.ledger.record(id, await readUnusableBytes(pool, id));
    if (!hasErrno(error, "ENOENT")) {
      const damage = error instanceof LostBytes ? "image" : "record";
      content.unusable.push({ id, reason: toMessage(error), damage });
    } else if (await isLeftOver(pool.unfinishedMark(id), pool.imagePath(id))) content.orphans.push(id);
    else content.unusable.push({ id, reason: explainLostRecord(pool.recordPath(id)), damage: "no-record" });
  }
}

async function readVolume(pool: Pool, id: string): Promise<Volume> {
  const path = pool.recordPath(id);
  const volume = await readRecord(path, volumeRecordFormat);
  if (volume.id !== id) {
    throw new DriverError("internal", `${path} names volume ${volume.id}: move the directory back to that name`);
  }
  const imageBytes = await readImageSize(pool.imagePath(id));
  const expectedBytes = imageSizeBytesOf(volume);
  const isGrowing = volume.growingToBytes !== undefined && imageBytes > expectedBytes;
  if (imageBytes !== expectedBytes && !isGrowing) {
    const found = imageBytes === 0n ? "is missing or empty" : `has ${imageBytes} bytes`;
    const expected = `the volume has ${expectedBytes}: restore the image from a backup`;
    const message = `${pool.imagePath(id)} ${found}, ${expected}`;
    throw imageBytes < expectedBytes ? new LostBytes("internal", message) : new DriverError("internal", message);
  }
  return { ...volume, pool: pool.name };
}

/** What the image has, or by its record is to have where nobody can look; 0 when there is nothing that says. */
async function readUnusableBytes(pool: Pool, id: string): Promise<bigint> {
  const readRecorded = async () => pool.bookedBytesOf(await readRecord(pool.recordPath(id), volumeRecordFormat));
  return await readImageSize(pool.imagePath(id))
    .catch(readRecorded)
    .catch(() => 0n);
}
