import { join } from "node:path";
import { DriverError, toMessage } from "../../errors.js";
import type { Logger } from "../../log.js";
import type { RunCommand } from "../../system/command.js";
import type { ImageFiles } from "../../system/image-files.js";
import type { PoolSettings } from "../capacity/pool-settings.js";
import { SpaceAccounts } from "../capacity/space-accounts.js";
import { claimPool, openPoolDirectory } from "../records/pool-directory.js";
import { PoolRegistry } from "../records/pool-registry.js";
import type { MemoryFilesystems } from "./memory-filesystem.js";
import { overwriteInPlace } from "./overwriting.js";
import { Pool } from "./pool.js";
import { Pools } from "./pools.js";

export type PoolRequest = FilePoolRequest | MemoryPoolRequest;

interface PoolWish {
  /** What is left out is `defaultPoolSettings`. */
  settings?: Partial<PoolSettings> | undefined;
}

export interface FilePoolRequest extends PoolWish {
  kind: "file";
  name: string;
  directory: string;
}

export interface MemoryPoolRequest extends PoolWish {
  kind: "memory";
  name: string;
  budgetBytes: bigint;
}

export interface PoolDependencies {
  stateDir: string;
  /** Whose pools these are, or are to be. */
  nodeId: string;
  memoryFilesystems: MemoryFilesystems;
  runCommand: RunCommand;
  imageFiles: ImageFiles;
  /** Keeps other processes away from a file pool, whatever state directory they have. */
  lockPool: (path: string) => Promise<void>;
  logger: Logger;
}

/** Opens the pools of a node in the order given; the first is the one for volumes that name none. */
export async function openPools(requests: readonly PoolRequest[], dependencies: PoolDependencies): Promise<Pools> {
  if (requests.length === 0) {
    throw new DriverError("refused", "no pool: give --pool NAME=DIR or --memory-pool NAME=BYTES");
  }
  const opened: Pool[] = [];
  const opening = { ...dependencies, accounts: new SpaceAccounts() };
  for (const request of requests) opened.push(await openNamed(request, opening));
  return await Pools.load(opened, dependencies.logger);
}

interface Opening extends PoolDependencies {
  accounts: SpaceAccounts;
}

// Errors of system calls, such as a full or read-only disk, name no pool by themselves.
async function openNamed(request: PoolRequest, dependencies: Opening): Promise<Pool> {
  try {
    return await openPool(request, dependencies);
  } catch (cause) {
    if (cause instanceof DriverError) throw cause;
    const place = request.kind === "file" ? ` at ${request.directory}` : "";
    const message = `pool ${request.name}${place} cannot be opened: ${toMessage(cause)}`;
    throw new DriverError("refused", message, { cause });
  }
}

async function openPool(request: PoolRequest, dependencies: Opening): Promise<Pool> {
  if (request.kind === "file") return await openFilePool(request, dependencies);
  const { stateDir, memoryFilesystems } = dependencies;
  const directory = join(stateDir, "memory", request.name);
  await memoryFilesystems.ensure(directory, request.budgetBytes);
  return new Pool(request, await openPoolDirectory({ poolName: request.name, directory }), dependencies);
}

async function openFilePool(request: FilePoolRequest, dependencies: Opening): Promise<Pool> {
  const { name, directory } = request;
  const registry = new PoolRegistry(dependencies.stateDir);
  const expectedUuid = await registry.find(name);
  const opened = await openPoolDirectory({ poolName: name, directory, expectedUuid });
  await dependencies.lockPool(opened.path);
  await claimPool(name, opened.path, dependencies.nodeId);
  if (expectedUuid === undefined) await registry.remember(name, opened.uuid);
  await overwriteInPlace([opened.volumesPath, opened.snapshotsPath], dependencies);
  const account = await dependencies.accounts.find(opened.path);
  return new Pool(request, opened, { ...dependencies, account });
}
