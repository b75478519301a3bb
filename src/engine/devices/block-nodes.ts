import { access, readFile } from "node:fs/promises";

/** The block side of a device as this machine shows it. */
export interface BlockNodes {
  /** The capacity in sysfs, or undefined while the device or its node is not there. */
  readSizeBytes(deviceId: number): Promise<bigint | undefined>;
}

/** Reads /sys and /dev. */
export const machineBlockNodes: BlockNodes = {
  async readSizeBytes(deviceId) {
    try {
      await access(`/dev/ublkb${deviceId}`);
      const sectors = await readFile(`/sys/block/ublkb${deviceId}/size`, "utf8");
      // sysfs counts in 512 bytes, whatever the logical block.
      return BigInt(sectors.trim()) * 512n;
    } catch {
      return undefined;
    }
  },
};

/** Resolves to whether the condition came true before the deadline. Asks at once, and then every `pauseMs`. */
export async function waitFor(
  condition: () => Promise<boolean>,
  { timeoutMs, pauseMs = 10 }: { timeoutMs: number; pauseMs?: number },
): Promise<boolean> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    if (await condition()) return true;
    if (performance.now() >= deadline) return false;
    await new Promise((resolve) => setTimeout(resolve, pauseMs));
  }
}
