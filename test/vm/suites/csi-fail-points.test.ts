import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { CountedSteps } from "./support/counted-steps.js";
import { type FailPhase, FailPhases, failPhaseNames } from "./support/fail-phases.js";
import { byScale } from "./support/scale.js";
import { TestBed } from "./support/test-bed.js";
import { readTraces, type Traces } from "./support/traces.js";
import { waitFor } from "./support/wait-for.js";

/** Each death takes a start of the driver, so all of them are for `make test-csi-fail-points`. */
const stride = process.env.UBLK_FAIL_POINTS === "all" ? 1 : byScale({ full: 16, smoke: 24 });
const timeoutMs = 1_800_000;
const names = failPhaseNames.filter((name) => name.startsWith(process.env.UBLK_RPC ?? ""));

const steps = new CountedSteps("/run/ublk-csi-test/fail-points-steps");
let bed: TestBed;
let phases: FailPhases;

beforeAll(async () => {
  bed = await TestBed.start("fail-points", { environment: steps.environment });
  phases = new FailPhases(bed);
});
afterAll(async () => await bed.dispose());

/** The steps of a call that nobody dies of, and what is there when all it made was removed. */
async function rehearse({ prepare, act, undo }: FailPhase): Promise<{ taken: string[]; clean: Traces }> {
  await prepare?.();
  await steps.count(bed.driver, 0);
  await act();
  const taken = await steps.readTaken();
  await undo();
  return { taken, clean: await readTraces(bed) };
}

/** Lets the driver die after this step of the call, repeats the call with the next driver, and removes everything. */
async function dieAfter(step: number, { prepare, act, undo }: FailPhase): Promise<void> {
  await prepare?.();
  await steps.count(bed.driver, step);
  if ((await steps.dies(bed.driver, act)) || !(await outlives(step))) {
    await bed.driver.kill();
    await bed.restart();
    await act();
  }
  await undo();
}

/** Whether the call took fewer steps than this one, this time. The last ones may come after its answer. */
async function outlives(step: number): Promise<boolean> {
  await steps.count(bed.driver, 0);
  if (bed.driver.hasExited) return false;
  const taken = await steps.readTaken();
  if (taken.length >= step) throw new Error(`the driver lives after ${taken.join(", ")}`);
  return true;
}

/** All that was made is gone: on disk, in the kernel and in the books. */
async function expectClean({ paths, availableBytes }: Traces): Promise<void> {
  expect((await readTraces(bed)).paths).toEqual(paths);
  // xfs frees blocks in the background.
  await waitFor("the capacity is what it was", async () =>
    (await readTraces(bed)).availableBytes.every((bytes, pool) => bytes >= (availableBytes[pool] ?? 0n)),
  );
}

test.each(names)(
  "%s: whatever step the driver dies after, the repeated call succeeds and nothing is left",
  async (name) => {
    const phase = phases.find(name);
    const { taken, clean } = await rehearse(phase);
    expect(taken).toEqual(expect.arrayContaining(phase.steps));
    const first = 1 + (failPhaseNames.indexOf(name) % stride);
    const usual = taken.flatMap((_, index) => ((index + 1 - first) % stride === 0 ? [index + 1] : []));
    const chosen = usual.length > 0 ? usual : [taken.length];
    for (const step of chosen) {
      try {
        await dieAfter(step, phase);
        await expectClean(clean);
      } catch (cause) {
        if (bed.driver.hasExited) await bed.restart();
        await phase.undo().catch(() => undefined); // so that the next case has the place to itself
        throw new Error(`after step ${step}, ${taken[step - 1]}: ${String(cause)}`, { cause });
      }
    }
    process.stdout.write(`${name}: died after ${chosen.length} of ${taken.length} steps, ${taken.join(", ")}\n`);
  },
  timeoutMs,
);
