/** Runs in a guest: hands devices from engine to engine under load, again and again. See docs/proof.md. */
import { copyFile, mkdir } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { within } from "../../../src/system/within.js";
import { waitForIo } from "../../vm/suites/support/completed-io.js";
import { loadLibrary } from "../../vm/suites/support/library.js";
import { readMachineState, waitUntilNothingIsLeft } from "../../vm/suites/support/machine-state.js";
import { mountPoolDisk } from "../../vm/suites/support/pool-place.js";
import { runCommand } from "../../vm/suites/support/run-command.js";
import { CheckerLoad } from "../support/checker.js";
import { Engine } from "../support/engine.js";
import { FioLoop } from "../support/fio-loop.js";
import { recordKernelState } from "../support/kernel-state.js";
import { PauseMeter } from "../support/pause-meter.js";
import { readNumber, resultsPath } from "../support/settings.js";
import { Verdict } from "../support/verdict.js";
import { createVolume } from "../support/volumes.js";
import { pointsOfNew, pointsOfOld } from "./points.js";

const mebibyte = 1024 ** 2;
const root = "/run/ublk-proof";
const mountPoint = join(root, "mount");
const handOverCount = readNumber("UBLK_HAND_OVERS", 20);
const pauseBetweenMsMax = 100;
const loadEndMsMax = 60_000;

const verdict = new Verdict();
const before = await readMachineState();
const place = await mountPoolDisk(join(root, "disk"));
const engine = new Engine(join(root, "engine"));
engine.start();
const checked = await engine.client.attach(await createVolume(place.path, "checked", 16 * mebibyte));
const mounted = await engine.client.attach(await createVolume(place.path, "mounted", 48 * mebibyte));
await mkdir(mountPoint);
await runCommand("mkfs.ext4", ["-q", mounted.path]);
await runCommand("mount", [mounted.path, mountPoint]);
const load = new CheckerLoad({ device: checked.path, key: 1, threads: 4, pauseUs: 4000 });
const fio = new FioLoop(mountPoint, mebibyte);

const progress = setInterval(() => process.stdout.write(`${verdict.handOvers} hand-overs so far\n`), 30_000);
try {
  await breakHandOvers();
  for (let round = 0; round < handOverCount; round++) await handOver();
} catch (error) {
  verdict.addProblem("hand-over", error);
  await giveUp();
}
clearInterval(progress);
await fio.stop().catch((error: unknown) => {
  verdict.applicationErrors++;
  verdict.addProblem("fio", error);
});
verdict.addLoad(await load.stop(), load.findings);
await runCommand("umount", [mountPoint]);
for (const volumeId of ["checked", "mounted"]) await engine.client.detach(volumeId);
await engine.terminate();
await copyFile(engine.logPath, join(resultsPath, "engine.log"));
await place.release();
await waitUntilNothingIsLeft(before).catch((error: unknown) => verdict.addProblem("machine", error));
process.exit(close());

function close(): number {
  return verdict.close(
    `hand-over: ${verdict.handOvers} hand-overs of 2 devices, ${verdict.brokenHandOvers} more with one side killed, ` +
      `${verdict.acknowledgedWrites} acknowledged writes checked, ${verdict.lostBlocks} blocks lost, ` +
      `${verdict.applicationErrors} application errors, pauses ${verdict.pauses}`,
  );
}

/** A load that hangs never ends: what is known soon has to do. */
async function giveUp(): Promise<never> {
  const note = (what: string) => (error: unknown) => verdict.addProblem(what, error);
  await recordKernelState(verdict.problems.join("; ")).catch(note("kernel state"));
  await copyFile(engine.logPath, join(resultsPath, "engine.log")).catch(note("engine log"));
  const loads = Promise.all([fio.stop(), load.stop().then((counts) => verdict.addLoad(counts, load.findings))]);
  const late = () => new Error(`it has not ended within ${loadEndMsMax} ms, and what it found is not known`);
  await within(loadEndMsMax, loads, late).catch(note("load"));
  process.exit(close());
}

async function handOver(): Promise<void> {
  await delay(Math.random() * pauseBetweenMsMax);
  const meter = new PauseMeter(checked.deviceId);
  await engine.handOver();
  await waitForIo(checked.deviceId, 1, 5);
  verdict.pausesMs.push(meter.stop());
  await waitForIo(mounted.deviceId, 1, 5);
  verdict.handOvers++;
}

/** Kills either side in the middle: the devices must serve on, and the next hand-over must work. */
async function breakHandOvers(): Promise<void> {
  const { getFeatures } = await loadLibrary();
  const canQuiesce = (await getFeatures()).some(({ name }) => name === "QUIESCE");
  for (const point of pointsOfNew) await broken(`new engine at ${point}`, () => engine.handOverToMortal(point));
  for (const point of canQuiesce ? pointsOfOld : []) {
    await engine.kill();
    engine.start({ dieAt: point });
    await engine.client.list();
    await broken(`old engine at ${point}`, () => engine.handOverFromMortal());
  }
}

async function broken(where: string, crash: () => Promise<void>): Promise<void> {
  try {
    await crash();
    await waitForIo(checked.deviceId, 1, 5);
    await waitForIo(mounted.deviceId, 1, 5);
    await engine.client.list();
    await handOver();
    verdict.brokenHandOvers++;
  } catch (error) {
    throw new Error(`${where}: ${error instanceof Error ? error.message : error}`, { cause: error });
  }
}
