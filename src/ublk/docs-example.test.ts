import { readFile } from "node:fs/promises";
import { expect, test } from "@jest/globals";

/** The class that the guest's suites serve, which is compiled and run there. */
const servedPath = "test/vm/suites/support/memory-backend.ts";

test("the backend shown in docs/targets.md is the one that is tested", async () => {
  const guide = await readFile("docs/targets.md", "utf8");
  const [, shown] = /```ts\n(import type \{ Backend \}[^`]*)```/.exec(guide) ?? [];
  const served = await readFile(servedPath, "utf8");
  expect(shown).toBe(served.replace("../../../../src/ublk/index.js", "ublk-csi/ublk"));
});
