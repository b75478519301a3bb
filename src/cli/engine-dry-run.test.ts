import { expect, test } from "@jest/globals";
import type { PlanRow } from "../engine/reconciliation/reconciliation-plan.js";
import { FakeAddon } from "../ublk/testing/fake-addon.js";
import { FakeKernel } from "../ublk/testing/fake-kernel.js";
import { reader } from "../ublk/testing/fake-machine.js";
import { Ublk } from "../ublk/ublk.js";
import { dryRun } from "./engine-dry-run.js";

const row: PlanRow = {
  volumeId: "one",
  deviceId: 0,
  journal: "serving, generation 3",
  kernel: "quiesced",
  action: "adopt",
  reason: "it waits for a server",
};
const table =
  "VOLUME  DEVICE       JOURNAL                KERNEL    ACTION  REASON\n" +
  "one     /dev/ublkb0  serving, generation 3  quiesced  adopt   it waits for a server\n";

async function run(kernelRelease: string, plan = async () => [row]) {
  const output = { table: "", errors: "", log: [] as string[] };
  const add = (_fields: object, message: string) => void output.log.push(message);
  const outcome = dryRun({
    ublk: new Ublk(new FakeAddon(new FakeKernel(), 1), reader({ kernelRelease })),
    devices: { plan },
    logger: { info: add, warn: add, error: add },
    writeTable: (text) => {
      output.table += text;
    },
    writeError: (text) => {
      output.errors += text;
    },
  });
  return { ...output, exitCode: await outcome.catch((error: Error) => error.message), output };
}

test("a dry run prints the table, and says nothing else where a start would succeed", async () => {
  const { exitCode, output } = await run("7.3.4");
  expect({ exitCode, ...output }).toEqual({ exitCode: 0, table, errors: "", log: ["kernel serves ublk devices"] });
});

test("a dry run on a kernel that is refused says so and prints the table all the same", async () => {
  const { exitCode, output } = await run("6.18.4");
  expect(exitCode).toBe(1);
  expect(output.table).toBe(table);
  expect(output.errors).toMatch(/^ublk-csi: a start is refused: kernel 6\.18\.4 follows a null pointer.*\n$/);
});

test("a dry run that cannot make a table has said before what is wrong with the kernel", async () => {
  const { exitCode, output } = await run("6.18.4", () => Promise.reject(new Error("EACCES: journal")));
  expect(exitCode).toBe("EACCES: journal");
  expect(output.table).toBe("");
  expect(output.errors).toContain("a start is refused: kernel 6.18.4");
});
