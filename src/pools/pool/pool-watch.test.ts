import { rename } from "node:fs/promises";
import { afterEach, beforeEach, expect, test } from "@jest/globals";
import { pino } from "pino";
import { Workspace } from "../../testing/workspace.js";
import { defaultPoolSettings } from "../capacity/pool-settings.js";
import type { Pool } from "./pool.js";
import { PollingPoolWatch, type PoolLevel } from "./pool-watch.js";

let workspace: Workspace;
let usedPercent: number;
let demandBytes: bigint;
let watch: PollingPoolWatch;
let lines: Array<Record<string, unknown>>;

beforeEach(async () => {
  workspace = await Workspace.create();
  const pool = workspace.pools.find("disk") as Pool;
  const readSpace = async () => ({ sizeBytes: 1000n, freeBytes: 1000n - BigInt(usedPercent * 10) });
  demandBytes = 1000n;
  Object.assign(pool, { readSpace, readDemandBytes: async () => demandBytes, settings: defaultPoolSettings });
  lines = [];
  watch = new PollingPoolWatch([pool], pino({ base: null }, { write: (line) => lines.push(JSON.parse(line)) }));
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
});

test("the log tells of each watermark: as a warning on the way up, and as information on the way down", async () => {
  for (const percent of [84.9, 85, 95, 94, 92.9, 82.9, 50]) await look(percent);
  const { warn, info } = pino.levels.values;
  const common = { component: "pool-watch", pool: "disk", demandBytes: "1000" };
  const at = (usedPercent: number, poolLevel: PoolLevel, previousPoolLevel: PoolLevel) => {
    return { ...common, usedPercent, freeBytes: String(1000 - usedPercent * 10), poolLevel, previousPoolLevel };
  };
  expect(lines).toMatchObject([
    { ...at(85, "warning", "normal"), level: warn, msg: "pool is filling up: warning watermark passed" },
    { ...at(95, "critical", "warning"), level: warn, msg: "pool is filling up: critical watermark passed" },
    { ...at(92.9, "warning", "critical"), level: info, msg: "pool is emptying: critical watermark left" },
    { ...at(82.9, "normal", "warning"), level: info, msg: "pool has room again" },
  ]);
});

test("a pool that jumps over a watermark is told once", async () => {
  for (const percent of [50, 99, 50]) await look(percent);
  expect(lines).toMatchObject([
    { poolLevel: "critical", previousPoolLevel: "normal", msg: "pool is filling up: critical watermark passed" },
    { poolLevel: "normal", previousPoolLevel: "critical", msg: "pool has room again" },
  ]);
});

test("a pool that is full at the first look is announced at once", async () => {
  expect(await look(100)).toBe("critical");
  expect(lines).toMatchObject([{ poolLevel: "critical", previousPoolLevel: "normal", usedPercent: 100 }]);
});

test("a full pool is well while it has room for all that its volumes may yet take", async () => {
  demandBytes = 0n;
  expect(await look(100)).toBe("normal");
  demandBytes = 20n;
  expect(await look(98)).toBe("normal");
  expect(lines).toEqual([]);
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

test("a pool whose disk is gone is not told to have room again", async () => {
  await look(99);
  await rename(workspace.path("disk"), workspace.path("elsewhere"));
  await workspace.makeDirectory("disk");
  expect(await look(1)).toBe("critical");
  await watch.check();
  const told = { msg: expect.stringContaining("pool disk is no longer at") };
  expect(lines.slice(1)).toMatchObject([told]);
  await rename(workspace.path("disk"), workspace.path("empty"));
  await rename(workspace.path("elsewhere"), workspace.path("disk"));
  await watch.check();
  await rename(workspace.path("disk"), workspace.path("elsewhere"));
  await watch.check();
  expect(lines.filter(({ level }) => level === 50)).toMatchObject([told, told]);
});

test("whoever asks during a look shares the next one, which sees what came meanwhile", async () => {
  let looks = 0;
  const readSpace = async () => {
    looks += 1;
    return { sizeBytes: 1000n, freeBytes: looks === 1 ? 1000n : 0n };
  };
  Object.assign(workspace.pools.find("disk") as Pool, { readSpace });
  const first = watch.check();
  while (looks === 0) await new Promise(setImmediate);
  await Promise.all(Array.from({ length: 1000 }, () => watch.check()));
  await first;
  expect(looks).toBe(2);
  expect(watch.readStates()[0]?.level).toBe("critical");
  await watch.check();
  expect(looks).toBe(3);
});
