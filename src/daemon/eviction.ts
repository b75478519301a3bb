import { readdir, readlink } from "node:fs/promises";

/** How a process that keeps devices without serving them is recognised and ended; tests give their own. */
export interface Eviction {
  /** Whether the process has the control side of one of these devices open. */
  holdsOneOf(processId: number, deviceIds: readonly number[]): Promise<boolean>;
  kill(processId: number): void;
}

/** Looks into /proc: a number from another process is believed only if that very process has our device open. */
export const machineEviction: Eviction = {
  async holdsOneOf(processId, deviceIds) {
    const folder = `/proc/${processId}/fd`;
    const names = await readdir(folder).catch(() => []);
    const targets = await Promise.all(names.map((name) => readlink(`${folder}/${name}`).catch(() => "")));
    return deviceIds.some((deviceId) => targets.includes(`/dev/ublkc${deviceId}`));
  },
  kill(processId) {
    process.kill(processId, "SIGKILL");
  },
};
