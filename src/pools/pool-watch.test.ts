import { afterEach, beforeEach, expect, test } from "@jest/globals";
import { createSilentLogger } from "../log.js";
import { Workspace } from "../testing/workspace.js";
import type { Pool } from "./pool.js";
import { defaultPoolSettings } from "./pool-settings.js";
import { PollingPoolWatch, type PoolLevel } from "./pool-watch.js";

let workspace: Workspace;
let usedPercent: number;
let demandBytes: bigint;
let watch: PollingPoolWatch;
const passed: string[] = [];

beforeEach(async () => {
  workspace = await Workspace.create();
  const pool = workspace.pools.find("disk") as Pool;
  const readSpace = async () => ({ sizeBytes: 1000n, freeBytes: 1000n - BigInt(usedPercent * 10) });
  demandBytes = 1000n;
  Object.assign(pool, { readSpace, readDemandBytes: async () => demandBytes, settings: defaultPoolSettings });
  watch = new PollingPoolWatch([pool], createSilentLogger());
  passed.length = 0;
  watch.onWatermark(({ level, usedPercent }, previous) => passed.push(`${previous} to ${level} at ${usedPercent}`));
});

afterEach(() => workspace.remove());

async function look(percent: number): Promise<PoolLevel | undefined> {
  usedPercent = percent;
  await watch.check();
  return watch.readStates()[0]?.level;
}

test("a pool passes its watermarks on the way up at the mark, and on the way down somewhat below", async () => {
  const levels: Array<PoolLevel | undefined> = [];
  for (const percent of [84.9, 85, 94.9, 95, 93.1, 92.9, 83.1, 82.9]) levels.push(await look(percent));
  expect(levels).toEqual(["normal", "warning", "warning", "critical", "critical", "warning", "warning", "normal"]);
  expect(passed).toEqual([
    "normal to warning at 85",
    "warning to critical at 95",
    "critical to warning at 92.9",
    "warning to normal at 82.9",
  ]);
});

test("a pool that is full at the first look is announced at once", async () => {
  expect(await look(100)).toBe("critical");
  expect(passed).toEqual(["normal to critical at 100"]);
});

test("a full pool is well while it has room for all that its volumes may yet take", async () => {
  demandBytes = 0n;
  expect(await look(100)).toBe("normal");
  demandBytes = 20n;
  expect(await look(98)).toBe("normal");
  expect(passed).toEqual([]);
  expect(await look(98.5)).toBe("critical");
  demandBytes = 15n;
  expect(await look(98.5)).toBe("normal");
});

test("a pool that was promised to the last byte is not told to fill up for a record, and then told until it is whole", async () => {
  demandBytes = 200n;
  expect(await look(80)).toBe("normal");
  expect(await look(80.2)).toBe("normal");
  demandBytes = 105n;
  expect(await look(90)).toBe("warning");
  demandBytes = 101n;
  expect(await look(90)).toBe("warning");
  demandBytes = 100n;
  expect(await look(90)).toBe("normal");
});

test("the state says what is booked", async () => {
  workspace.pools.find("disk")?.ledger.record("a", 123n);
  await look(50);
  const space = { sizeBytes: 1000n, freeBytes: 500n, usedPercent: 50 };
  expect(watch.readStates()).toEqual([{ pool: "disk", level: "normal", ...space, bookedBytes: 123n, demandBytes }]);
});

test("a pool that cannot be read keeps its last state", async () => {
  await look(90);
  Object.assign(workspace.pools.find("disk") as Pool, { readSpace: () => Promise.reject(new Error("EIO")) });
  await watch.check();
  expect(watch.readStates()[0]?.level).toBe("warning");
});
