/** Runs in a guest: random sequences of calls and deaths of the driver, beside a model. See docs/proof.md. */
import type { Step } from "../../../src/testing/model/action.js";
import { findFault } from "../../../src/testing/model/check.js";
import { Sequence } from "../../../src/testing/model/sequence.js";
import { readNumber } from "../support/settings.js";
import { RealWorld } from "./real-world.js";

const sequenceCount = readNumber("UBLK_SEQUENCES", 100);
const seed = readNumber("UBLK_SEED", Date.now() % 2 ** 31);
/** How many smaller sequences are tried once one has failed. */
const shrinksMax = readNumber("UBLK_SHRINKS", 30);

const tally = { calls: 0, deaths: 0 };
const problems: string[] = [];
let world = await RealWorld.start("model");

for (let index = 0; index < sequenceCount; index++) {
  const fault = await findFault({ seed: seed + index, lengthMax: 30, deathEvery: 4, shrinksMax }, runOne);
  if (fault !== undefined) {
    problems.push(fault);
    // At once, too: whoever waits for the rest knows already.
    process.stdout.write(`problem so far: ${fault}\n`);
  }
  if ((index + 1) % 10 === 0) process.stdout.write(`${index + 1} sequences, ${tally.calls} calls so far\n`);
}
await world.dispose().catch((error: unknown) => problems.push(`the machine: ${String(error)}`));
for (const problem of problems) process.stdout.write(`problem: ${problem}\n`);
const verdict = problems.length === 0 ? "passed" : "FAILED";
const figures = `${sequenceCount} sequences, ${tally.calls} calls, ${tally.deaths} kills, ${problems.length} failures`;
process.stdout.write(`csi-model, seed ${seed}: ${figures}: ${verdict}\n`);
process.exit(problems.length === 0 ? 0 : 1);

async function runOne(steps: readonly Step[]): Promise<void> {
  try {
    await new Sequence(world, tally).run(steps);
  } catch (error) {
    process.stdout.write(`a sequence of ${steps.length} steps failed: ${String(error)}\n`);
    // What a failure leaves must not fail the next sequence.
    await world.dispose({ byForce: true }).catch((left: unknown) => process.stdout.write(`not cleared: ${left}\n`));
    world = await RealWorld.start("model");
    throw error;
  }
}
