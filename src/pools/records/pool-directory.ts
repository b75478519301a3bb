import { randomUUID } from "node:crypto";
import { readdir, realpath, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import * as z from "zod";
import { DriverError, hasErrno } from "../../errors.js";
import { makeDirectoryDurably } from "../../system/files.js";
import { type RecordFormat, readRecord, writeRecord } from "./record-file.js";

/** `<pool>/pool.json`. */
export interface PoolRecord {
  uuid: string;
  createdAt: string;
  /** The node whose volumes these are; undefined until the first driver of a version that knows it opens the pool. */
  nodeId?: string | undefined;
}

const poolRecordFormat: RecordFormat<PoolRecord> = {
  name: "pool record",
  version: 1,
  schema: z.object({ uuid: z.uuid(), createdAt: z.iso.datetime(), nodeId: z.string().min(1).optional() }),
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
  const opened = toPoolDirectory(path, existing ?? (await initialise(poolName, path)));
  const { volumesPath, snapshotsPath, groupsPath } = opened;
  for (const folder of [volumesPath, snapshotsPath, groupsPath]) await ensureDirectory(folder);
  return opened;
}

/** Where the parts of the pool in a directory are, which has no symbolic link in its path. */
export function toPoolDirectory(path: string, uuid: string): PoolDirectory {
  return {
    uuid,
    path,
    volumesPath: join(path, "volumes"),
    snapshotsPath: join(path, "snapshots"),
    groupsPath: join(path, "groups"),
  };
}

/** Makes a pool this node's that is nobody's yet. Another node's is refused: its disk may be in use there. */
export async function claimPool(poolName: string, path: string, nodeId: string): Promise<void> {
  const record = await readRecord(join(path, recordName), poolRecordFormat);
  if (record.nodeId === undefined) return await assignPool(path, nodeId);
  const fault = explainOwner(record, nodeId);
  if (fault !== undefined) throw new DriverError("refused", `pool ${poolName}: ${path} ${fault}`);
}

/** Makes a pool a node's, whoever's it was. */
export async function assignPool(path: string, nodeId: string): Promise<void> {
  const record = await readRecord(join(path, recordName), poolRecordFormat);
  await writeRecord(join(path, recordName), poolRecordFormat, { ...record, nodeId });
}

/** Why a pool is not for this node, or undefined when it is. */
export function explainOwner({ nodeId: owner }: PoolRecord, nodeId: string): string | undefined {
  if (owner === undefined || owner === nodeId) return undefined;
  const remedy = 'when the node was renamed, or the disk moved here, run "ublk-csi pool adopt"';
  return `is the pool of node ${owner}, and this is node ${nodeId}: ${remedy}`;
}

async function ensureDirectory(path: string): Promise<void> {
  await makeDirectoryDurably(path).catch((error: unknown) => {
    if (!hasErrno(error, "EEXIST")) throw error;
  });
}

/** A directory without the symbolic links in its path; one that is missing is an error that says what to do. */
export async function resolveDirectory(poolName: string, directory: string): Promise<string> {
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
  return (await findPoolRecord(path))?.uuid;
}

/** The record of the pool in a directory, or undefined when there is none. */
export async function findPoolRecord(path: string): Promise<PoolRecord | undefined> {
  try {
    return await readRecord(join(path, recordName), poolRecordFormat);
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
  const remedy = 'mount its disk, give the new pool a new name, or run "ublk-csi pool adopt" for the pool that is here';
  return new DriverError("refused", `${message}: ${remedy}`);
}
