import { HandOverTaker, OldEngineLost } from "../daemon/hand-over-taker.js";
import type { UblkBlockDevices } from "../engine/ublk-block-devices.js";
import { DriverError, toMessage } from "../errors.js";
import type { FileLock } from "../system/file-lock.js";
import { endsWithin, within } from "../system/within.js";
import { beginLocking, createDevices, type EngineStart, listen } from "./engine-start.js";

/** How long the old engine may take to end after it has handed everything over. */
const oldEngineEndMsMax = 60_000;
/** How long the lock of an engine that is dead can take to be free. */
const deadEngineMsMax = 5_000;

/**
 * A start while another engine serves: loads all there is to load, then takes its devices one by one. A failure before the
 * last of them leaves the devices to the old engine; docs/engine.md has every case.
 */
export async function startByTakeOver(start: EngineStart): Promise<void> {
  const { logger, config } = start;
  const devices = await createDevices(start);
  const server = await listen(start, devices);
  // In line behind the old engine from now on, so that its end is noticed at once; how long that takes is up to its devices.
  const locking = beginLocking(start, { waitSeconds: "forever" });
  start.undo.push(() => devices.leave());
  const taker = new HandOverTaker(config.socketPath);
  try {
    await taker.takeAll(devices);
    await taker.complete();
    await devices.goOnCopying();
    logger.info({}, "took every device over");
  } catch (error) {
    await continueAfter(error, locking, devices);
    logger.warn({ err: error }, `the old engine died in the middle, its devices were adopted: ${toMessage(error)}`);
  } finally {
    taker.close();
  }
  await server.publish();
  await within(oldEngineEndMsMax, locking, () => {
    return new DriverError(
      "refused",
      `the old engine has not ended in ${oldEngineEndMsMax / 1000} s: end it, then start again`,
    );
  });
}

/** An old engine that died has left its lock, and what it still had is free. One that lives takes back what it gave. */
async function continueAfter(error: unknown, locking: Promise<FileLock>, devices: UblkBlockDevices): Promise<void> {
  if (!(error instanceof OldEngineLost) || !(await isSettled(locking))) throw error;
  await devices.adopt();
}

async function isSettled(locking: Promise<FileLock>): Promise<boolean> {
  const isLocked = locking.then(
    () => true,
    () => false,
  );
  return (await endsWithin(deadEngineMsMax, isLocked)) && (await isLocked);
}
