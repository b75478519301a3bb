import { stat } from "node:fs/promises";
import { join } from "node:path";
import { hasErrno, toMessage } from "../../errors.js";
import { SpaceAccounts } from "../../pools/capacity/space-accounts.js";
import type { PoolRequest } from "../../pools/pool/open-pools.js";
import { Pool } from "../../pools/pool/pool.js";
import { type PoolContent, scanPool } from "../../pools/pool/pool-scan.js";
import {
  explainOwner,
  findPoolRecord,
  type PoolRecord,
  resolveDirectory,
  toPoolDirectory,
} from "../../pools/records/pool-directory.js";
import { PoolRegistry } from "../../pools/records/pool-registry.js";
import { emptySnapshotContent, type SnapshotContent, scanSnapshots } from "../../pools/snapshots/snapshot-scan.js";
import type { RunCommand } from "../../system/command.js";
import type { ImageFiles } from "../../system/image-files.js";
import type { PoolPlace } from "./pool-command.js";

export interface PoolTools {
  runCommand: RunCommand;
  imageFiles: ImageFiles;
}

/** A pool as it is on disk. */
export interface FoundPool {
  request: PoolRequest;
  directory: string;
  record: PoolRecord;
  pool: Pool;
  content: PoolContent;
  snapshots: SnapshotContent;
  /** Why the driver would not open it, though it is there. */
  fault: string | undefined;
}

/** A pool of which there is nothing to look at. */
export interface AbsentPool {
  request: PoolRequest;
  directory: string;
  fault: string;
}

export function isFound(candidate: FoundPool | AbsentPool): candidate is FoundPool {
  return "pool" in candidate;
}

/** Where the images of a pool lie. */
export function directoryOf(request: PoolRequest, { stateDir }: PoolPlace): string {
  return request.kind === "file" ? request.directory : join(stateDir, "memory", request.name);
}

/** Reads a pool without making, changing or locking anything. */
export async function findPool(
  request: PoolRequest,
  place: PoolPlace,
  tools: PoolTools,
): Promise<FoundPool | AbsentPool> {
  return await findAmong(request, place, { ...tools, accounts: new SpaceAccounts() });
}

/** Every pool of the command line in its order. */
export async function findPools(place: PoolPlace, tools: PoolTools): Promise<Array<FoundPool | AbsentPool>> {
  const found: Array<FoundPool | AbsentPool> = [];
  const finding = { ...tools, accounts: new SpaceAccounts() };
  for (const request of place.pools) found.push(await findAmong(request, place, finding));
  return found;
}

interface PoolFinding extends PoolTools {
  accounts: SpaceAccounts;
}

async function findAmong(
  request: PoolRequest,
  place: PoolPlace,
  { accounts, ...tools }: PoolFinding,
): Promise<FoundPool | AbsentPool> {
  const directory = directoryOf(request, place);
  try {
    const path = await resolveDirectory(request.name, directory);
    const record = await findPoolRecord(path);
    if (record === undefined) return { request, directory, fault: explainAbsence(request) };
    const account = request.kind === "file" ? await accounts.find(path) : undefined;
    const pool = new Pool(request, toPoolDirectory(path, record.uuid), { ...tools, account });
    const { content, snapshots } = await readContent(pool);
    const fault = await findFault(request, record, place);
    return { request, directory: path, record, pool, content, snapshots, fault };
  } catch (error) {
    return { request, directory, fault: toMessage(error) };
  }
}

function explainAbsence({ kind }: PoolRequest): string {
  const reason = kind === "memory" ? "its volumes end with a reboot" : "mount its disk";
  return `holds no pool: ${reason}, or start the driver, which makes one`;
}

// A pool of an older version has fewer folders: the driver makes what is missing.
async function readContent(pool: Pool): Promise<{ content: PoolContent; snapshots: SnapshotContent }> {
  const { volumesPath, snapshotsPath, groupsPath } = pool.directory;
  const content: PoolContent = (await isThere(volumesPath))
    ? await scanPool(pool)
    : { volumes: [], unusable: [], orphans: [], marked: [], strangers: [] };
  const snapshots: SnapshotContent =
    (await isThere(snapshotsPath)) && (await isThere(groupsPath)) ? await scanSnapshots(pool) : emptySnapshotContent();
  return { content, snapshots };
}

async function findFault(
  { kind, name }: PoolRequest,
  record: PoolRecord,
  { stateDir, nodeId }: PoolPlace,
): Promise<string | undefined> {
  if (kind === "memory") return undefined;
  const registered = await new PoolRegistry(stateDir).find(name);
  if (registered !== undefined && registered !== record.uuid) {
    return `this name stood for pool ${registered} before: mount its disk, or run "ublk-csi pool adopt"`;
  }
  return nodeId === undefined ? undefined : explainOwner(record, nodeId);
}

async function isThere(path: string): Promise<boolean> {
  return await stat(path).then(
    () => true,
    (error: unknown) => {
      if (hasErrno(error, "ENOENT")) return false;
      throw error;
    },
  );
}
