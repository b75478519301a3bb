import { mkdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { DriverError, hasErrno, toMessage } from "../../errors.js";
import { acquireFileLock, type FileLock, LockConflict } from "../../system/file-lock.js";

/** What is to be kept from drivers. */
export interface LockedPlaces {
  stateDir: string;
  /** Directories of file pools. */
  poolPaths: readonly string[];
}

/** Does the work while no driver runs with this state directory, and none uses these pools. Refused when one does. */
export async function withLocks<T>({ stateDir, poolPaths }: LockedPlaces, work: () => Promise<T>): Promise<T> {
  const held: FileLock[] = [];
  try {
    await mkdir(stateDir, { recursive: true, mode: 0o700 });
    held.push(await lock(stateDir, `state directory ${stateDir}`));
    for (const path of poolPaths) held.push(await lock(path, `pool ${path}`));
    return await work();
  } finally {
    for (const each of held.reverse()) await each.release();
  }
}

/** Whether a driver, or another command, has this state directory or pool. Makes no file. */
export async function isLocked(directory: string): Promise<boolean> {
  const path = join(directory, "lock");
  try {
    await stat(path);
    await (await acquireFileLock(path, { what: directory, waitSeconds: 0 })).release();
    return false;
  } catch (error) {
    if (hasErrno(error, "ENOENT", "ENOTDIR")) return false;
    if (error instanceof LockConflict) return true;
    throw error;
  }
}

async function lock(directory: string, what: string): Promise<FileLock> {
  try {
    return await acquireFileLock(join(directory, "lock"), { what, waitSeconds: 1 });
  } catch (cause) {
    const advice =
      "this command needs pools that no driver has; list, check and the export of snapshots work beside it";
    throw new DriverError("refused", `${toMessage(cause)} (${advice})`, { cause });
  }
}
