import { readFileSync } from "node:fs";
import { waitFor } from "./wait-for.js";

/** How many requests the kernel has completed on this ublk device, of whatever kind. */
export function countCompletedIo(deviceId: number): number {
  const fields = readFileSync(`/sys/block/ublkb${deviceId}/stat`, "utf8").trim().split(/\s+/).map(Number);
  const [reads = 0, , , , writes = 0] = fields;
  return reads + writes;
}

/** Waits until this many more requests are complete. */
export async function waitForIo(deviceId: number, count: number, intervalMs = 20): Promise<void> {
  const goal = countCompletedIo(deviceId) + count;
  const what = `${count} requests complete on ublkb${deviceId}`;
  await waitFor(what, () => countCompletedIo(deviceId) >= goal, { timeoutMs: 120_000, intervalMs });
}
