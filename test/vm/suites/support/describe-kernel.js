/**
 * Prints what the running kernel is and offers, as one line of JSON for the table of kernels in docs/kernels.md. Fails
 * without ublk.
 */
import { release } from "node:os";
import { getFeatures, knownFeatures } from "../../../../dist/ublk/index.js";

const offered = await getFeatures();
const mask = offered.reduce((sum, { bit }) => sum | (1n << BigInt(bit)), 0n);
const features = knownFeatures.map(({ name, firstKernel }) => {
  return { name, firstKernel, offered: offered.some((feature) => feature.name === name) };
});
process.stdout.write(`${JSON.stringify({ release: release(), mask: `0x${mask.toString(16)}`, features })}\n`);
