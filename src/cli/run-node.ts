import { mkdir } from "node:fs/promises";
import { release } from "node:os";
import { join } from "node:path";
import type { NodeConfig } from "../config.js";
import { createDriver } from "../driver.js";
import type { BlockDevices } from "../engine/block-devices.js";
import { DriverError, toMessage } from "../errors.js";
import { IoErrorHistory } from "../health/io-error-history.js";
import { listFullPools } from "../health/storage-health.js";
import type { Logger } from "../log.js";
import type { Metrics } from "../metrics/start-metrics.js";
import type { Filesystems } from "../node/filesystems/filesystems.js";
import { type DeviceMapping, noMapping } from "../node/mounts/device-mapping.js";
import type { Mounter } from "../node/mounts/mounter.js";
import { readVolumeCountMax } from "../node/volume-limit.js";
import type { MemoryFilesystems } from "../pools/pool/memory-filesystem.js";
import { openPools } from "../pools/pool/open-pools.js";
import { PollingPoolWatch } from "../pools/pool/pool-watch.js";
import type { Pools } from "../pools/pool/pools.js";
import { VolumeExpander } from "../pools/provisioning/volume-expander.js";
import { openSnapshots } from "../pools/snapshots/open-snapshots.js";
import type { RunCommand } from "../system/command.js";
import { acquireFileLock } from "../system/file-lock.js";
import type { ImageFiles } from "../system/image-files.js";
import { endsWithin } from "../system/within.js";

/** What the node needs of the machine. */
export interface NodeParts {
  version: string;
  /** Fails, saying what is missing, on a kernel that cannot serve devices. Only asked when this process serves them. */
  checkKernel: () => Promise<void>;
  createBlockDevices: (config: NodeConfig) => BlockDevices;
  mounter: Mounter;
  filesystems: Filesystems;
  memoryFilesystems: MemoryFilesystems;
  /** Encrypts volumes that are to be. Default: no volume can be. */
  createMapping?: (pools: Pools) => DeviceMapping;
  runCommand: RunCommand;
  imageFiles: ImageFiles;
  logger: Logger;
  /** Default: a lock that lives as long as the process, if nobody releases it before. */
  acquireLock?: typeof acquireFileLock;
  /** How long the end waits for what is under way. Default: 20 seconds. */
  stopMsMax?: number;
}

/** Undoes the steps of a start in reverse order. A step says `false` when something of it is still under way. */
type Undo = Array<() => Promise<unknown>>;

const stopMsMaxDefault = 20_000;
const closeStoreMsMax = 5_000;

/**
 * Runs the node until the signal, and leaves behind what the next start can take over. Returns the exit code. The process
 * has to end then: where work was still under way it goes on, and the locks are kept so that nobody else meets it.
 */
export async function runNode(config: NodeConfig, parts: NodeParts, stopSignal: AbortSignal): Promise<number> {
  const [undo, locks]: [Undo, Undo] = [[], []];
  const lost = new AbortController();
  try {
    await start(config, parts, { undo, locks, onLockLost: () => lost.abort() });
    await waitForAbort(AbortSignal.any([stopSignal, lost.signal]));
    if (lost.signal.aborted) throw new DriverError("internal", `lost the lock of ${config.stateDir}: start again`);
    parts.logger.info("stopping");
    return 0;
  } catch (error) {
    parts.logger.fatal({ err: error }, toMessage(error));
    process.stderr.write(`ublk-csi: ${toMessage(error)}\n`);
    return 1;
  } finally {
    if (await undoAll(undo, parts.logger)) await undoAll(locks, parts.logger);
    else parts.logger.warn("ending with work under way, which the next start finds as after a crash");
  }
}

interface StartOptions {
  undo: Undo;
  locks: Undo;
  onLockLost: () => void;
}

