import { expect, test } from "@jest/globals";
import type { RunCommand } from "../../system/command.js";
import { overwriteInPlace } from "./overwriting.js";

const calls: string[][] = [];
const runCommand: RunCommand = async (program, args) => {
  calls.push([program, ...args]);
  return { stdout: "", stderr: "" };
};

test.each([
  ["btrfs are overwritten in place", 0x9123683e, [["chattr", "+C", "/pool/volumes"]]],
  ["xfs always are, which nobody has to say", 0x58465342, []],
])("images on %s", async (_case, type, expected) => {
  calls.length = 0;
  await overwriteInPlace(["/pool/volumes"], { runCommand, readType: async () => type });
  expect(calls).toEqual(expected);
});
