/** Runs in a guest: kills engines and tells what was lost. See docs/proof.md. */
import { copyFile } from "node:fs/promises";
import { join } from "node:path";
import { readMachineState, waitUntilNothingIsLeft } from "../../vm/suites/support/machine-state.js";
import { mountPoolDisk } from "../../vm/suites/support/pool-place.js";
import { recordKernelState } from "../support/kernel-state.js";
import { readNumber, readText, resultsPath } from "../support/settings.js";
import { StallWatch } from "../support/stall-watch.js";
import { Verdict } from "../support/verdict.js";
import { Lane } from "./lane.js";
import { NamedPoints } from "./named-points.js";

const root = "/run/ublk-proof";
const kernel = readText("VM_KERNEL", "uml");
const kills = readNumber("UBLK_KILLS", 100);
const laneCount = Math.min(readNumber("UBLK_LANES", kernel === "uml" ? 4 : 2), kills);

const verdict = new Verdict();
const before = await readMachineState();
const place = await mountPoolDisk(join(root, "disk"));
const lanes = Array.from({ length: laneCount }, (_, index) => {
  const name = `lane-${index}`;
  return { name, lane: new Lane(index, join(root, name), join(place.path, name), verdict) };
});

async function keepLogs(): Promise<void> {
  for (const name of ["named", ...lanes.map((lane) => lane.name)]) {
    await copyFile(join(root, name, "engine.log"), join(resultsPath, `${name}.log`)).catch(() => undefined);
  }
}

const stall = new StallWatch(
  () => verdict.kills,
  async () => {
    await recordKernelState(`no kill for long, after ${verdict.kills}`);
    await keepLogs();
  },
);
const progress = setInterval(() => {
  process.stdout.write(`${verdict.kills} kills so far\n`);
  stall.look();
}, 30_000);
// So that a long run may be split into several, with the named points in one of them.
if (readText("UBLK_NAMED", "yes") === "yes") {
  const named = new NamedPoints(join(root, "named"), join(place.path, "named"), verdict);
  await named.run().catch((error: unknown) => verdict.addProblem("named points", error));
  process.stdout.write(`${verdict.namedKills} named points done\n`);
}
await Promise.all(
  lanes.map(({ name, lane }) =>
    // One kill in four brings a second one.
    lane.run(Math.ceil(kills / laneCount / 1.25)).catch((error: unknown) => verdict.addProblem(name, error)),
  ),
);
clearInterval(progress);
await keepLogs();
if (verdict.isGood) {
  await place.release();
  await waitUntilNothingIsLeft(before).catch((error: unknown) => verdict.addProblem("machine", error));
}
process.exit(
  verdict.close(
    `crash: ${verdict.kills} kills (${verdict.namedKills} at named points), ${verdict.acknowledgedWrites} acknowledged writes checked, ` +
      `${verdict.churnRounds} times a device came and went, ${verdict.lostBlocks} blocks lost, ` +
      `${verdict.applicationErrors} application errors, pauses ${verdict.pauses}`,
  ),
);
