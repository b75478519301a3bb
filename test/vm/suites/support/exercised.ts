import { appendFileSync } from "node:fs";
import { join } from "node:path";
import { expect } from "@jest/globals";
import type { FeatureName } from "../../../../src/ublk/index.js";

/**
 * To be called by a case that would fail if the kernel's feature did not work. The table in docs/kernels.md counts the
 * cases that did so and passed.
 */
export function exercised(...features: FeatureName[]): void {
  const { currentTestName } = expect.getState();
  const directory = process.env.UBLK_RESULTS;
  if (directory === undefined) return;
  appendFileSync(join(directory, "features.jsonl"), `${JSON.stringify({ case: currentTestName, features })}\n`);
}
