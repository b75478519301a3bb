import { loadLibrary } from "../../vm/suites/support/library.js";
import { type OwnResources, readOwnResources } from "../support/own-resources.js";
import type { Verdict } from "../support/verdict.js";

const warmUpCycles = 50;
/** What the heap of the JavaScript engine breathes, far below a kibibyte for each of a thousand cycles... */
const residentKibMax = 8 * 1024;
/** ... and how many mappings it keeps that in. */
const allMappingsMax = 40;
const mustStay = ["threads", "descriptors", "mappings", "lockedKib"] as const;

/** Makes and removes a device again and again; afterwards this process must have what it had before. */
export async function cycleDevices(count: number, verdict: Verdict): Promise<string> {
  await cycle(warmUpCycles);
  const before = await readOwnResources();
  await cycle(count);
  const after = await readOwnResources();
  for (const name of mustStay) {
    if (after[name] !== before[name])
      verdict.addProblem("cycles", `${name}: ${before[name]} before, ${after[name]} after`);
  }
  expectBelow(verdict, "residentKib", after.residentKib - before.residentKib, residentKibMax);
  expectBelow(verdict, "allMappings", after.allMappings - before.allMappings, allMappingsMax);
  return `${describe(before)} before, ${describe(after)} after`;
}

async function cycle(count: number): Promise<void> {
  const { createAndServe, stopAndDelete } = await loadLibrary();
  for (let round = 0; round < count; round++) {
    const device = await createAndServe({ target: { kind: "null" }, sizeBytes: 1n << 20n }, { queueDepth: 16 });
    await stopAndDelete(device);
  }
}

function expectBelow(verdict: Verdict, name: string, growth: number, limit: number): void {
  if (growth > limit) verdict.addProblem("cycles", `${name} grew by ${growth}, expected at most ${limit}`);
}

function describe({ threads, descriptors, mappings, residentKib }: OwnResources): string {
  return `${threads} threads, ${descriptors} descriptors, ${mappings} ublk mappings, ${residentKib} KiB resident`;
}
