/** Runs in a guest, once for each of its boots on the same disk: what a node finds of its volumes. See docs/proof.md. */
import { readMachineState, waitUntilNothingIsLeft } from "../../vm/suites/support/machine-state.js";
import { readNumber } from "../support/settings.js";
import { afterPowerFailure, afterShutdown, beforePowerFailure } from "./boots.js";
import { Node } from "./node.js";

const boots = [
  { what: "volumes of each kind are in use, and the power fails", run: beforePowerFailure },
  { what: "after a power failure", run: afterPowerFailure },
  { what: "after a shutdown", run: afterShutdown },
];

const number = readNumber("UBLK_BOOT", 1);
const boot = boots[number - 1];
if (boot === undefined) throw new RangeError(`UBLK_BOOT is ${number}, expected at most ${boots.length}`);
const before = await readMachineState();
try {
  await boot.run(await Node.boot({ isFirst: number === 1 }));
  if (number === boots.length) await waitUntilNothingIsLeft(before);
} catch (error) {
  process.stdout.write(`problem: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
  process.stdout.write(`reboot ${number}, ${boot.what}: FAILED\n`);
  process.exit(1);
}
process.stdout.write(`reboot ${number}, ${boot.what}: passed\n`);
// Without a word to the driver: the first boot ends here as a machine does that loses its power.
process.exit(0);
