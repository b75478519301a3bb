import { createUblkBlockDevices } from "../engine/create-ublk-block-devices.js";
import type { EngineLogger } from "../engine/logger.js";
import { DriverError, toMessage } from "../errors.js";
import { isServed } from "../rpc/unix-socket.js";
import { loadUblk } from "../ublk/ublk.js";
import type { EngineConfig } from "./engine-config.js";
import { dryRun } from "./engine-dry-run.js";
import { type EngineStart, startAlone } from "./engine-start.js";

/** Runs the engine until it is told to end, and leaves every device to the next one. Returns the exit code. */
export async function runEngine(config: EngineConfig, logger: EngineLogger, stopSignal: AbortSignal): Promise<number> {
  const undo: EngineStart["undo"] = [];
  const lost = new AbortController();
  const given = new AbortController();
  const onLockLost = () => lost.abort();
  const onHandedOver = () => given.abort();
  try {
    if (config.dryRun) return await printPlan(config, logger);
    await start({ config, logger, undo, onLockLost, onHandedOver });
    await waitForAbort(AbortSignal.any([stopSignal, lost.signal, given.signal]));
    if (lost.signal.aborted) throw new DriverError("internal", `lost the lock of ${config.stateDir}: start again`);
    logger.info({}, given.signal.aborted ? "ending: another engine serves every device" : "stopping");
    return 0;
  } catch (error) {
    logger.error({ err: error }, toMessage(error));
    process.stderr.write(`ublk-csi: ${toMessage(error)}\n`);
    return 1;
  } finally {
    await undoAll(undo, logger);
  }
}

async function start(options: EngineStart): Promise<void> {
  const { takeOver, socketPath } = options.config;
  if (!takeOver || !(await isServed(socketPath))) return await startAlone(options);
  const { startByTakeOver } = await import("./engine-take-over.js");
  await startByTakeOver(options);
}

async function printPlan(config: EngineConfig, logger: EngineLogger): Promise<number> {
  return await dryRun({
    ublk: loadUblk(config),
    devices: createUblkBlockDevices({ ...config, logger }),
    logger,
    writeTable: (text) => process.stdout.write(text),
    writeError: (text) => process.stderr.write(text),
  });
}

function waitForAbort(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    signal.addEventListener("abort", () => resolve(), { once: true });
  });
}

async function undoAll(undo: EngineStart["undo"], logger: EngineLogger): Promise<void> {
  for (const step of undo.reverse()) {
    await step().catch((err: unknown) => logger.error({ err }, "a step of the shutdown failed"));
  }
}
