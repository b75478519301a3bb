import { describe, expect, test } from "@jest/globals";
import type { AdoptionReport } from "../engine/block-devices.js";
import { createGate } from "../testing/gate.js";
import { adoptPatiently } from "./engine-start.js";

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
