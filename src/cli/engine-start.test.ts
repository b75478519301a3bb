import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "@jest/globals";
import type { AdoptionReport } from "../engine/block-devices.js";
import { acquireFileLock } from "../system/file-lock.js";
import { createGate } from "../testing/gate.js";
import { adoptPatiently } from "./engine-start.js";
import { runEngine } from "./run-engine.js";

function createLog() {
  const lines: string[] = [];
  const add = (_fields: object, message: string) => void lines.push(message);
  return { lines, logger: { info: add, warn: add, error: add } };
}

const nothing: AdoptionReport = { entries: [] };
const long = 60_000;

describe("taking devices back at start", () => {
  test("ends with the last of them", async () => {
    const { lines, logger } = createLog();
    await adoptPatiently({ adopt: async () => nothing }, logger, long);
    expect(lines).toEqual([]);
  });

  test("is not waited for when one is stuck, and told of when the rest fails", async () => {
    const { lines, logger } = createLog();
    const gate = createGate();
    const stuck = async () => {
      await gate.opened;
      throw new Error("no");
    };
    await adoptPatiently({ adopt: stuck }, logger, 1);
    expect(lines).toEqual(["some devices are not back yet: serving the others meanwhile"]);
    gate.open();
    await new Promise((resolve) => setImmediate(resolve));
    expect(lines[1]).toBe("the rest of the devices cannot be taken back");
  });

  test("fails the start when the journal cannot be read", async () => {
    const { logger } = createLog();
    const adopt = () => Promise.reject(new Error("EIO"));
    await expect(adoptPatiently({ adopt }, logger, long)).rejects.toThrow("EIO");
  });
});

test("an engine that cannot start leaves no lock behind, which would keep its process alive", async () => {
  const stateDir = await mkdtemp(join(tmpdir(), "ublk-csi-test-"));
  const { logger } = createLog();
  // Where the kernel has ublk, the start gets as far as a folder that is a file.
  await writeFile(join(stateDir, "file"), "");
  const socketPath = join(stateDir, "file", "engine.sock");
  const options = { allowBrokenKernel: false, takeOver: false, dryRun: false, logLevel: "info" } as const;
  expect(await runEngine({ stateDir, socketPath, ...options }, logger, new AbortController().signal)).toBe(1);
  const lock = await acquireFileLock(join(stateDir, "engine", "lock"), { what: "the state", waitSeconds: 0 });
  await lock.release();
  await rm(stateDir, { recursive: true });
});
