import { setTimeout as delay } from "node:timers/promises";

/** A condition did not come true in time. */
export class WaitTimeoutError extends Error {
  override readonly name = "WaitTimeoutError";
}

export interface WaitOptions {
  /** Default 30 seconds. */
  timeoutMs?: number;
  /** Default 20 ms; with 0 the condition is asked as often as the event loop turns. */
  intervalMs?: number;
}

/** Asks until the answer is something other than false, null or undefined, and returns it. */
export async function waitFor<T>(
  what: string,
  ask: () => Promise<T | false | undefined> | T | false | undefined,
  { timeoutMs = 30_000, intervalMs = 20 }: WaitOptions = {},
): Promise<T> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const answer = await ask();
    if (answer !== false && answer !== undefined && answer !== null) return answer;
    if (performance.now() > deadline) throw new WaitTimeoutError(`${what}: not so after ${timeoutMs} ms`);
    await pause(intervalMs);
  }
}

function pause(intervalMs: number): Promise<void> {
  return intervalMs === 0 ? new Promise((resolve) => setImmediate(resolve)) : delay(intervalMs);
}
