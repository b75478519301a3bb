/** Runs in a guest: many devices, many cycles, and what idle devices hold. See docs/proof.md. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { readMachineState, waitUntilNothingIsLeft } from "../../vm/suites/support/machine-state.js";
import { mountPoolDisk } from "../../vm/suites/support/pool-place.js";
import { readNumber, readText, resultsPath } from "../support/settings.js";
import { Verdict } from "../support/verdict.js";
import { cycleDevices } from "./cycles.js";
import { measureIdleDevices } from "./idle-table.js";
import { useManyDevices } from "./many.js";

const deviceCount = readNumber("UBLK_DEVICES", 200);
const cycleCount = readNumber("UBLK_CYCLES", 1000);
const idleCounts = readText("UBLK_IDLE", "1 100 300").split(" ").map(Number);
const parts = readText("UBLK_PARTS", "idle cycles many").split(" ");
const rounds = 2;

const verdict = new Verdict();
const place = await mountPoolDisk("/run/ublk-proof/disk");
const before = await readMachineState();
const say = (text: string) => process.stdout.write(`${text}\n`);

async function attempt(part: string, what: string, action: () => Promise<unknown>): Promise<void> {
  if (!parts.includes(part)) return;
  await action().catch((error: unknown) => verdict.addProblem(what, error));
  await waitUntilNothingIsLeft(before).catch((error: unknown) => verdict.addProblem(what, error));
}

await attempt("idle", "idle devices", async () => {
  const table = await measureIdleDevices(idleCounts, place.path);
  await writeFile(join(resultsPath, "idle-devices.md"), `${table}\n`);
  say(`\n${table}\n`);
});
await attempt("cycles", "cycles", async () => say(`${cycleCount} cycles: ${await cycleDevices(cycleCount, verdict)}`));
for (let round = 1; round <= rounds; round++) {
  await attempt("many", `${deviceCount} devices, round ${round}`, async () => {
    await useManyDevices(deviceCount, place.path, verdict);
    say(`${deviceCount} devices made, used and removed in parallel, round ${round}`);
  });
}
await place.release().catch((error: unknown) => verdict.addProblem("the pool's disk", error));
process.exit(
  verdict.close(
    `stress (${parts.join(", ")}): ${deviceCount} devices in parallel, ${rounds} rounds, ` +
      `${verdict.acknowledgedWrites} acknowledged writes checked, ${verdict.lostBlocks} blocks lost, ${cycleCount} cycles`,
  ),
);
