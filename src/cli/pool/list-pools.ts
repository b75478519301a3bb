import { findMountOf } from "../../system/mountinfo.js";
import { type AbsentPool, type FoundPool, findPools, isFound } from "./found-pool.js";
import type { PoolPlace } from "./pool-command.js";
import type { PoolOutcome, PoolParts } from "./pool-outcome.js";
import { formatBytes, formatTable } from "./table.js";

/** A pool as `pool list` tells it. What is unknown of one that is not there is left out. */
interface ListedPool {
  name: string;
  kind: "file" | "memory";
  directory: string;
  uuid?: string;
  nodeId?: string | undefined;
  fileSystem?: string | undefined;
  volumeCount?: number;
  snapshotCount?: number;
  bookedBytes?: bigint;
  freeBytes?: bigint;
  /** Why the driver would not open it. */
  fault?: string | undefined;
}

/** Every pool, and what it holds. May be asked beside a running driver. */
export async function listPools(place: PoolPlace, parts: PoolParts): Promise<PoolOutcome> {
  const pools: ListedPool[] = [];
  for (const candidate of await findPools(place, parts)) pools.push(await toListed(candidate, parts));
  const exitCode = pools.every(({ fault }) => fault === undefined) ? 0 : 1;
  return { exitCode, json: { pools }, text: toText(pools) };
}

async function toListed(candidate: FoundPool | AbsentPool, parts: PoolParts): Promise<ListedPool> {
  const { request, directory, fault } = candidate;
  const basics = { name: request.name, kind: request.kind, directory };
  if (!isFound(candidate)) return { ...basics, fault };
  const { pool, record, content, snapshots } = candidate;
  return {
    ...basics,
    uuid: record.uuid,
    nodeId: record.nodeId,
    fileSystem: findMountOf(directory, await parts.readMounts())?.fsType,
    volumeCount: content.volumes.length,
    snapshotCount: snapshots.snapshots.length,
    bookedBytes: pool.ledger.reservedBytes,
    freeBytes: (await pool.readSpace()).freeBytes,
    fault,
  };
}

const headings = ["NAME", "UUID", "KIND", "DIRECTORY", "FS", "VOLUMES", "SNAPSHOTS", "BOOKED", "FREE"];

function toText(pools: readonly ListedPool[]): string {
  const rows = pools.map((pool) => [
    pool.name,
    pool.uuid ?? "-",
    pool.kind,
    pool.directory,
    pool.fileSystem ?? "-",
    String(pool.volumeCount ?? "-"),
    String(pool.snapshotCount ?? "-"),
    pool.bookedBytes === undefined ? "-" : formatBytes(pool.bookedBytes),
    pool.freeBytes === undefined ? "-" : formatBytes(pool.freeBytes),
  ]);
  const faults = pools.flatMap(({ name, fault }) => (fault === undefined ? [] : [`pool ${name}: ${fault}\n`]));
  return formatTable(headings, rows) + faults.join("");
}
