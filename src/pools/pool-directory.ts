import { randomUUID } from "node:crypto";
import { readdir, realpath, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { z } from "zod";
import { DriverError, hasErrno } from "../errors.js";
import { makeDirectoryDurably } from "../system/files.js";
import { type RecordFormat, readRecord, writeRecord } from "./record-file.js";

/** `<pool>/pool.json`. */
interface PoolRecord {
  uuid: string;
  createdAt: string;
}

const poolRecordFormat: RecordFormat<PoolRecord> = {
  name: "pool record",
  version: 1,
  schema: z.object({ uuid: z.uuid(), createdAt: z.iso.datetime() }),
};

const recordName = "pool.json";

/** A directory that holds a pool, made into one when it was not. */
export interface PoolDirectory {
  uuid: string;
  /** Without symbolic links, so that one pool inside another is seen. */
  path: string;
  volumesPath: string;
  snapshotsPath: string;
  groupsPath: string;
}

export interface PoolDirectoryRequest {
  poolName: string;
  directory: string;
  /** The pool that must be there; undefined when the name is new and the directory may become a pool. */
  expectedUuid?: string | undefined;
}

/** Opens the directory of a pool. It must exist: a missing directory is rather a disk that is not mounted. */
export async function openPoolDirectory(request: PoolDirectoryRequest): Promise<PoolDirectory> {
  const { poolName, directory, expectedUuid } = request;
  const path = await resolveDirectory(poolName, directory);
  await assertNotInsidePool(poolName, path);
  const existing = await findPoolUuid(path);
  if (expectedUuid !== undefined && existing !== expectedUuid) throw otherPool(poolName, path, existing);
  const uuid = existing ?? (await initialise(poolName, path));
  const [volumesPath, snapshotsPath, groupsPath] = [
    join(path, "volumes"),
    join(path, "snapshots"),
    join(path, "groups"),
  ];
  for (const folder of [volumesPath, snapshotsPath, groupsPath]) await ensureDirectory(folder);
  return { uuid, path, volumesPath, snapshotsPath, groupsPath };
}

async function ensureDirectory(path: string): Promise<void> {
  await makeDirectoryDurably(path).catch((error: unknown) => {
    if (!hasErrno(error, "EEXIST")) throw error;
  });
}

async function resolveDirectory(poolName: string, directory: string): Promise<string> {
  const remedy = "create it, or mount the disk that should hold it";
  try {
    const path = await realpath(directory);
    if ((await stat(path)).isDirectory()) return path;
  } catch (cause) {
    if (!hasErrno(cause, "ENOENT", "ENOTDIR")) throw cause;
    throw new DriverError("refused", `pool ${poolName}: directory ${directory} does not exist: ${remedy}`, { cause });
  }
  throw new DriverError("refused", `pool ${poolName}: ${directory} is not a directory: ${remedy}`);
}

async function assertNotInsidePool(poolName: string, path: string): Promise<void> {
  for (let parent = dirname(path); parent !== dirname(parent); parent = dirname(parent)) {
    const isPool = await stat(join(parent, recordName)).then(
      () => true,
      () => false,
    );
    if (!isPool) continue;
    const message = `pool ${poolName}: ${path} lies inside the pool at ${parent}: choose a directory outside of it`;
    throw new DriverError("refused", message);
  }
}

/** The uuid of the pool in a directory, or undefined when there is none. */
export async function findPoolUuid(path: string): Promise<string | undefined> {
  try {
    return (await readRecord(join(path, recordName), poolRecordFormat)).uuid;
  } catch (error) {
    if (hasErrno(error, "ENOENT")) return undefined;
    throw error;
  }
}

// A directory with volumes and no pool record has lost something: making it a new pool would hide that.
async function initialise(poolName: string, path: string): Promise<string> {
  if ((await readdir(path)).includes("volumes")) {
    const message = `pool ${poolName}: ${path} has volumes but no ${recordName}: restore the file from a backup`;
    throw new DriverError("refused", message);
  }
  const record = { uuid: randomUUID(), createdAt: new Date().toISOString() };
  await writeRecord(join(path, recordName), poolRecordFormat, record);
  return record.uuid;
}

function otherPool(poolName: string, path: string, found: string | undefined): DriverError {
  const content = found === undefined ? "holds no pool" : `holds pool ${found}`;
  const message = `pool ${poolName}: ${path} ${content}, but this name stood for another pool before`;
  return new DriverError("refused", `${message}: mount its disk, or give the new pool a new name`);
}
