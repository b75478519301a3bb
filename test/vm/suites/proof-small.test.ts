import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "@jest/globals";
import { Lane } from "../../proof/crash/lane.js";
import { checkerProgram } from "../../proof/support/checker.js";
import { Verdict } from "../../proof/support/verdict.js";
import { ImageDirectory } from "./support/image-directory.js";
import { type MachineState, readMachineState, waitUntilNothingIsLeft } from "./support/machine-state.js";
import { runCommand } from "./support/run-command.js";

/** The long proofs of docs/proof.md in small, so that neither they nor what they prove break unnoticed. */
const root = "/run/ublk-proof";
let images: ImageDirectory;
let machineBefore: MachineState;

beforeAll(async () => {
  images = await ImageDirectory.create();
});

afterAll(async () => {
  await images.destroy();
  await rm(root, { recursive: true });
});

beforeEach(async () => {
  machineBefore = await readMachineState();
});

describe("a proof in small", () => {
  test("the checker tells lost, stale, torn and misplaced blocks from good ones", async () => {
    const directory = join(images.path, "self-test");
    await mkdir(directory);
    expect(await runCommand(checkerProgram, ["self-test", directory])).not.toContain("FAILED");
  });

  test("four kills of the engine under a checker and fio lose nothing and leave nothing behind", async () => {
    const verdict = new Verdict();
    await new Lane(0, join(root, "lane"), join(images.path, "lane"), verdict).run(4);
    expect(verdict.problems).toEqual([]);
    expect(verdict).toMatchObject({ kills: 5, lostBlocks: 0, applicationErrors: 0 });
    expect(verdict.acknowledgedWrites).toBeGreaterThan(0);
    await waitUntilNothingIsLeft(machineBefore);
  });
});
