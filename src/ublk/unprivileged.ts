import { missingNode } from "./diagnosis/causes.js";
import type { EnvironmentReader } from "./diagnosis/environment.js";
import { UblkError } from "./errors.js";
import { retryUntil } from "./retry.js";

const nodeWaitMs = 5_000;

/** Returns when udev has given the block device of an unprivileged device to its maker, or throws after a while. */
export async function waitUntilOwned(path: string, reader: EnvironmentReader, waitMs = nodeWaitMs): Promise<void> {
  await retryUntil(waitMs, async (isLast) => {
    if (await reader.mayOpen(path)) return true;
    if (isLast) throw notOwned(path);
    return undefined;
  });
}

function notOwned(path: string): UblkError {
  const { code, reason, hint } = missingNode(path);
  return new UblkError(code, reason, { operation: "createAndServe", step: "OPEN_BLOCK", hint });
}
