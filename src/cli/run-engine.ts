import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { createUblkBlockDevices } from "../engine/create-ublk-block-devices.js";
import type { EngineLogger } from "../engine/logger.js";
import { reportKernel } from "../engine/report-kernel.js";
import type { UblkBlockDevices } from "../engine/ublk-block-devices.js";
import { DriverError, toMessage } from "../errors.js";
import { acquireFileLock, type FileLock } from "../system/file-lock.js";
import { loadUblk } from "../ublk/ublk.js";
import type { EngineConfig } from "./engine-config.js";

/** Undoes the steps of a start in reverse order. */
type Undo = Array<() => Promise<void>>;

const stopServingMsMax = 20_000;

/** Runs the engine until the signal, and leaves every device to the next one. Returns the exit code. */
export async function runEngine(config: EngineConfig, logger: EngineLogger, stopSignal: AbortSignal): Promise<number> {
  const undo: Undo = [];
  const lost = new AbortController();
  try {
    await start(config, logger, { undo, onLockLost: () => lost.abort() });
    await waitForAbort(AbortSignal.any([stopSignal, lost.signal]));
    if (lost.signal.aborted) throw new DriverError("internal", `lost the lock of ${config.stateDir}: start again`);
    logger.info({}, "stopping");
    return 0;
  } catch (error) {
    logger.error({ err: error }, toMessage(error));
    process.stderr.write(`ublk-csi: ${toMessage(error)}\n`);
    return 1;
  } finally {
    await undoAll(undo, logger);
  }
}

interface StartOptions {
  undo: Undo;
  onLockLost: () => void;
}

/** The order matters: nothing is touched before the lock, and devices are back before the API is even loaded. */
async function start(config: EngineConfig, logger: EngineLogger, { undo, onLockLost }: StartOptions): Promise<void> {
  const { stateDir } = config;
  const locking = lockState(stateDir, onLockLost);
  locking.catch(() => undefined); // awaited below, after what can go on beside it
  await reportKernel(loadUblk(config), logger);
  const devices = createUblkBlockDevices({ ...config, logger });
  const lock = await locking;
  undo.push(() => lock.release());
  undo.push(() => devices.leave());
  await devices.adopt();
  await serve(config, devices, undo);
}

async function lockState(stateDir: string, onLost: () => void): Promise<FileLock> {
  await mkdir(join(stateDir, "engine"), { recursive: true, mode: 0o700 });
  return await acquireFileLock(join(stateDir, "engine", "lock"), { what: `state directory ${stateDir}`, onLost });
}

async function serve({ socketPath, logLevel }: EngineConfig, devices: UblkBlockDevices, undo: Undo): Promise<void> {
  const [{ EngineServer }, { createLogger }] = await Promise.all([
    import("../daemon/engine-server.js"),
    import("../log.js"),
  ]);
  const server = new EngineServer({ socketPath, devices, logger: createLogger(logLevel) });
  await server.listen();
  undo.push(() => server.stop(stopServingMsMax));
  await server.publish();
}

function waitForAbort(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    signal.addEventListener("abort", () => resolve(), { once: true });
  });
}

async function undoAll(undo: Undo, logger: EngineLogger): Promise<void> {
  for (const step of undo.reverse()) {
    await step().catch((err: unknown) => logger.error({ err }, "a step of the shutdown failed"));
  }
}
