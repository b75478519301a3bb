import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import type { EngineServer } from "../daemon/engine-server.js";
import { createUblkBlockDevices } from "../engine/create-ublk-block-devices.js";
import type { EngineLogger } from "../engine/logger.js";
import { reportKernel } from "../engine/report-kernel.js";
import type { UblkBlockDevices } from "../engine/ublk-block-devices.js";
import { acquireFileLock, type FileLock, type FileLockOptions } from "../system/file-lock.js";
import { loadUblk } from "../ublk/ublk.js";
import type { EngineConfig } from "./engine-config.js";

/** What a start of the engine is given. */
export interface EngineStart {
  config: EngineConfig;
  logger: EngineLogger;
  /** Gets what undoes the steps of the start, in their order. */
  undo: Array<() => Promise<void>>;
  onLockLost: () => void;
  /** Another engine has every device. */
  onHandedOver: () => void;
}

const stopServingMsMax = 10_000;
const adoptionMsMax = 3_000;

/**
 * A start with no other engine there, or with one that was killed. The order matters: nothing is touched before the lock,
 * and the devices are back, for I/O waits for them, before the API is even loaded; but for those that are stuck.
 */
export async function startAlone(start: EngineStart): Promise<void> {
  const { undo } = start;
  const locking = beginLocking(start);
  const devices = await createDevices(start);
  await locking;
  undo.push(() => devices.leave());
  await adoptPatiently(devices, start.logger, adoptionMsMax);
  const server = await listen(start, devices);
  await server.publish();
}

/** Takes back what there is. A device that is stuck must not keep the API from the others for longer than this. */
export async function adoptPatiently(
  devices: Pick<UblkBlockDevices, "adopt">,
  logger: EngineLogger,
  patienceMs: number,
): Promise<void> {
  let isLate = false;
  const adopted = devices.adopt().then(
    () => undefined,
    (err: unknown) => {
      if (!isLate) throw err;
      logger.error({ err }, "the rest of the devices cannot be taken back");
    },
  );
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<void>((resolve) => {
    timer = setTimeout(() => {
      isLate = true;
      logger.warn({ patienceMs }, "some devices are not back yet: serving the others meanwhile");
      resolve();
    }, patienceMs);
  });
  await Promise.race([adopted, late]).finally(() => clearTimeout(timer));
}

/** Says what is wrong with the kernel before anything else fails because of it. */
export async function createDevices({ config, logger }: EngineStart): Promise<UblkBlockDevices> {
  await reportKernel(loadUblk(config), logger);
  return createUblkBlockDevices({ ...config, logger });
}

/** Begins to lock, for a caller that has other things to do meanwhile. Whatever comes of these, the lock is undone. */
export function beginLocking(start: EngineStart, options: Partial<FileLockOptions> = {}): Promise<FileLock> {
  const giveUp = new AbortController();
  const locking = lockState(start, { ...options, signal: giveUp.signal });
  locking.catch(() => undefined); // awaited by the caller
  start.undo.push(async () => {
    giveUp.abort();
    await (await locking.catch(() => undefined))?.release();
  });
  return locking;
}

/** Keeps every other engine away from this journal. */
async function lockState({ config, onLockLost }: EngineStart, options: Partial<FileLockOptions>): Promise<FileLock> {
  const directory = join(config.stateDir, "engine");
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const what = `state directory ${config.stateDir}`;
  return await acquireFileLock(join(directory, "lock"), { what, onLost: onLockLost, ...options });
}

/** Loads the API and serves it on a socket that nobody knows yet. */
export async function listen(start: EngineStart, devices: UblkBlockDevices): Promise<EngineServer> {
  const [{ EngineServer }, { createLogger }] = await Promise.all([
    import("../daemon/engine-server.js"),
    import("../log.js"),
  ]);
  const { config, onHandedOver, undo } = start;
  const { socketPath, logLevel } = config;
  const server = new EngineServer({ socketPath, devices, logger: createLogger(logLevel), onHandedOver });
  await server.listen();
  undo.push(() => server.stop(stopServingMsMax));
  return server;
}
