import { existsSync } from "node:fs";
import { mkdir, readdir } from "node:fs/promises";
import { release } from "node:os";
import { join } from "node:path";
import { expect, test } from "@jest/globals";
import { DriverProcess } from "./support/driver-process.js";

const directory = "/run/no-ublk";

test("on a kernel without ublk the driver says which kernel, what is missing and what to do, and makes nothing", async () => {
  expect(existsSync("/dev/ublk-control")).toBe(false);
  const pool = join(directory, "pool");
  await mkdir(pool, { recursive: true });
  const { exitCode, complaint } = await DriverProcess.runToExit({ directory, pools: { disk: pool } });
  expect(exitCode).toBe(1);
  expect(complaint).toContain(`kernel ${release()} has no ublk driver`);
  expect(complaint).toContain("use a kernel of");
  expect((await readdir(directory)).sort()).toEqual(["driver.log", "pool"]);
  expect(await readdir(pool)).toEqual([]);
});
