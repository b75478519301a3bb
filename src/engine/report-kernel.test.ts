import { expect, test } from "@jest/globals";
import { FakeAddon } from "../ublk/testing/fake-addon.js";
import { FakeKernel } from "../ublk/testing/fake-kernel.js";
import { reader } from "../ublk/testing/fake-machine.js";
import { Ublk } from "../ublk/ublk.js";
import { reportKernel } from "./report-kernel.js";

async function logOf(kernelRelease: string, allowBrokenKernel = false): Promise<string[]> {
  const lines: string[] = [];
  const write = (level: string) => (_fields: object, message: string) => void lines.push(`${level} ${message}`);
  const ublk = new Ublk(new FakeAddon(new FakeKernel(), 1), reader({ kernelRelease }), undefined, {
    allowBrokenKernel,
  });
  await reportKernel(ublk, { info: write("info"), warn: write("warn"), error: write("error") });
  return lines;
}

test("a kernel without trouble, and one with notes only, is no reason to warn", async () => {
  expect(await logOf("7.3.4")).toEqual(["info kernel serves ublk devices"]);
  expect(await logOf("6.12.117")).toEqual(["info kernel serves ublk devices"]);
});

test("a warning is logged once, with its cure", async () => {
  expect((await logOf("7.0.14")).slice(1)).toEqual([
    "warn this kernel may lose a control command, so that adding or starting a device ends with a timeout: " +
      "try again, or use another kernel",
  ]);
});

test("a kernel that breaks is refused, or warned of where it is allowed", async () => {
  await expect(logOf("6.18.4")).rejects.toMatchObject({ code: "kernel_broken" });
  expect((await logOf("6.18.4", true))[1]).toContain("warn this kernel follows a null pointer");
});