/** The order matters: nothing is touched before the lock, and nothing is served before the devices are back. */
async function start(config: NodeConfig, parts: NodeParts, options: StartOptions): Promise<void> {
  const { logger, acquireLock = acquireFileLock, stopMsMax = stopMsMaxDefault } = parts;
  const { undo, locks, onLockLost } = options;
  const { stateDir, nodeId } = config;
  const isEmbedded = config.engineSocketPath === undefined;
  if (isEmbedded) await parts.checkKernel();
  const lock = async (path: string, what: string) => {
    const held = await acquireLock(path, { what, onLost: onLockLost });
    locks.push(() => held.release());
  };
  await mkdir(stateDir, { recursive: true, mode: 0o700 });
  await lock(join(stateDir, "lock"), `state directory ${stateDir}`);
  if (isEmbedded) await lockJournal(stateDir, lock);
  const metrics = await startMetrics(config, parts, undo);
  const lockPool = (path: string) => lock(join(path, "lock"), `pool ${path}`);
  const pools = await openPools(config.pools, { ...parts, stateDir, nodeId, lockPool });
  const blockDevices = parts.createBlockDevices(config);
  undo.push(() => blockDevices.close());
  for (const { reason, ...entry } of (await blockDevices.adopt()).entries) logger.info(entry, `adoption: ${reason}`);
  await pools.collectOrphans(new Set(await blockDevices.listVolumeIds()), (id) => blockDevices.endCopy(id));
  await pools.undoGrowths();
  await new VolumeExpander(pools, blockDevices).growDevices(logger);
  const snapshots = await openSnapshots({ ...parts, pools, blockDevices });
  undo.push(() => endsWithin(closeStoreMsMax, snapshots.store.close()));
  const poolWatch = await startWatch(pools, { blockDevices, logger, undo });
  const ioErrors = new IoErrorHistory(blockDevices);
  metrics?.addPools({ pools, poolWatch, listFullPools: () => listFullPools({ pools, ioErrors }) });
  const { socketPath, kubeletDir } = config;
  const volumeCountMax = await readVolumeCountMax(release());
  const checkHealth = () => pools.checkHealth();
  const mapping = parts.createMapping?.(pools) ?? noMapping;
  const checked = { ...parts, pools, blockDevices, snapshots, mapping, checkHealth, poolWatch };
  const told = { ioErrors, trimTotals: metrics?.trimTotals, observeCall: metrics?.observeCall };
  const driverParts = { ...checked, ...told, ephemeralRules: config.ephemeral, socketPath, kubeletDir, volumeCountMax };
  const driver = createDriver({ ...config, ...parts }, driverParts);
  await driver.start();
  undo.push(() => driver.stop(stopMsMax));
}

/** Early, so that an address that cannot be had ends the start before anything is touched. The library only loads then. */
async function startMetrics(config: NodeConfig, parts: NodeParts, undo: Undo): Promise<Metrics | undefined> {
  const { metricsEndpoint: endpoint } = config;
  if (endpoint === undefined) return undefined;
  const { startMetrics } = await import("../metrics/start-metrics.js");
  const metrics = await startMetrics({ ...parts, endpoint });
  undo.push(() => metrics.stop());
  return metrics;
}

/** A thin volume that is refused a block says at once what the next look at its pool would find. */
async function startWatch(
  pools: Pools,
  { blockDevices, logger, undo }: { blockDevices: BlockDevices; logger: Logger; undo: Undo },
): Promise<PollingPoolWatch> {
  const watch = new PollingPoolWatch(pools.all, logger);
  const stopListening = blockDevices.onEvent((event) => {
    if (event.kind === "io-error" && event.errnoName === "ENOSPC") void watch.check();
  });
  undo.push(async () => {
    stopListening();
    watch.stop();
  });
  await watch.start();
  return watch;
}

type Lock = (path: string, what: string) => Promise<void>;

/** An engine in a process of its own has the same journal, if it has the same state directory. */
async function lockJournal(stateDir: string, lock: Lock): Promise<void> {
  const directory = join(stateDir, "engine");
  await mkdir(directory, { recursive: true, mode: 0o700 });
  await lock(join(directory, "lock"), `engine state ${directory}`);
}

function waitForAbort(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    signal.addEventListener("abort", () => resolve(), { once: true });
  });
}

/** False when something is still under way. */
async function undoAll(undo: Undo, logger: Logger): Promise<boolean> {
  let isOver = true;
  for (const step of undo.reverse()) {
    try {
      if ((await step()) === false) isOver = false;
    } catch (err) {
      logger.error({ err }, "a step of the shutdown failed");
    }
  }
  return isOver;
}
