import * as files from "node:fs/promises";
import { expect, jest, test } from "@jest/globals";
import { CrashSwitch } from "./testing/crash-switch.js";
import { createMortalFiles } from "./testing/mortal-files.js";

const crash = new CrashSwitch();
jest.unstable_mockModule("node:fs/promises", () => createMortalFiles(files, crash));
const { FakeWorld } = await import("./testing/model/fake-world.js");
const { findFault } = await import("./testing/model/check.js");
const { Sequence } = await import("./testing/model/sequence.js");

/** Set by `make fuzz`: jest hands its `globals` to every test file. */
const { fuzzSeconds = 0 } = globalThis as { fuzzSeconds?: number };
const sequenceCountMin = 10;
const extent = { lengthMax: 40, deathEvery: 5, shrinksMax: 40 };

test("whatever is called, in whatever order, and whenever the driver dies, all is as a model has it", async () => {
  const tally = { calls: 0, deaths: 0 };
  const deadline = Date.now() + fuzzSeconds * 1000;
  const firstSeed = Date.now() % 2 ** 31;
  for (let seed = firstSeed; seed < firstSeed + sequenceCountMin || Date.now() < deadline; seed++) {
    const fault = await findFault({ seed, ...extent }, async (steps) => {
      const world = await FakeWorld.start(crash);
      await new Sequence(world, tally).run(steps).finally(() => world.remove());
    });
    expect(fault).toBeUndefined();
  }
  expect(tally.calls).toBeGreaterThan(sequenceCountMin);
}, 3_600_000);
